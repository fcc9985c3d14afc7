package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// constant is one value of an enumerated string type.
type constant struct{ value, meaning string }

// constants reads the values of the enumerated string types from the sources,
// by type name, in the order of the source: reflection does not know them.
func constants(dir string) (map[string][]constant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("list the sources in %s: %w", dir, err)
	}
	found := make(map[string][]constant)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("parse a source: %w", err)
		}
		for _, decl := range tree.Decls {
			if group, ok := decl.(*ast.GenDecl); ok && group.Tok == token.CONST {
				collect(found, group)
			}
		}
	}
	return found, nil
}

func collect(found map[string][]constant, group *ast.GenDecl) {
	for _, spec := range group.Specs {
		value := spec.(*ast.ValueSpec)
		kind, ok := value.Type.(*ast.Ident)
		if !ok || len(value.Values) != 1 {
			continue
		}
		literal, ok := value.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			continue
		}
		comment := value.Doc.Text()
		if comment == "" {
			comment = value.Comment.Text()
		}
		found[kind.Name] = append(found[kind.Name], constant{text, oneLine(comment)})
	}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
