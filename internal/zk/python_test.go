package zk

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/jar"
	"rstwhy/internal/proctree"
)

func TestImportsKazoo(t *testing.T) {
	long := strings.Repeat(" ", 100)
	for text, want := range map[string]bool{
		"import kazoo": true, "import kazoo\n": true, "import kazoo.client": true, "import kazoo as k": true, "import kazoo, os": true,
		"from kazoo import client": true, "from kazoo.client import X": true, "x\n\t from  kazoo.client import X": true,
		"kazoo\nimport kazoo": true, "import kazoox\nimport kazoo\n": true, "from kazoo": true,
		"import kazoox": false, "import kazoo_x": false, "import kazoo2": false, "import os, kazoo": false,
		"from kazoox import y": false, "# import kazoo": false, "ximport kazoo": false, "importkazoo": false, "kazoo": false, "": false,
		long + "import kazoo": false, "x = 1 " + long + "import kazoo": false,
	} {
		if got := importsKazoo([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Scripts are read within the budget of the look.
func TestPythonBudget(t *testing.T) {
	dir := t.TempDir()
	name := dir + "/x.py"
	if err := os.WriteFile(name, []byte("import kazoo\n"+strings.Repeat("#", 1000)), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := proctree.Open(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if by := importer(tree, name, newBudget()); by != name {
		t.Errorf("found in %q", by)
	}
	b := jar.NewBudget(500, time.Hour)
	if _, err := readScript(tree, name, b); !errors.Is(err, jar.ErrTooMuch) || b.Left() != 0 {
		t.Errorf("beyond the budget: %v, %d bytes left", err, b.Left())
	}
}
