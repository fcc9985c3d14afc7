package probe

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// knocker is a process with a name of its own that, for each line it gets,
// connects to a closed port and answers with a line.
type knocker struct {
	pid  uint32
	name string
	in   io.Writer
	out  *bufio.Reader
}

func newKnocker(t *testing.T, name string, closed netip.AddrPort) *knocker {
	t.Helper()
	// The shell itself connects, and no child of its own.
	script := fmt.Sprintf(`printf %s >/proc/self/comm; while read -r; do { : <>/dev/tcp/%s/%d; } 2>/dev/null; echo; done`, name, closed.Addr(), closed.Port())
	c := exec.Command("bash", "-c", script)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // ends its loop
		if err := c.Wait(); err != nil && !t.Failed() {
			t.Errorf("%s: %v", name, err)
		}
	})
	return &knocker{uint32(c.Process.Pid), name, in, bufio.NewReader(out)}
}

func (k *knocker) knock(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(k.in, "\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
}

// closedPort is a port of loopback on which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.0.1:0", 1+os.Getpid()%250))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// firstCPU is one that this process may run on.
func firstCPU(t *testing.T) (one unix.CPUSet) {
	t.Helper()
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Fatal(err)
	}
	i := 0
	for !may.IsSet(i) {
		i++
	}
	one.Set(i)
	return one
}

// TestProcessesFull: more processes connect, in turn, than the map of announced
// ones holds. Each reset has its own process, by pid and name, and a process
// that was pushed out is announced anew.
func TestProcessesFull(t *testing.T) {
	needRoot(t)
	const room, crowd, rounds = 16, 64, 3
	closed := closedPort(t)
	l, err := Open(Options{
		Log:    zerolog.Nop(),
		Filter: Filter{Addrs: []netip.Prefix{netip.PrefixFrom(closed.Addr(), 32)}},
		edit:   func(spec *ebpf.CollectionSpec) { spec.Maps["processes"].MaxEntries = room },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := l.coll.Maps["processes"].MaxEntries(); n != room {
		t.Fatalf("the map has room for %d, not %d", n, room)
	}
	cpu := firstCPU(t)
	all := map[uint32]*knocker{}
	var order []*knocker
	for i := range crowd {
		k := newKnocker(t, fmt.Sprintf("knock-%d", i), closed)
		// Each CPU remembers whom it announced last: a process that has one to itself
		// is never looked up again.
		if err := unix.SchedSetaffinity(int(k.pid), &cpu); err != nil {
			t.Fatal(err)
		}
		all[k.pid], order = k, append(order, k)
	}
	for range rounds {
		for _, k := range order {
			k.knock(t)
		}
	}
	resets, announced, total := map[uint32]int{}, map[uint32]int{}, 0
	var rec Record
	for until := time.Now().Add(20 * time.Second); total < crowd*rounds && time.Now().Before(until); {
		raw, err := l.Read(time.Now().Add(50 * time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err == nil {
			err = Decode(raw, &rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case rec.Kind == KindProcess && all[rec.Closer.Owner.Tgid] != nil:
			announced[rec.Closer.Owner.Tgid]++
		case rec.Kind == KindReset && !Sent(&rec.Reset):
			total++
			o := &rec.Reset.Owner
			if k := all[o.Tgid]; k == nil || Comm(o.Comm) != k.name {
				t.Errorf("owner %d %q, want one of the crowd by its name", o.Tgid, Comm(o.Comm))
				continue
			}
			resets[o.Tgid]++
		}
	}
	again := 0
	for pid, k := range all {
		if resets[pid] != rounds {
			t.Errorf("%s has %d resets, made %d", k.name, resets[pid], rounds)
		}
		if announced[pid] == 0 {
			t.Errorf("%s was never announced", k.name)
		}
		again += max(announced[pid]-1, 0)
	}
	// At most room of them were still known when their next turn came.
	if least := (rounds - 1) * (crowd - room); again < least {
		t.Errorf("%d announced anew, at least %d were pushed out", again, least)
	}
}
