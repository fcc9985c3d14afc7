package main

import "io"

// writeRules renders rules.md from diagnose's table of rules.
//
// PLACE FOR: diagnose.WriteRules
var writeRules func(io.Writer) error
