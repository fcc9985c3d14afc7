package zk

import (
	"errors"
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

// A look that does not end costs the others a while, and several of them end
// the looking: nobody is kept waiting.
func TestFinderStuck(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	f := newFinder(func(id ProcessID) (Process, error) {
		if id.PID < 100 {
			<-stop
		}
		return Process{Server: true}, nil
	})
	f.stuckAfter = 10 * time.Millisecond
	defer f.Close()
	f.Want(ProcessID{1, 1})
	f.Want(ProcessID{100, 1})
	if p, ok := settle(t, f, ProcessID{100, 1}); !ok || !p.Server {
		t.Errorf("after one that is stuck: %+v %v", p, ok)
	}
	if p, ok := settle(t, f, ProcessID{1, 1}); !ok || p.Server {
		t.Errorf("the stuck one: %+v %v", p, ok)
	}
	for i := range uint32(maxStuck) {
		f.Want(ProcessID{2 + i, 1})
	}
	f.Want(ProcessID{101, 1})
	for i := range uint32(maxStuck) {
		settle(t, f, ProcessID{2 + i, 1})
	}
	settle(t, f, ProcessID{101, 1})
	f.Want(ProcessID{102, 1})
	if f.Busy(ProcessID{102, 1}) {
		t.Error("still looking")
	}
}
