package zk

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"rstwhy/internal/event"
)

// scripted answers looks from a list and counts them.
type scripted struct {
	mu      sync.Mutex
	looks   int
	answers []Process
	err     error
}

func (s *scripted) look(ProcessID) (Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.err != nil {
		return Process{}, s.err
	}
	return s.answers[min(s.looks, len(s.answers))-1], nil
}

func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// settle waits for the look that was asked for.
func settle(t *testing.T, f *Finder, id ProcessID) (Process, bool) {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		f.mu.Lock()
		l := f.looks[id]
		idle := l == nil || !l.busy
		f.mu.Unlock()
		if idle {
			return f.Lookup(id)
		}
	}
	t.Fatal("the look does not end")
	return Process{}, false
}

// forward makes another look due.
func forward(f *Finder, id ProcessID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks[id].due = time.Time{}
}

func TestFinder(t *testing.T) {
	id := ProcessID{7, 8}
	whole := Process{Client: &event.Client{Version: "3.4.13", Transport: "nio"}}
	for _, tt := range []struct {
		name    string
		answers []Process
		err     error
		looks   int
		client  bool
	}{
		{"found at once", []Process{whole}, nil, 1, true},
		{"a server", []Process{{Server: true}}, nil, 1, false},
		{"found at the second look", []Process{{}, whole}, nil, 2, true},
		{"never found", []Process{{}}, nil, 4, false},
		{"half known", []Process{{Client: &event.Client{Version: "3.4.13"}}, whole}, nil, 2, true},
		{"gone", nil, errors.New("gone"), 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &scripted{answers: tt.answers, err: tt.err}
			f := newFinder(s.look)
			defer f.Close()
			if _, ok := f.Lookup(id); ok || f.Busy(id) {
				t.Error("an answer before the question")
			}
			for range 6 {
				f.Want(id)
				f.Want(id)
				if _, ok := settle(t, f, id); !ok {
					t.Fatal("no answer")
				}
				f.Want(id) // too soon
				forward(f, id)
			}
			p, _ := f.Lookup(id)
			if s.count() != tt.looks || (p.Client != nil && p.Client.Transport != "") != tt.client {
				t.Errorf("%d looks, want %d; %+v", s.count(), tt.looks, p)
			}
			f.Want(ProcessID{})
			if len(f.looks) != 1 {
				t.Error("nobody was looked at")
			}
		})
	}
}

func TestFinderIsBounded(t *testing.T) {
	stop := make(chan struct{})
	f := newFinder(func(ProcessID) (Process, error) { <-stop; return Process{}, nil })
	for i := range uint32(maxProcesses + 10) {
		f.Want(ProcessID{i + 1, 1})
	}
	if len(f.looks) > maxProcesses {
		t.Errorf("%d processes remembered", len(f.looks))
	}
	if !f.Busy(ProcessID{1, 1}) {
		t.Error("one that waits was forgotten")
	}
	close(stop)
	f.Close()
	f.Want(ProcessID{1 << 20, 1})
	if _, ok := f.looks[ProcessID{1 << 20, 1}]; ok {
		t.Error("asked after the end")
	}
}

// What is known of all processes together is bounded, whatever each one makes
// of its own.
func TestFinderForgets(t *testing.T) {
	big := Process{Server: true, Config: Config{DataDir: strings.Repeat("x", maxRemembered/4)}}
	f := newFinder(func(ProcessID) (Process, error) { return big, nil })
	defer f.Close()
	for i := range uint32(8) {
		f.Want(ProcessID{i + 1, 1})
		if _, ok := settle(t, f, ProcessID{i + 1, 1}); !ok {
			t.Error("the last one was forgotten")
		}
		f.mu.Lock()
		n := 0
		for _, l := range f.looks {
			n += l.process.size()
		}
		if n != f.size || n > maxRemembered {
			t.Errorf("%d bytes of %d looks, counted %d", n, len(f.looks), f.size)
		}
		f.mu.Unlock()
	}
}

// A look that does not end costs its own process the answer. Several of them
// halt the looking, nobody is kept waiting meanwhile, and it goes on when one
// of them ends or a while has passed.
func TestFinderStuck(t *testing.T) {
	stop := make(chan struct{})
	var once sync.Once
	end := func() { once.Do(func() { close(stop) }) }
	defer end()
	f := newFinder(func(id ProcessID) (Process, error) {
		if id.PID < 100 {
			<-stop
		}
		return Process{Server: true}, nil
	})
	f.stuckAfter, f.stuckPause = 300*time.Millisecond, time.Hour
	defer f.Close()
	if w := f.Trouble(); w != nil {
		t.Errorf("trouble before there was any: %q", w)
	}
	halted := func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.halted
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal(what)
			}
		}
	}
	looked := func(pid uint32) func() bool {
		return func() bool {
			f.Want(ProcessID{pid, 1})
			p, ok := f.Lookup(ProcessID{pid, 1})
			return ok && p.Server
		}
	}
	for i := range uint32(maxStuck - 1) {
		f.Want(ProcessID{1 + i, 1})
	}
	f.Want(ProcessID{100, 1})
	if p, ok := settle(t, f, ProcessID{100, 1}); !ok || !p.Server {
		t.Errorf("after some that are stuck: %+v %v", p, ok)
	}
	if p, ok := settle(t, f, ProcessID{1, 1}); !ok || p.Server {
		t.Errorf("a stuck one: %+v %v", p, ok)
	}
	f.Want(ProcessID{1, 1})
	if f.Busy(ProcessID{1, 1}) || halted() {
		t.Error("a stuck one is looked at again, or others are not")
	}
	f.Want(ProcessID{50, 1})
	f.Want(ProcessID{101, 1})
	until("too many are stuck, and it goes on", halted)
	f.Want(ProcessID{102, 1})
	if f.Busy(ProcessID{101, 1}) || f.Busy(ProcessID{102, 1}) {
		t.Error("waits for a look while there are none")
	}
	if w := f.Trouble(); len(w) != 1 || !strings.HasPrefix(w[0], "4 looks ") || !strings.Contains(w[0], "; 1 times no other") {
		t.Errorf("trouble %q", w)
	}
	end()
	until("it does not go on when the stuck ones end", looked(102))
}

// Where none of them ends, it goes on after a while.
func TestFinderStuckForEver(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	f := newFinder(func(id ProcessID) (Process, error) {
		if id.PID < 100 {
			<-stop
		}
		return Process{Server: true}, nil
	})
	f.stuckAfter, f.stuckPause = 300*time.Millisecond, 10*time.Millisecond
	defer f.Close()
	for i := range uint32(maxStuck) {
		f.Want(ProcessID{1 + i, 1})
	}
	settle(t, f, ProcessID{maxStuck, 1})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		f.Want(ProcessID{100, 1})
		if p, ok := f.Lookup(ProcessID{100, 1}); ok && p.Server {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not go on")
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halts == 0 || f.stuck != maxStuck {
		t.Errorf("halted %d times with %d stuck", f.halts, f.stuck)
	}
}
