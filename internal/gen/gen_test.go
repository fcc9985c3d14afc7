package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// lines are the records as the JSON sink prints them.
func lines(t *testing.T, records ...any) []string {
	t.Helper()
	var out bytes.Buffer
	j := sink.NewJSON(&out)
	for _, record := range records {
		var err error
		switch record := record.(type) {
		case *event.Reset:
			err = j.Reset(record, sink.Explained{})
		case *event.Storm:
			err = j.Storm(record)
		case *event.Summary:
			err = j.Summary(record)
		default:
			t.Fatalf("no way to print %T", record)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(out.String()), "\n")
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	var b bytes.Buffer
	if err := writeSchema(&b); err != nil {
		t.Fatal(err)
	}
	doc, err := validator.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("event.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("event.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parsed(t *testing.T, line string) map[string]any {
	t.Helper()
	v, err := validator.UnmarshalJSON(strings.NewReader(line))
	if err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	return v.(map[string]any)
}

func fullRecords(t *testing.T) []any {
	t.Helper()
	values, err := constants(eventSource)
	if err != nil {
		t.Fatal(err)
	}
	var reset event.Reset
	var storm event.Storm
	var summary event.Summary
	fill(reflect.ValueOf(&reset).Elem(), values)
	fill(reflect.ValueOf(&storm).Elem(), values)
	fill(reflect.ValueOf(&summary).Elem(), values)
	reset.Type, storm.Type, summary.Type = "reset", "storm", "summary"
	reset.Schema, storm.Schema, summary.Schema = event.Schema, event.Schema, event.Schema
	return []any{&reset, &storm, &summary}
}

func TestFullRecords(t *testing.T) {
	t.Chdir("../..")
	schema, doc := compiled(t), must(document())
	if n := len(fullRecords(t)); n != len(doc.Definitions) {
		t.Errorf("%d records for %d kinds of line", n, len(doc.Definitions))
	}
	for _, line := range lines(t, fullRecords(t)...) {
		object := parsed(t, line)
		if err := schema.Validate(object); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
		kind := object["type"].(string)
		covered(t, kind, doc.Definitions[kind], object)
	}
}

// covered fails unless the object has exactly the properties of the schema,
// each of them set.
func covered(t *testing.T, path string, s *jsonschema.Schema, object map[string]any) {
	t.Helper()
	for key := range object {
		if _, ok := s.Properties.Get(key); !ok {
			t.Errorf("%s.%s is printed, and the schema does not know it", path, key)
		}
	}
	for pair := s.Properties.Oldest(); pair != nil; pair = pair.Next() {
		name, p := path+"."+pair.Key, pair.Value
		value, ok := object[pair.Key]
		if !ok || value == nil && p.Type != "null" {
			t.Errorf("%s is in the schema, and the full record leaves it unset", name)
			continue
		}
		if p.Description == "" {
			t.Errorf("%s has no description", name)
		}
		switch {
		case p.Properties != nil:
			covered(t, name, p, value.(map[string]any))
		case p.Items != nil && p.Items.Properties != nil:
			covered(t, name+"[]", p.Items, value.([]any)[0].(map[string]any))
		}
	}
}

// The least that a reset can be: a SYN to a closed port.
func TestMinimalRecords(t *testing.T) {
	t.Chdir("../..")
	schema := compiled(t)
	at := event.Endpoint{Address: netip.MustParseAddr("10.0.0.1"), Port: 1}
	for _, line := range lines(t,
		&event.Reset{Type: "reset", Schema: event.Schema, Host: "h", ID: "1", Time: fullTime, Direction: event.Sent, Local: at, Peer: at,
			Socket: event.SocketNone, Cause: "closed-port", OwnerSource: event.SourceNone, Hook: event.HookSend},
		&event.Reset{Type: "reset", Schema: event.Schema, Time: fullTime, Direction: event.Received, Local: at, Peer: at,
			Socket: event.SocketFull, OwnerSource: event.SourceNone, Hook: event.HookReceive, Verdict: &event.Verdict{Confidence: event.Likely}},
		&event.Storm{Type: "storm", Schema: event.Schema, Time: fullTime, Direction: event.Sent, Remote: netip.MustParsePrefix("0.0.0.0/0")},
		&event.Summary{Type: "summary", Schema: event.Schema, Time: fullTime, Scope: event.ScopeSession},
	) {
		if err := schema.Validate(parsed(t, line)); err != nil {
			t.Errorf("%v\n%s", err, line)
		}
	}
}

func TestSinkGoldensAreValid(t *testing.T) {
	t.Chdir("../..")
	golden, err := os.ReadFile("internal/sink/testdata/json.golden")
	if err != nil {
		t.Fatal(err)
	}
	schema, n := compiled(t), 0
	for line := range strings.Lines(string(golden)) {
		n++
		if err := schema.Validate(parsed(t, line)); err != nil {
			t.Errorf("line %d: %v", n, err)
		}
	}
	if n < 2 {
		t.Errorf("%d lines in the golden file", n)
	}
}

// A schema that lets everything pass would pass all the tests above.
func TestSchemaRejects(t *testing.T) {
	t.Chdir("../..")
	schema, line := compiled(t), lines(t, fullRecords(t)[0])[0]
	for _, c := range []struct {
		name  string
		spoil func(map[string]any)
	}{
		{"another type", func(o map[string]any) { o["type"] = "resets" }},
		{"another schema", func(o map[string]any) { o["schema"] = json.Number("2") }},
		{"no cause", func(o map[string]any) { delete(o, "cause") }},
		{"owner left out instead of null", func(o map[string]any) { delete(o, "owner") }},
		{"unknown direction", func(o map[string]any) { o["direction"] = "both" }},
		{"no address", func(o map[string]any) { o["peer"].(map[string]any)["address"] = "example.org" }},
		{"a measurement as text", func(o map[string]any) { o["evidence"].(map[string]any)["age_ns"] = "7" }},
		{"null where nothing is unknown", func(o map[string]any) { o["host"] = nil }},
		{"a list that is null", func(o map[string]any) { o["verdict"].(map[string]any)["do"] = nil }},
		{"no time", func(o map[string]any) { o["time"] = "yesterday" }},
		{"an effect that no RST has", func(o map[string]any) { o["effect"] = "none" }},
		{"a NAT without addresses", func(o map[string]any) { o["nat"] = map[string]any{} }},
	} {
		object := parsed(t, line)
		c.spoil(object)
		if schema.Validate(object) == nil {
			t.Errorf("%s: the schema accepts it", c.name)
		}
	}
	storm := parsed(t, lines(t, fullRecords(t)[1])[0])
	storm["remote"] = "10.0.0.1"
	if schema.Validate(storm) == nil {
		t.Error("a storm's remote address without the length of its prefix: the schema accepts it")
	}
	object := parsed(t, line)
	object["new_field"] = "x"
	if err := schema.Validate(object); err != nil {
		t.Errorf("a field of a later version is refused: %v", err)
	}
}

func TestUndescribedFieldFails(t *testing.T) {
	t.Chdir("../..")
	r := must(newReflector())
	type undescribed struct {
		Bare string `json:"bare"`
	}
	if err := r.complete(reflect.TypeFor[undescribed](), r.Reflect(undescribed{})); err == nil || !strings.Contains(err.Error(), "undescribed.Bare") {
		t.Errorf("error %v", err)
	}
}

func TestDescriptionsAreNeeded(t *testing.T) {
	t.Chdir("../..")
	r := must(newReflector())
	for key := range descriptions {
		if s := r.CommentMap["rstwhy/"+eventSource+"."+key]; s != "" {
			t.Errorf("%s has a comment in the sources now (%s): delete it from descriptions in schema.go", key, s)
		}
	}
}

func TestPagesAreCurrent(t *testing.T) {
	t.Chdir("../..")
	dir := filepath.Join(t.TempDir(), "reference")
	if err := generate(dir); err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		want, err := os.ReadFile(filepath.Join(dir, p.file))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(reference, p.file))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is stale, run go run ./internal/gen (-generated +committed):\n%s", p.file, diff)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint("test: ", err))
	}
	return v
}
