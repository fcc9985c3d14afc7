package report

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"golang.org/x/net/html"
)

// elements gives the names of a page's elements in their order, and fails where
// one is not closed, or where the page could do more than be read. HTML as a
// browser parses it has no errors, so the nesting is counted here.
func elements(t *testing.T, page string) (names []string) {
	t.Helper()
	void := []string{"meta", "br", "img", "hr", "input", "link", "wbr"}
	var open []string
	for z := html.NewTokenizer(strings.NewReader(page)); ; {
		kind := z.Next()
		token := z.Token()
		switch kind {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				t.Fatal(z.Err())
			}
			if len(open) > 0 {
				t.Fatalf("never closed: %v", open)
			}
			return names
		case html.StartTagToken:
			if !slices.Contains(void, token.Data) {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %v", token.Data, open)
			}
			open = open[:len(open)-1]
			continue
		case html.SelfClosingTagToken:
		default:
			continue
		}
		names = append(names, token.Data)
		harmlessTag(t, token)
	}
}

// attributes are all that the page uses. None of them loads, links or runs.
var attributes = []string{"aria-label", "charset", "class", "content", "d", "height", "http-equiv", "id", "lang", "name", "points",
	"preserveaspectratio", "role", "rx", "scope", "stroke-width", "viewbox", "width", "x", "y"}

func harmlessTag(t *testing.T, token html.Token) {
	t.Helper()
	if slices.Contains([]string{"script", "img", "iframe", "object", "embed", "link", "a", "image", "use", "foreignobject", "form", "base"}, token.Data) {
		t.Errorf("the page has a %v", token)
	}
	for _, a := range token.Attr {
		if !slices.Contains(attributes, strings.ToLower(a.Key)) {
			t.Errorf("attribute %q of %v", a.Key, token)
		}
	}
}

func TestPageAsksForNothing(t *testing.T) {
	page := made(t, incident(t), "html")
	names := elements(t, page)
	if n := len(names); n < 200 || !slices.Contains(names, "svg") || !slices.Contains(names, "caption") {
		t.Errorf("only %d elements: the page is not whole", n)
	}
	for _, banned := range []string{"<script", "http://", "https://", "url(", "@import", "src=", "href=", "javascript:"} {
		if strings.Contains(strings.ToLower(page), banned) {
			t.Errorf("the page contains %q", banned)
		}
	}
	if !strings.Contains(page, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("nothing forbids a browser to load or run more")
	}
}

// TestHostileStringsStayText: whatever others call themselves, the documents
// have the elements that they have for plain names, and nothing that steers a
// terminal.
func TestHostileStringsStayText(t *testing.T) {
	plain := elements(t, made(t, hostile(t, "plain"), "html"))
	for name, s := range map[string]string{"evil": evil, "long": strings.Repeat("b", 1<<18), "wide": strings.Repeat("日本", 400), "marks": strings.Repeat("e\u0301\u0301\u0301", 99), "attribute": `" onmouseover="alert(1)" x="`, "close": "</title></style></svg><script>"} {
		page := made(t, hostile(t, s), "html")
		if diff := cmp.Diff(plain, elements(t, page)); diff != "" {
			t.Errorf("%s: elements of the page (-plain +hostile):\n%s", name, diff)
		}
		if len(page) > 200_000 {
			t.Errorf("%s: the page has %d bytes", name, len(page))
		}
		harmlessRunes(t, name, page)
	}
}

// markdownElements renders Markdown as GitHub does and gives the elements.
func markdownElements(t *testing.T, s string) []string {
	t.Helper()
	var b bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert([]byte(s), &b); err != nil {
		t.Fatal(err)
	}
	var names []string
	for z := html.NewTokenizer(&b); ; {
		switch z.Next() {
		case html.ErrorToken:
			return names
		case html.StartTagToken, html.SelfClosingTagToken, html.CommentToken:
			names = append(names, z.Token().Data)
		}
	}
}

func TestHostileStringsStayTextInMarkdown(t *testing.T) {
	// The check sees what it is for.
	if got := markdownElements(t, "see www.e.example"); !slices.Contains(got, "a") {
		t.Fatalf("the renderer makes no links: %v", got)
	}
	plain := markdownElements(t, made(t, hostile(t, "plain"), "md"))
	if len(plain) < 100 || !slices.Contains(plain, "table") || slices.Contains(plain, "a") {
		t.Fatalf("elements of the plain document: %v", plain)
	}
	for name, s := range map[string]string{
		"evil": evil, "ticks": "`` ``` `", "one tick": "`", "pipes": "a|b\\|c", "backslash": `a\`, "html": "<b>x</b><!-- x -->", "entity": "&lt;b&gt;",
		"link": "[x](http://e.example)", "auto": "http://e.example", "mail": "a@e.example", "angle": "<http://e.example>", "www": "WWW.e.example", "emphasis": "*a* _b_ **c** ~~d~~",
		"list": "- a", "number": "1. a", "paren": "12) a", "heading": "# a", "quote": "> a", "rule": "---", "plus": "+ a", "table": "|a|\n|---|\n|b|", "task": "[ ] a", "ftp": "ftp://e.example",
		"spaces": "    code    ", "under": "===",
	} {
		doc := made(t, hostile(t, s), "md")
		if diff := cmp.Diff(plain, markdownElements(t, doc)); diff != "" {
			t.Errorf("%s: elements (-plain +hostile):\n%s", name, diff)
		}
		harmlessRunes(t, name, doc)
	}
}

func harmlessRunes(t *testing.T, name, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && (unicode.Is(unicode.C, r) || unicode.In(r, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar) {
			t.Errorf("%s: %U in the document", name, r)
			return
		}
	}
}
