package owner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// statLine writes /proc/PID/stat as the kernel does, with 52 fields.
func statLine(pid uint32, comm string, ticks uint64) string {
	fields := make([]string, 49)
	for i := range fields {
		fields[i] = "0"
	}
	fields[0] = "S"                         // 3
	fields[22-3] = fmt.Sprint(ticks)        // 22
	fields[26-3], fields[28-3] = "10", "20" // 26, 28
	return fmt.Sprintf("%d (%s) %s\n", pid, comm, strings.Join(fields, " "))
}

func TestParseStat(t *testing.T) {
	for _, comm := range []string{"sleep", "", "a b", ") S 1 2 (", "))) 1", "x\ny", "\x1b[31m", "\xff(", "kworker/0:1-events"} {
		got, err := parseStat(statLine(7, comm, 123456))
		if err != nil || got.comm != comm || got.start != 123456 || got.image != [3]uint64{10, 20, 0} {
			t.Errorf("%q: got %+v, %v", comm, got, err)
		}
	}
	whole := statLine(7, "x", 9)
	for _, bad := range []string{"", "7", "7 (x", "7 x) S", ")(", "7 (x)", whole[:30], strings.Replace(whole, " 9 ", " -9 ", 1)} {
		if got, err := parseStat(bad); !errors.Is(err, errStat) {
			t.Errorf("%q: got %+v, %v, want %v", bad, got, err, errStat)
		}
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if self, err := parseStat(string(text)); err != nil || self.start == 0 || self.image[1] == 0 {
		t.Errorf("own: got %+v, %v", self, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(statLine(7, ") S (", 123))
	f.Add("1 (")
	f.Add(")(")
	f.Fuzz(func(t *testing.T, s string) {
		st, err := parseStat(s)
		if err == nil && !strings.Contains(s, "("+st.comm+")") {
			t.Errorf("%q gave the name %q", s, st.comm)
		}
	})
}
