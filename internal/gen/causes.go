package main

import "io"

// writeCauses renders causes.md from diagnose's table of causes.
//
// PLACE FOR: diagnose.WriteCauses
var writeCauses func(io.Writer) error
