package main

import (
	"io"

	"rstwhy/internal/probe"
)

// writeWire renders wire.md from the BTF of the embedded object.
var writeWire func(io.Writer) error = probe.WriteWire
