package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// HTML writes the report as one page that asks for nothing: no script, no
// address of another file.
func (s *Session) HTML(w io.Writer, opt Options) error {
	p, err := s.page(opt)
	if err != nil {
		return err
	}
	var b bytes.Buffer // a page that cannot be made is not begun
	if err := pageTemplate.Execute(&b, struct {
		*page
		Style template.CSS
	}{p, template.CSS(pageCSS)}); err != nil {
		return fmt.Errorf("make report: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
