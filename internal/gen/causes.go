package main

import (
	"io"

	"rstwhy/internal/diagnose"
)

// writeCauses renders causes.md from diagnose's table of causes.
var writeCauses func(io.Writer) error = diagnose.WriteCauses
