// Command gen writes the pages of docs/reference from the tables and types
// that the program itself runs on, so that no list is kept twice. Run it from
// the module's root: go run ./internal/gen. CI runs it and fails on any
// difference.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	eventSource = "internal/event"
	reference   = "docs/reference"
)

// page is one generated file of docs/reference.
type page struct {
	file  string
	write func(io.Writer) error
}

// pages is the whole reference. Each page has a file of its own here.
var pages = []page{
	{"event.schema.json", writeSchema},
	{"event.md", writeEvent},
	{"causes.md", writeCauses},
	{"rules.md", writeRules},
	{"../zookeeper.md", writeZooKeeper},
	{"../privileges.md", writePrivileges},
	{"hooks.md", writeHooks},
	{"wire.md", writeWire},
}

func main() {
	if err := generate(reference); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func generate(dir string) error {
	if _, err := os.Stat(eventSource); err != nil {
		return fmt.Errorf("find the sources: %w; run it from the module's root", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory of the pages: %w", err)
	}
	for _, p := range pages {
		var out bytes.Buffer
		if err := p.write(&out); err != nil {
			return fmt.Errorf("generate %s: %w", p.file, err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.file), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write a page: %w", err)
		}
	}
	return nil
}
