package sink

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"rstwhy/internal/event"
)

// Bounds of foreign strings in text, in columns. The JSON sink has the whole
// of them.
const (
	maxComm    = 32 // a comm has 15 bytes; its escapes may be longer
	maxLabel   = 48
	maxVersion = 48
	maxWord    = 32
	maxWhy     = 400
	maxAdvice  = 600
)

// Legend explains the marks of the PROCESS column; it is part of --help.
const Legend = `PROCESS is name[pid] and, for a JVM, what it runs.
  java[2211]?  the process is remembered, not proven, to hold the connection
  ?            which process holds or held the socket is not known
  -            no process is concerned: the kernel answered by itself
`

// noProcess tells whether a reset concerns no process at all: nothing was
// found under its addresses, neither a socket nor the memory of one. Where the
// kernel did not accept a RST it often does not say for which socket, and then
// nothing is known.
func noProcess(r *event.Reset) bool {
	if r.Owner != nil || r.Socket != event.SocketNone || r.Facts.TombstoneHit || r.Cause == "late-data" {
		return false
	}
	return r.Hook != event.HookDrop || r.Cause == "reset-to-nobody"
}

// stormNoProcess is noProcess for a storm, which does not keep the kind of
// socket: these causes have none.
func stormNoProcess(s *event.Storm) bool {
	switch s.Cause {
	case "closed-port", "gone-connection", "firewall-reject", "reset-to-nobody":
		return s.Owner == nil && len(s.Others) == 0
	}
	return false
}

// stormProcess is the PROCESS column of a count, escaped, and what the second
// line says of the process.
func stormProcess(s *told, room int) (column, second string) {
	switch {
	case s.Owner != nil && (s.processes > 1 || s.many):
		mark, more := "", ""
		if !s.OwnerProven {
			mark = "?"
		}
		if s.many {
			more = "+"
		}
		return owner(s.Owner, mark+" ("+thousands(uint64(s.processes))+more+" processes)", room), ""
	case s.Owner != nil:
		return process(&event.Reset{Owner: s.Owner, OwnerProven: s.OwnerProven}, room), ""
	case len(s.Others) > 0:
		return "?", sentence("perhaps of " + several(s.Others))
	case stormNoProcess(&s.Storm):
		return "-", ""
	}
	return "?", ""
}

// processName is the process as the summary and the PROCESS column name it.
// The result is not escaped.
func processName(pid uint32, comm, label string) string {
	name := comm + "[" + strconv.FormatUint(uint64(pid), 10) + "]"
	if label != "" {
		name += " " + label
	}
	return name
}

// process is the PROCESS column, escaped, in at most width columns.
func process(r *event.Reset, width int) string {
	switch {
	case r.Owner != nil:
		which := pid(r.Owner)
		if !r.OwnerProven {
			which += "?"
		}
		return owner(r.Owner, which, width)
	case noProcess(r):
		return "-"
	default:
		return "?"
	}
}

func pid(p *event.Process) string { return "[" + strconv.FormatUint(uint64(p.PID), 10) + "]" }

// owner is a process, or several of one name, with what it runs as far as there
// is room.
func owner(p *event.Process, which string, width int) string {
	name := Escape(p.Comm, maxComm) + which
	if room := width - columns(name) - 1; p.Label != "" && room >= 4 {
		name += " " + Escape(label(p.Label, room), room)
	}
	return name
}

// label shortens what a process runs from its left: the packages before a
// class, the directories before a jar. What is left says what runs.
func label(s string, room int) string {
	if len(s) <= room {
		return s
	}
	s = s[strings.LastIndexByte(s, '/')+1:]
	if strings.HasSuffix(s, ".jar") || strings.HasSuffix(s, ".war") {
		return s
	}
	for len(s) > room {
		_, class, ok := strings.Cut(s, ".")
		if !ok {
			break
		}
		s = class
	}
	return s
}

// was is what the connection was before the reset, in the kernel's words.
func was(r *event.Reset) string {
	switch {
	case r.Socket == event.SocketTimewait, r.Socket == event.SocketNone && (r.Facts.TombstoneHit || r.Cause == "late-data"):
		return "closed"
	case r.State == nil:
		return "-"
	case *r.State == "CLOSE" || *r.State == "TIME_WAIT":
		return "closed"
	default:
		return Escape(*r.State, 12)
	}
}

func direction(d event.Direction) string {
	if d == event.Sent {
		return "SENT"
	}
	return "RECV"
}

