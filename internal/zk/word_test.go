package zk

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Everything that a listener receives over all ways in which this package can
// send is one of the seven words, alone. The dangerous words have no Word, and
// what looks like one made elsewhere (the zero Word) sends nothing.
func TestNoOtherBytesLeave(t *testing.T) {
	heard := []string{}
	for _, dir := range []string{"3.4.13/all", "3.9.6/default", "3.9.3/not-serving", "unknown words"} {
		f := listen(t, "127.0.0.1:0", answers(t, dir))
		for _, w := range append(Words(), Word{}, Word{index: 8}, Word{index: 255}) {
			Ask(context.Background(), Target{Addr: f.addr}, w, time.Second)
		}
		p := NewProber(Options{Timeout: time.Second})
		p.Want(Target{Addr: f.addr})
		<-p.Results()
		p.Close()
		heard = append(heard, f.heard()...)
	}
	silent := listen(t, "127.0.0.1:0", func(c *net.TCPConn, _ string) {})
	Ask(context.Background(), Target{Addr: silent.addr}, Envi, short)
	heard = append(heard, silent.heard()...)
	if len(heard) != 4*7+4+1+1 {
		t.Errorf("%d connections: %q", len(heard), heard)
	}
	for _, h := range heard {
		if !slices.Contains([]string{"srvr", "stat", "ruok", "envi", "mntr", "conf", "isro"}, h) {
			t.Errorf("a server heard %q", h)
		}
	}
}

// Word stays closed: nobody but this package can make one, no function here
// makes one from something given, and only one place writes to a connection.
func TestWordIsClosed(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	makers, writes, sawWord := []string{}, 0, false
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && n.Name.Name == "Word" {
					sawWord = true
					for _, f := range s.Fields.List {
						for _, id := range f.Names {
							if id.IsExported() {
								t.Errorf("Word has the exported field %s", id)
							}
						}
					}
				}
			case *ast.FuncDecl:
				if n.Type.Results != nil && mentions(n.Type.Results, "Word") {
					makers = append(makers, n.Name.Name)
				}
			case *ast.SelectorExpr:
				if id, ok := n.X.(*ast.Ident); ok && id.Name == "conn" && n.Sel.Name == "Write" {
					writes++
				}
			}
			return true
		})
	}
	if !sawWord || !slices.Equal(makers, []string{"Words"}) || writes != 1 {
		t.Errorf("Word found %v; functions that give a Word: %v; writes to a connection: %d", sawWord, makers, writes)
	}
}

func mentions(n ast.Node, name string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		found = found || ok && id.Name == name
		return true
	})
	return found
}
