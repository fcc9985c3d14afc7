package netns

import (
	"net/netip"
	"testing"
	"time"
)

// TestYoungNamespaceIsSought: a question about a namespace that no scan has seen
// finds a way there, by a hint or among the youngest processes, and what it finds
// tells a request, its listener and who they are.
func TestYoungNamespaceIsSought(t *testing.T) {
	r := newRoom(t)
	p := newStranger(t, r)
	hinted, blind := NewSpaces(), NewSpaces()
	hinted.Hint(r.inode, r.pid)
	for name, spaces := range map[string]*Spaces{"hint": hinted, "search": blind} {
		if !spaces.Seek(r.inode) {
			t.Errorf("%s: no way to namespace %d was found", name, r.inode)
		}
		if spaces.Seek(1) {
			t.Errorf("%s: a way to a namespace that is none", name)
		}
	}
	a := NewAsker(NewSpaces(), false)
	defer a.Close()
	if err := a.modules.Survivors(); err != nil {
		t.Skipf("cannot be asked here: %v", err)
	}
	const port = 41000
	to := r.listener(t, false, "")
	tuple := Tuple{netip.AddrPortFrom(here, to), netip.AddrPortFrom(there, port)}
	find := func(want Survival) Socket {
		t.Helper()
		q := a.Survivor(r.inode, tuple)
		for range 400 {
			if got, ok := q.Survival(); ok {
				if got != want {
					t.Fatalf("survival %d, want %d (trouble %v)", got, want, a.Trouble())
				}
				return q.Socket()
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatal("no answer")
		return Socket{}
	}
	listener := find(Gone)
	if !listener.Listener() || listener.Cookie == 0 {
		t.Errorf("nobody connected, and found is %+v, not the listener", listener)
	}
	p.say(t, port, to, flagSYN, 1000, 0)
	p.answered(t, port)
	if s := find(Alive); !s.Request || s.Listener() || s.TimeWait {
		t.Errorf("a request is found as %+v", s)
	}
	p.say(t, port, to, flagRST, 1001, 0)
	if again := find(Gone); again != listener {
		t.Errorf("the listener is %+v, and was %+v", again, listener)
	}
}