// outcomes say what came of asking a ZooKeeper server, where that is not its
// version.
var outcomes = map[event.Outcome]string{
	event.OutcomeOK:             "answered, and told no version",
	event.OutcomeNotWhitelisted: "version 3.4.10 or later (it refuses four-letter words: not in the whitelist)",
	event.OutcomeNotServing:     "it says that it is not currently serving requests",
	event.OutcomeTLSOnly:        "version unknown, its port seems to speak TLS only",
	event.OutcomeRefused:        "version unknown, it refuses connections",
	event.OutcomeReset:          "version unknown, it accepted our question and closed without an answer",
	event.OutcomeTimeout:        "version unknown, it did not answer in time",
	event.OutcomeUnreachable:    "version unknown, it cannot be reached from here",
	event.OutcomeNotZooKeeper:   "no ZooKeeper, something else answers",
	event.OutcomeKeeper:         "ClickHouse Keeper, not Apache ZooKeeper",
	event.OutcomePending:        "version not yet known, it has not been asked yet, or has not answered",
	event.OutcomeWithheld:       "version unknown, it was not asked: this host holds nearly all of the connections that the server allows it",
	event.OutcomeDisabled:       "version unknown, it was not asked (--no-probe, or no probe was allowed)",
}

// ServerWords is what is known of a ZooKeeper server, without its address,
// escaped.
func ServerWords(s *event.Server) string {
	var words []string
	if s.Version != "" {
		words = append(words, Escape(s.Version, maxVersion))
	}
	if s.Mode != "" {
		words = append(words, Escape(s.Mode, maxWord))
	}
	if s.Outcome != event.OutcomeOK || s.Version == "" {
		text, ok := outcomes[s.Outcome]
		if !ok {
			text = "version unknown, " + Escape(string(s.Outcome), maxWord)
		}
		if s.Version != "" {
			text = strings.TrimPrefix(text, "version unknown, ")
		}
		words = append(words, text)
	}
	out := strings.Join(words, ", ")
	if age := asked(s); age != "" {
		out += " (" + age + ")"
	}
	return out
}

// asked says how old an answer is where that may matter: servers change their
// mode, and are upgraded, between two answers.
func asked(s *event.Server) string {
	switch {
	case s.Outcome == event.OutcomePending || s.Outcome == event.OutcomeDisabled || s.Outcome == event.OutcomeWithheld:
		return ""
	case s.AgeNS < 0:
		return "asked after the reset"
	case s.AgeNS >= int64(time.Minute):
		return "asked " + Span(s.AgeNS) + " ago"
	}
	return ""
}

// zookeeperWords is the ZooKeeper part of a record's second line.
func zookeeperWords(z *event.ZooKeeper, at time.Time) string {
	var parts []string
	if z.Server != nil {
		who := "ZooKeeper server"
		if z.Role == event.RoleServer {
			who = "this ZooKeeper server"
		}
		parts = append(parts, who+": "+ServerWords(z.Server))
	}
	if text := LibraryWords(z.Client); text != "" {
		parts = append(parts, text)
	}
	if z.PortKind != nil && portWords[*z.PortKind] != "" {
		parts = append(parts, portWords[*z.PortKind])
	}
	if p := z.Pause; p != nil {
		parts = append(parts, pauseWords(p, at))
	}
	return strings.Join(parts, "; ")
}

// LibraryWords is what is known of a ZooKeeper client's library, escaped; empty
// where that is nothing.
func LibraryWords(c *event.Client) string {
	if c == nil || c.Version == "" && c.Transport == "" {
		return ""
	}
	text := "client library"
	if c.Version != "" {
		text += " " + Escape(c.Version, maxVersion)
	}
	if c.Transport != "" {
		text += " (" + Escape(c.Transport, maxWord) + ")"
	}
	return text
}

// portWords name the ports of a ZooKeeper server that are not its clientPort.
var portWords = map[event.PortKind]string{
	event.PortSecureClient: "port for clients with TLS (secureClientPort)",
	event.PortQuorum:       "port between members of the ensemble (quorum)",
	event.PortElection:     "port between members of the ensemble (election)",
	event.PortAdmin:        "port of the AdminServer",
}

// pauseWords says when the JVM last stood still for a garbage collection.
func pauseWords(p *event.Pause, at time.Time) string {
	text := "the JVM stood still for " + Span(p.DurationNS) + " (" + Escape(p.Collector, maxWord) + ")"
	end := p.Start.Add(time.Duration(p.DurationNS))
	switch {
	case p.Running:
		return text + " and still did when it was looked at"
	case end.After(at):
		return text + ", this reset within"
	}
	return text + " until " + Span(at.Sub(end).Nanoseconds()) + " before"
}

// Span is a duration as a person says it: two units, no fractions of seconds.
func Span(ns int64) string {
	d := time.Duration(ns).Round(time.Second)
	switch {
	case ns < int64(time.Second):
		return time.Duration(ns).Round(time.Millisecond).String()
	case d < time.Minute:
		return d.String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}
