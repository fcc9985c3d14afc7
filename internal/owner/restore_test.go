package owner

import (
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"rstwhy/internal/event"
)

// No string of a process is forgotten.
func TestBound(t *testing.T) {
	Bound(nil)
	var p event.Process
	v := reflect.ValueOf(&p).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String {
			f.SetString(strings.Repeat("\xff\x1b[2J", 100_000))
		}
	}
	Bound(&p)
	strs := 0
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.String {
			continue
		}
		strs++
		if s := f.String(); len(s) > maxCmdline || !utf8.ValidString(s) || s == "" {
			t.Errorf("%s has %d bytes", v.Type().Field(i).Name, len(s))
		}
	}
	if strs < 12 {
		t.Errorf("%d strings: the test saw too few", strs)
	}
	again := p
	if Bound(&again); again != p {
		t.Errorf("bounded twice it differs: %+v", again)
	}
}
