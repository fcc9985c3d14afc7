package diagnose

import (
	"regexp"
	"strconv"
	"time"

	"rstwhy/internal/event"
)

// fields are the values that a Line may name; each tells whether it is known.
var fields = map[string]func(*event.Reset) (string, bool){
	"local.port": func(r *event.Reset) (string, bool) { return strconv.Itoa(int(r.Local.Port)), true },
	"peer":       func(r *event.Reset) (string, bool) { return r.Peer.String(), r.Peer.Address.IsValid() },
	"peer.host":  func(r *event.Reset) (string, bool) { return r.Peer.Address.String(), r.Peer.Address.IsValid() },
	"peer.literal": func(r *event.Reset) (string, bool) { // as ss takes it
		a := r.Peer.Address
		if a.Is6() {
			return "'[" + a.String() + "]'", true
		}
		return a.String(), a.IsValid()
	},
	"server": func(r *event.Reset) (string, bool) {
		e, ok := serverEnd(r)
		return e.String(), ok && e.Address.IsValid()
	},
	"server.port": func(r *event.Reset) (string, bool) {
		e, ok := serverEnd(r)
		return strconv.Itoa(int(e.Port)), ok
	},
	"version": func(r *event.Reset) (string, bool) {
		s := server(r)
		return clean(s.Version), s.Version != ""
	},
	"client": func(r *event.Reset) (string, bool) {
		if r.ZooKeeper == nil || r.ZooKeeper.Client == nil {
			return "", false
		}
		c := r.ZooKeeper.Client
		return clean(c.Transport) + " " + clean(c.Version), c.Version != "" && c.Transport != ""
	},
	"asked": asked,
	"pid": func(r *event.Reset) (string, bool) {
		if r.Owner == nil {
			return "", false
		}
		return strconv.FormatUint(uint64(r.Owner.PID), 10), true
	},
	"ending":   func(r *event.Reset) (string, bool) { return ended(r, "closed", "closed"), r.EndedBy != nil },
	"segment":  func(r *event.Reset) (string, bool) { return arrival(r), r.Evidence.SegmentBytes.Known },
	"unread":   amount(func(e event.Evidence) event.Number { return e.UnreadBytes }),
	"received": amount(func(e event.Evidence) event.Number { return e.ReceivedBytes }),
	"pause": func(r *event.Reset) (string, bool) {
		if r.ZooKeeper == nil || r.ZooKeeper.Pause == nil {
			return "", false
		}
		p := r.ZooKeeper.Pause
		text := human(p.DurationNS) + " for a garbage collection (" + clean(p.Collector) + ")"
		if end := p.Start.Add(time.Duration(p.DurationNS)); !p.Running && !end.After(r.Time) {
			text += ", until " + human(r.Time.Sub(end).Nanoseconds()) + " before the reset"
		}
		return text, true
	},
	"sincesent": func(r *event.Reset) (string, bool) {
		n := r.Evidence.SinceSentNS
		return human(n.N), n.Known
	},
	"unsent": amount(func(e event.Evidence) event.Number { return e.UnsentBytes }),
	"unacked": func(r *event.Reset) (string, bool) {
		n := unacked(r)
		return byteCount(n.N), n.Known
	},
	"sent": amount(func(e event.Evidence) event.Number { return e.SentBytes }),
	"consumed": func(r *event.Reset) (string, bool) {
		n := consumed(r)
		return byteCount(n.N), n.Known
	},
}

func amount(of func(event.Evidence) event.Number) func(*event.Reset) (string, bool) {
	return func(r *event.Reset) (string, bool) {
		n := of(r.Evidence)
		return byteCount(n.N), n.Known
	}
}

// asked says when the server was asked, from the reset's point of view.
func asked(r *event.Reset) (string, bool) {
	if r.ZooKeeper == nil || r.ZooKeeper.Server == nil {
		return "", false
	}
	if age := r.ZooKeeper.Server.AgeNS; age < 0 {
		return human(-age) + " after the reset", true
	} else {
		return human(age) + " before the reset", true
	}
}

var placeholder = regexp.MustCompile(`\{([a-z.]+)\}`)

// fill puts the values into a line; false where one is not known.
func fill(text string, r *event.Reset) (string, bool) {
	known := true
	s := placeholder.ReplaceAllStringFunc(text, func(m string) string {
		f, ok := fields[m[1:len(m)-1]]
		if !ok {
			known = false
			return m
		}
		v, ok := f(r)
		known = known && ok
		return v
	})
	return s, known
}

// serverEnd is the ZooKeeper server's end of the connection.
func serverEnd(r *event.Reset) (event.Endpoint, bool) {
	switch {
	case r.ZooKeeper == nil:
		return event.Endpoint{}, false
	case r.ZooKeeper.Role == event.RoleServer:
		return r.Local, true
	}
	return r.Peer, true
}

// server is the snapshot of the server, empty where there is none.
func server(r *event.Reset) event.Server {
	if r.ZooKeeper == nil || r.ZooKeeper.Server == nil {
		return event.Server{}
	}
	return *r.ZooKeeper.Server
}

// consumed is what the local process had read: the number that tells the
// causes apart on a ZooKeeper server's host (0, 4, 48 or 49).
func consumed(r *event.Reset) event.Number {
	e := r.Evidence
	if !e.ReceivedBytes.Known || !e.UnreadBytes.Known || e.UnreadBytes.N < 0 || e.ReceivedBytes.N < e.UnreadBytes.N {
		return event.Number{}
	}
	return event.Num(e.ReceivedBytes.N - e.UnreadBytes.N)
}

var versionForm = regexp.MustCompile(`^(\d{1,4})\.(\d{1,4})\.(\d{1,4})`)

// below tells whether a version text is known and lower than the given one.
func below(version string, major, minor, patch int) (lower, known bool) {
	m := versionForm.FindStringSubmatch(version)
	if m == nil {
		return false, false
	}
	for i, want := range []int{major, minor, patch} {
		if got, _ := strconv.Atoi(m[i+1]); got != want {
			return got < want, true
		}
	}
	return false, true
}
