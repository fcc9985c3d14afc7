package main

import (
	"io"

	"rstwhy/internal/diagnose"
)

// writeRules renders rules.md from diagnose's table of rules.
var writeRules func(io.Writer) error = diagnose.WriteRules
