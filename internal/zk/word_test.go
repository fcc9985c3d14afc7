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
// send is one of the seven words or five requests, alone. The dangerous words have no Word, and
// what looks like one made elsewhere (the zero Word) sends nothing.
func TestNoOtherBytesLeave(t *testing.T) {
	heard := []string{}
	requests := []string{}
	for _, dir := range []string{"3.4.13/all", "3.9.6/default", "3.9.3/not-serving", "unknown words"} {
		f := listen(t, "127.0.0.1:0", answers(t, dir))
		for _, w := range append(Words(), Word{}, Word{index: 8}, Word{index: 255}) {
			Ask(context.Background(), Target{Addr: f.addr}, w, time.Second)
		}
		g := listen(t, "127.0.0.1:0", answers(t, dir))
		for _, page := range append(Pages(), Page{}, Page{index: 6}, Page{index: 255}) {
			AskPage(context.Background(), Target{Addr: g.addr}, page, time.Second)
		}
		g.finish(t)
		for _, r := range g.heard() {
			requests = append(requests, strings.ReplaceAll(r, g.addr.String(), "HOST"))
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
	if len(requests) != 4*5 {
		t.Errorf("%d requests: %q", len(requests), requests)
	}
	for i, r := range requests {
		page := []string{"stats", "monitor", "configuration", "environment", "is_read_only"}[i%5]
		if want := "GET /commands/" + page + " HTTP/1.1\r\nHost: HOST\r\nAccept: application/json\r\nConnection: close\r\n\r\n"; r != want {
			t.Errorf("an AdminServer heard %q, want %q", r, want)
		}
	}
}

// Word and Page stay closed: nobody but this package can make one, no function
// here makes one from something given, and one place each writes to a connection.
func TestWordIsClosed(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	makers, writes, saw := []string{}, 0, 0
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
				if s, ok := n.Type.(*ast.StructType); ok && (n.Name.Name == "Word" || n.Name.Name == "Page") {
					saw++
					for _, f := range s.Fields.List {
						for _, id := range f.Names {
							if id.IsExported() {
								t.Errorf("%s has the exported field %s", n.Name, id)
							}
						}
					}
				}
			case *ast.FuncDecl:
				if n.Type.Results != nil && (mentions(n.Type.Results, "Word") || mentions(n.Type.Results, "Page")) {
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
	slices.Sort(makers)
	if saw != 2 || !slices.Equal(makers, []string{"Pages", "Words"}) || writes != 2 {
		t.Errorf("%d of 2 types found; functions that give one: %v; writes to a connection: %d", saw, makers, writes)
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
