package main

import (
	"io"

	"rstwhy/internal/diagnose"
)

// writeZooKeeper renders docs/zookeeper.md from diagnose's catalogue; it is for
// readers, hence its place outside the reference.
var writeZooKeeper func(io.Writer) error = diagnose.WriteZooKeeper
