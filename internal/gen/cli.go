package main

// writeCLI renders cli.md and the man pages from the cobra commands
// (github.com/spf13/cobra/doc) below the directory given.
//
// PLACE FOR: a function over the root command
var writeCLI func(dir string) error
