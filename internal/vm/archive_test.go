package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type unpacked struct {
	Mode         uint32
	Major, Minor uint32
	Content      string
}

// readArchive reads a newc archive as the kernel does (init/initramfs.c).
func readArchive(b []byte) (map[string]unpacked, error) {
	all := map[string]unpacked{}
	at := 0
	align := func() { at = (at + 3) &^ 3 }
	for {
		if len(b)-at < 110 || string(b[at:at+6]) != "070701" {
			return nil, fmt.Errorf("no header at %d", at)
		}
		var f [13]uint32
		for i := range f {
			if _, err := fmt.Sscanf(string(b[at+6+8*i:at+14+8*i]), "%08X", &f[i]); err != nil {
				return nil, err
			}
		}
		size, nameSize := int(f[6]), int(f[11])
		name := string(b[at+110 : at+110+nameSize-1])
		if at += 110 + nameSize; b[at-1] != 0 {
			return nil, fmt.Errorf("%s does not end with a NUL", name)
		}
		align()
		if name == "TRAILER!!!" {
			return all, nil
		}
		if _, twice := all[name]; twice {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		if dir := filepath.Dir(name); dir != "." {
			if all[dir].Mode&0o170000 != modeDir {
				return nil, fmt.Errorf("%s comes before its directory", name)
			}
		}
		all[name] = unpacked{f[1], f[9], f[10], string(b[at : at+size])}
		at += size
		align()
	}
}

func TestArchive(t *testing.T) {
	src := t.TempDir()
	write := func(name, content string, perm os.FileMode) string {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("tree/a", "1", 0o644)
	write("tree/b/c", "12345", 0o755)
	if err := os.Symlink("b/c", filepath.Join(src, "tree/link")); err != nil {
		t.Fatal(err)
	}
	named := filepath.Join(src, "named")
	if err := os.Symlink("tree/a", named); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	a := newArchive(&out)
	a.char("/dev/console", 5, 1)
	a.text("/etc/hosts", "127.0.0.1 localhost\n", 0o644)
	a.text("/etc/hosts", "a second one is left out", 0o644)
	for from, to := range map[string]string{filepath.Join(src, "tree"): "/t", named: "/init"} {
		if err := a.tree(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	got, err := readArchive(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]unpacked{
		"dev": {Mode: modeDir | 0o755}, "dev/console": {modeChar | 0o600, 5, 1, ""},
		"etc": {Mode: modeDir | 0o755}, "etc/hosts": {Mode: modeFile | 0o644, Content: "127.0.0.1 localhost\n"},
		"t": {Mode: modeDir | 0o755}, "t/a": {Mode: modeFile | 0o644, Content: "1"},
		"t/b": {Mode: modeDir | 0o755}, "t/b/c": {Mode: modeFile | 0o755, Content: "12345"},
		"t/link": {Mode: modeLink | 0o777, Content: "b/c"},
		"init":   {Mode: modeFile | 0o644, Content: "1"}, // a link that was named is followed
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("unpacked (-want +got):\n%s", d)
	}
}

// TestArchiveChanging: a file that is shorter than it said makes no archive.
func TestArchiveChanging(t *testing.T) {
	var out bytes.Buffer
	a := newArchive(&out)
	a.entry("f", node{mode: modeFile}, 10, strings.NewReader("short"))
	if err := a.close(); err == nil || !strings.Contains(err.Error(), "put f into the initramfs") {
		t.Errorf("error %v", err)
	}
}
