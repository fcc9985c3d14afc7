package main

import (
	"io"

	"rstwhy/internal/probe"
)

// writeHooks renders hooks.md from probe's table of hooks.
var writeHooks func(io.Writer) error = probe.WriteHooks
