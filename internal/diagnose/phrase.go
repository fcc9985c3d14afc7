package diagnose

import (
	"fmt"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// signalNames are the signals that end processes in practice, by their number
// on x86 and ARM (signal(7)).
var signalNames = map[int]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT",
	7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2",
	13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
}

// byteCount writes a number of bytes.
func byteCount(n int64) string {
	if n == 1 {
		return "1 byte"
	}
	return fmt.Sprintf("%d bytes", n)
}

// human writes a span of time with the two digits that matter to a reader.
func human(ns int64) string {
	d := time.Duration(ns)
	short := func(v float64, unit string) string {
		if v < 9.95 {
			return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + unit
		}
		return fmt.Sprintf("%.0f %s", v, unit)
	}
	switch {
	case d < time.Microsecond:
		return "less than 1 µs"
	case d < 999500*time.Nanosecond:
		return short(float64(d)/1e3, "µs")
	case d < 999500*time.Microsecond:
		return short(float64(d)/1e6, "ms")
	case d < time.Minute:
		return short(float64(d)/1e9, "s")
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours())/24)
}

// holder names the process that held the socket: "this process" only where the
// record names one.
func holder(r *event.Reset) string {
	if r.Owner != nil {
		return "this process"
	}
	return "the process that held the socket"
}

// ended says how the socket was given up: what the process did (active, "closed
// the socket") where the record knows who did it, else only what happened
// (passive, "the socket was closed").
func ended(r *event.Reset, active, passive string) string {
	return ending(r, active, passive, "")
}

// hadEnded is ended one tense further back: "this process had closed the
// socket", "signal 9 (SIGKILL) had killed this process".
func hadEnded(r *event.Reset, active, passive string) string {
	return ending(r, active, passive, "had ")
}

func ending(r *event.Reset, active, passive, had string) string {
	e := r.EndedBy
	if e == nil {
		return passive
	}
	switch e.Kind {
	case event.EndExit:
		if e.Status != nil {
			return fmt.Sprintf("%s %sexited with status %d", holder(r), had, *e.Status)
		}
		return holder(r) + " " + had + "exited"
	case event.EndSignal:
		return signal(e) + " " + had + "killed " + holder(r)
	case event.EndOOM:
		return "the kernel " + had + "killed " + holder(r) + " for lack of memory"
	}
	if r.Owner == nil {
		return passive
	}
	return "this process " + had + active
}

func signal(e *event.Ending) string {
	if e.Signal == nil {
		return "a signal"
	}
	if name := signalNames[*e.Signal]; name != "" {
		return fmt.Sprintf("signal %d (%s)", *e.Signal, name)
	}
	return fmt.Sprintf("signal %d", *e.Signal)
}

// arrival names the segment that provoked the RST.
func arrival(r *event.Reset) string {
	switch n := r.Evidence.SegmentBytes; {
	case triggerSYN(r) && triggerACK(r):
		return "an answer to a connection attempt from the peer"
	case triggerSYN(r):
		return "a new connection attempt from the peer"
	case n.Known && n.N > 0:
		return byteCount(n.N) + " from the peer"
	case n.Known && strings.Contains(r.Evidence.SegmentFlags, "F"):
		return "the peer's end of the connection (FIN)"
	case n.Known:
		return "a packet without data from the peer"
	}
	return "a packet from the peer"
}

// after gives "1.2 s after", or "after" where the time is not known.
func after(n event.Number) string {
	if !n.Known || n.N < 0 {
		return "after"
	}
	return human(n.N) + " after"
}

func triggerSYN(r *event.Reset) bool {
	return r.Facts.TriggerSYN || strings.Contains(r.Evidence.SegmentFlags, "S")
}

func triggerACK(r *event.Reset) bool {
	return r.Facts.TriggerACK || strings.Contains(r.Evidence.SegmentFlags, ".")
}

// traffic says what each side had sent, for resets whose sender is elsewhere.
func traffic(r *event.Reset) string {
	e := r.Evidence
	if !e.SentBytes.Known || !e.ReceivedBytes.Known {
		return ""
	}
	amount := func(n int64) string {
		if n == 0 {
			return "nothing"
		}
		return byteCount(n)
	}
	if e.SentBytes.N == 0 && e.ReceivedBytes.N == 0 {
		return "; no data had passed either way"
	}
	return fmt.Sprintf("; %s sent, %s received", amount(e.SentBytes.N), amount(e.ReceivedBytes.N))
}

// clean makes a foreign string (a server's version text, a name out of a
// recording) safe to print: printable ASCII, at most 64 bytes.
func clean(s string) string {
	const most = 64
	var b strings.Builder
	for i := 0; i < len(s) && i < most; i++ {
		if c := s[i]; c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			b.WriteByte('?')
		}
	}
	if len(s) > most {
		b.WriteString("...")
	}
	return b.String()
}

func reason(r *event.Reset) string {
	if r.Reason == nil {
		return ""
	}
	return *r.Reason
}

// reasonKnown: the kernel gave a reason that says something. Kernels 6.10 and
// 6.11 give NOT_SPECIFIED for every active reset (include/net/rstreason.h).
func reasonKnown(r *event.Reset) bool {
	return reason(r) != "" && reason(r) != "NOT_SPECIFIED"
}

func state(r *event.Reset) string {
	if r.State == nil {
		return ""
	}
	return *r.State
}
