package main

import "io"

// writeHooks renders hooks.md from probe's table of hooks: purpose,
// alternatives, what is lost without each.
//
// PLACE FOR: a function over probe's table
var writeHooks func(io.Writer) error
