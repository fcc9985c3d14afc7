// Package release holds no code, only the tests of what `make release` makes:
// the same bytes twice, packages that install and go away without a trace, and a
// unit that lets the tracer do its work.
package release
