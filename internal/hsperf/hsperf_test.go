package hsperf

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type counter struct {
	name  string
	value any // int64 or string
}

// file writes counters as a JVM on that kind of machine does.
func file(order binary.AppendByteOrder, counters ...counter) []byte {
	b := binary.BigEndian.AppendUint32(nil, 0xcafec0c0)
	b = append(b, 0, 2, 0, 1)
	if order.String() == binary.LittleEndian.String() {
		b[4] = 1
	}
	b = append(b, make([]byte, 16)...)
	b = order.AppendUint32(b, 32)
	b = order.AppendUint32(b, uint32(len(counters)))
	for _, c := range counters {
		name := append([]byte(c.name), 0)
		for len(name)%8 != 4 {
			name = append(name, 0)
		}
		kind, units, data := byte('J'), uint32(0), []byte(nil)
		switch v := c.value.(type) {
		case int64:
			data = order.AppendUint64(nil, uint64(v))
		case string:
			kind, units, data = 'B', uint32(len(v)+1), append([]byte(v), 0)
		}
		for len(data)%8 != 0 {
			data = append(data, 0)
		}
		b = order.AppendUint32(b, uint32(20+len(name)+len(data)))
		b = order.AppendUint32(b, 20)
		b = order.AppendUint32(b, units)
		b = append(b, kind, 0, 1, 1)
		b = order.AppendUint32(b, uint32(20+len(name)))
		b = append(append(b, name...), data...)
	}
	return b
}

const begin = int64(1_700_000_000_000)

// jvm are the counters of a JVM that is 100 s old, as HotSpot names them.
func jvm(more ...counter) []counter {
	return append([]counter{
		{"sun.rt.javaCommand", "org.example.Main a b"},
		{"java.property.java.version", "17.0.15"},
		{"java.rt.vmArgs", "-Xmx1g -Da=b"},
		{"sun.rt.createVmBeginTime", begin},
		{"sun.os.hrt.frequency", int64(1e9)},
		{"sun.os.hrt.ticks", int64(100e9)},
		{"sun.gc.generation.0.name", "new"},
	}, more...)
}

func collector(n int, name string, invocations, entry, exit float64) []counter {
	p := "sun.gc.collector." + strconv.Itoa(n) + "."
	return []counter{{p + "name", name}, {p + "invocations", int64(invocations)},
		{p + "lastEntryTime", int64(entry)}, {p + "lastExitTime", int64(exit)}}
}

func TestParse(t *testing.T) {
	counters := jvm(collector(1, "Serial full collection pauses", 2, 90e9, 97e9)...)
	want := Counters{
		Command: "org.example.Main a b", Version: "17.0.15", Arguments: "-Xmx1g -Da=b",
		Begin: time.UnixMilli(begin).UTC(), Frequency: 1e9, Ticks: 100e9,
		Collectors: []Collector{{"Serial full collection pauses", 2, 90e9, 97e9}},
	}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		got, err := Parse(file(order, counters...))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", order, err, d)
		}
	}
	// A name that no collector has is not kept.
	long := jvm(collector(0, strings.Repeat("x", maxName+1), 1, 1, 2)...)
	if c, err := Parse(file(binary.LittleEndian, long...)); err != nil || len(c.Collectors) != 0 {
		t.Errorf("a long name: %d collectors, %v", len(c.Collectors), err)
	}
	good := file(binary.LittleEndian, counters...)
	for name, b := range map[string][]byte{
		"empty":     nil,
		"magic":     append([]byte{1}, good[1:]...),
		"Java 1.4":  append(append(append([]byte(nil), good[:5]...), 1), good[6:]...),
		"not ready": append(append(append([]byte(nil), good[:7]...), 0), good[8:]...),
		"cut":       good[:len(good)-1],
		"length 0":  append(append(append([]byte(nil), good[:32]...), 0, 0, 0, 0), good[36:]...),
	} {
		if c, err := Parse(b); !errors.Is(err, errFormat) {
			t.Errorf("%s: %+v %v", name, c, err)
		}
	}
}

func TestPauses(t *testing.T) {
	start := time.UnixMilli(begin)
	now := start.Add(100*time.Second + 40*time.Millisecond)
	young := collector(0, "G1 young collection pauses", 5, 99e9, 99.1e9)
	tests := []struct {
		name     string
		counters []counter
		now      time.Time
		want     []Pause
	}{
		{"over", append(young, collector(1, "PSMarkSweep", 1, 80e9, 92e9)...), now, []Pause{
			{"G1 young collection pauses", start.Add(99 * time.Second).UTC(), 100 * time.Millisecond, false},
			{"PSMarkSweep", start.Add(80 * time.Second).UTC(), 12 * time.Second, false},
		}},
		{"running", collector(0, "Serial full collection pauses", 3, 91e9, 50e9), now, []Pause{
			{"Serial full collection pauses", start.Add(91 * time.Second).UTC(), 9040 * time.Millisecond, true},
		}},
		{"never", collector(0, "Copy", 0, 0, 0), now, nil},
		{"not a pause", append(collector(0, "CMS", 3, 80e9, 99e9), collector(1, "Shenandoah full", 3, 80e9, 99e9)...), now, nil},
		{"the JVM stood still as a whole", young, now.Add(9 * time.Second), nil},
		{"the clock was set", young, now.Add(-time.Hour), nil},
		{"no frequency", append(young, counter{"sun.os.hrt.frequency", int64(0)}), now, nil},
		{"after now", collector(0, "Copy", 1, 200e9, 300e9), now, nil},
		{"before the beginning", collector(0, "Copy", 1, -200e9, -100e9), now, nil},
		{"beyond measure", collector(0, "Copy", 1, 1, 1<<62), now, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse(file(binary.LittleEndian, jvm(tt.counters...)...))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, c.Pauses(tt.now)); d != "" {
				t.Error(d)
			}
		})
	}
}

func FuzzPerf(f *testing.F) {
	f.Add(file(binary.LittleEndian, jvm(collector(0, "Copy", 1, 2, 3)...)...))
	f.Add(file(binary.BigEndian, jvm(collector(7, "G1 young collection pauses", 1, 3, 2)...)...))
	f.Add(file(binary.LittleEndian, counter{"sun.rt.javaCommand", strings.Repeat("x", 100)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		if len(c.Collectors) > maxCollectors || len(c.Command) > maxText {
			t.Errorf("unbounded: %+v", c)
		}
		now := c.Begin.Add(c.span0())
		for _, p := range c.Pauses(now) {
			if p.Duration < 0 || p.End().After(now.Add(slack)) {
				t.Errorf("%+v is not before %v", p, now)
			}
		}
	})
}

// span0 is the JVM's age, where it can be told.
func (c Counters) span0() time.Duration {
	if c.Frequency <= 0 {
		return 0
	}
	return c.span(c.Ticks)
}
