package report

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// browser gives the path of a Chromium. Where everything is to be tested, its
// absence is a failure.
func browser(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a browser: left out by -short")
	}
	for _, name := range []string{"chromium", "chromium-browser"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("needs chromium, which make test installs (Debian package chromium)")
	}
	t.Skip("needs chromium (make test installs it)")
	return ""
}

// look is what a browser says of a page. Boxes in pictures are clipped by them,
// and are looked at apart.
type look struct {
	Width    float64  // of the window
	Scroll   float64  // of the page
	Beyond   []string // elements that reach beyond the window
	Cut      []string // texts that do not fit their box in the map
	Maps     int      // how many of the maps are to be seen
	Elements int
	Contrast map[string]float64 // least ratio of text, or of a bar, to the page behind it
	Dark     bool
}

// inspect is evaluated in the page. The page itself has no script, and its
// policy forbids any; the debugger's are not bound by it.
const inspect = `(() => {
	const out = {Width: innerWidth, Scroll: document.documentElement.scrollWidth, Beyond: [], Cut: [], Maps: 0, Elements: 0, Contrast: {}};
	const shade = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3); };
	const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = e => { for (; e; e = e.parentElement) { const c = shade(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)]; return (Math.max(x, y) + .05) / (Math.min(x, y) + .05); };
	const least = (k, v) => { out.Contrast[k] = Math.min(out.Contrast[k] ?? 99, v); };
	out.Dark = light(behind(document.body)) < .2;
	for (const e of document.body.querySelectorAll('*')) {
		out.Elements++;
		const style = getComputedStyle(e);
		if (e.closest('svg')) {
			if (e.tagName === 'rect' && e.closest('.timeline')) least('bars', ratio(shade(style.fill), behind(e.closest('figure'))));
			continue;
		}
		const box = e.getBoundingClientRect();
		if (box.right > innerWidth + .5 || box.left < -.5) out.Beyond.push(e.tagName + '.' + e.className + ' ' + box.left + ' to ' + box.right + ': ' + e.textContent.slice(0, 40));
		if ([...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) least('text', ratio(shade(style.color), behind(e)));
	}
	for (const map of document.querySelectorAll('svg.map')) {
		if (map.getBoundingClientRect().height === 0) continue;
		out.Maps++;
		const box = map.getBoundingClientRect();
		if (box.right > innerWidth + .5) out.Beyond.push('map to ' + box.right);
		for (const text of map.querySelectorAll('text')) {
			const room = text.parentElement.querySelector('rect').getBBox(), b = text.getBBox();
			if (b.x + b.width > room.x + room.width - 2 || b.y < room.y || b.y + b.height > room.y + room.height) out.Cut.push(text.textContent);
			least('text', ratio(shade(getComputedStyle(text).fill), shade(getComputedStyle(text.parentElement.querySelector('rect')).fill)));
		}
	}
	return out;
})()`

// TestInBrowser opens the page as a reader does, on a phone and on a desk, by
// day and by night.
func TestInBrowser(t *testing.T) {
	path := browser(t)
	dir := t.TempDir()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute),
		chromedp.DisableGPU, chromedp.Flag("disable-background-networking", true), chromedp.UserDataDir(filepath.Join(dir, "profile")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // of a hung browser, not of a slow one
	defer cancel()
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	seen := new(events)
	if err := chromedp.Listen(ctx, seen.add); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Session{"incident": incident(t), "hostile": hostile(t, evil), "long": hostile(t, strings.Repeat("b", 4096)), "wide": hostile(t, strings.Repeat("日本", 400)), "empty": newRecorded().end(t, time.Second, nil)} {
		file := filepath.Join(dir, name+".html")
		if err := os.WriteFile(file, []byte(made(t, s, "html")), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, width := range []int64{390, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				view := fmt.Sprintf("%s at %d, %s", name, width, scheme)
				got, err := lookAt(ctx, "file://"+file, width, scheme)
				if err != nil {
					t.Fatalf("%s: %v", view, err)
				}
				got.check(t, view, width, scheme == "dark", name)
			}
		}
		own := 0
		for _, event := range seen.take() {
			if event == "request file://"+file {
				own++
				continue
			}
			t.Errorf("%s: %s", name, event)
		}
		if own != 4 {
			t.Errorf("%s: %d requests for the page were seen, want 4: others could be missed", name, own)
		}
	}
}

func lookAt(ctx context.Context, url string, width int64, scheme string) (look, error) {
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(width, 844)); err != nil {
		return look{}, err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return look{}, err
	}
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return look{}, err
	}
	return chromedp.Run(ctx, chromedp.Evaluate[look](inspect))
}

func (l *look) check(t *testing.T, view string, width int64, dark bool, name string) {
	t.Helper()
	if int64(l.Width) != width || l.Elements < 10 {
		t.Errorf("%s: the window is %v wide, the page has %d elements: nothing was tested", view, l.Width, l.Elements)
	}
	if l.Scroll > l.Width || len(l.Beyond) > 0 {
		t.Errorf("%s: the page is %v wide; beyond the window:\n%s", view, l.Scroll, strings.Join(l.Beyond, "\n"))
	}
	if l.Dark != dark {
		t.Errorf("%s: the page is dark: %t", view, l.Dark)
	}
	if l.Contrast["text"] < 4.5 { // WCAG 2.2, 1.4.3
		t.Errorf("%s: contrast of text is %.2f, the least is 4.5", view, l.Contrast["text"])
	}
	if name == "empty" {
		return
	}
	if l.Maps != 1 {
		t.Errorf("%s: %d maps are to be seen, want the one that fits", view, l.Maps)
	}
	if bars, ok := l.Contrast["bars"]; !ok || bars < 3 { // WCAG 2.2, 1.4.11
		t.Errorf("%s: contrast of bars is %.2f, the least is 3", view, bars)
	}
	// Wide glyphs may be clipped, plain names not.
	if name == "incident" && len(l.Cut) > 0 {
		t.Errorf("%s: these do not fit their boxes: %q", view, l.Cut)
	}
}

// events are what a page asked for and complained of.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(v any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch v := v.(type) {
	case *network.EventRequestWillBeSent:
		e.list = append(e.list, "request "+v.Request.URL)
	case *log.EventEntryAdded:
		e.list = append(e.list, "log "+v.Entry.Text)
	}
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.list
	e.list = nil
	return list
}
