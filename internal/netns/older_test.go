package netns

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

// kept is a namespace that a descriptor keeps, as a mount would, when its
// process has ended.
func kept(t *testing.T) (r room, path string) {
	t.Helper()
	r = newRoom(t)
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/net", r.pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return r, fmt.Sprintf("/proc/self/fd/%d", fd)
}

// enter puts a new process into a namespace that is kept.
func enter(t *testing.T, r room, path string) room {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holderVariable+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := Enter(r.inode, path, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("new process in the namespace: %q, %v", line, err)
	}
	r.pid = uint32(cmd.Process.Pid)
	return r
}

// TestOlderThanItsProcess: a namespace that had no process at the start has a
// past that no hook saw. It is compared where it was read before its resets,
// and else said not to be.
func TestOlderThanItsProcess(t *testing.T) {
	const past, now = 7, 5
	for _, tt := range []struct {
		name        string
		past        int
		known       bool // the way to it is known at the start
		early       bool // read between its new process and its resets
		agree       *bool
		explanation string
	}{
		{"read at the start", past, true, false, new(true), ""},
		{"first read before its resets", past, false, true, new(true), "counted from "},
		{"first read after its resets", past, false, false, nil, notCompared + "the namespace may be older"},
		{"no past", 0, false, false, new(true), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, path := kept(t)
			if tt.past > 0 {
				r.closedPorts(t, tt.past)
			}
			r.end()
			b := &book{seen: map[uint32]Seen{}}
			c := NewCounters(NewSpaces())
			c.spaces.names = nil
			if tt.known {
				c.spaces.names = []string{path}
			}
			c.Attaching()
			c.Attached(b.snapshot)
			time.Sleep(20 * time.Millisecond) // start times of processes have steps of 10 ms
			again := enter(t, r, path)
			if tt.early {
				c.Round()
			}
			again.closedPorts(t, now)
			b.sent(r.inode, now)
			c.Detaching()
			c.Detached()
			var got event.CounterCheck
			for _, check := range c.Checks(Losses{}) {
				if check.NetNS == r.inode && check.Counter == "OutRsts" {
					got = check
				}
			}
			same := (got.Agree == nil) == (tt.agree == nil) && (tt.agree == nil || *got.Agree == *tt.agree)
			if !same || got.Seen != now || tt.agree != nil && got.Kernel != now || !strings.HasPrefix(got.Explanation, tt.explanation) || tt.explanation == "" && got.Explanation != "" {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestLateStart: resets before the first reading are told beside those that
// were compared.
func TestLateStart(t *testing.T) {
	c := NewCounters(NewSpaces())
	v, then := at("OutRsts", 9), Seen{Hits: map[event.Hook]uint64{event.HookSend: 4}}
	tr := c.begin(7, &v, then, then)
	tr.endLo, tr.endHi = at("OutRsts", 11), at("OutRsts", 11)
	tr.seenEndLo, tr.seenEndHi = 6, 6
	got, ok := tr.check(slotOf("OutRsts"), &Losses{})
	if !ok || !is(got.Agree, true) || got.Kernel != 2 || got.Seen != 2 || !strings.Contains(got.Explanation, "4 before that were not compared") {
		t.Errorf("%+v", got)
	}
	tr.seenEndLo, tr.seenEndHi = 5, 5
	if got, _ = tr.check(slotOf("OutRsts"), &Losses{}); !is(got.Agree, false) {
		t.Errorf("one was missed after the first reading: %+v", got)
	}
}
