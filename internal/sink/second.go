package sink

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"rstwhy/internal/event"
)

// second is a record's second line: who else is concerned, and what to do; or
// nothing where a reader would do the same without it.
func second(r *event.Reset) string {
	var parts []string
	say := func(s string) {
		if s != "" {
			parts = append(parts, sentence(s))
		}
	}
	say(acted(r))
	say(twin(r))
	say(others(r))
	if r.Hook == event.HookDrop && r.Effect != nil {
		say("effect: " + Escape(string(*r.Effect), maxWord))
	}
	if r.Packets > 1 {
		say(thousands(r.Packets) + " RST packets")
	}
	say(translated(r.NAT))
	say(place(r.Owner))
	if r.ZooKeeper != nil {
		say(zookeeperWords(r.ZooKeeper, r.Time))
	}
	return strings.Join(append(parts, verdictWords(r.Verdict)...), " ")
}

// stormSecond is the same for a count.
func stormSecond(s *event.Storm) string {
	var parts []string
	if s.Merged {
		parts = append(parts, "Counted without their processes: more kinds of resets at once than the kernel side can tell apart.")
	}
	if s.Effect != nil && (*s.Effect == event.EffectIgnored || *s.Effect == event.EffectUnknown) {
		parts = append(parts, sentence("effect: "+string(*s.Effect)))
	}
	return strings.Join(append(parts, verdictWords(s.Verdict)...), " ")
}

func verdictWords(v *event.Verdict) []string {
	if v == nil {
		return nil
	}
	title := strings.TrimSuffix(Escape(v.Title, maxAdvice), ".")
	parts := []string{sentence(fmt.Sprintf("%s (%s)", title, Escape(string(v.Confidence), maxWord)))}
	if len(v.Do) > 0 {
		parts = append(parts, "Do: "+Escape(v.Do[0], maxAdvice))
	}
	return parts
}

// sentence makes words that are escaped already begin and end as sentences do.
func sentence(s string) string {
	if c, size := utf8.DecodeRuneInString(s); c >= 'a' && c <= 'z' {
		s = strings.ToUpper(s[:size]) + s[size:]
	}
	if strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

// named is a process within a sentence.
func named(p *event.Process) string {
	return Escape(p.Comm, maxComm) + pid(p)
}

// acted names who caused the reset where that is not who owns the connection.
func acted(r *event.Reset) string {
	if r.Actor == nil || r.Actor.Process == nil {
		return ""
	}
	p := r.Actor.Process
	if sameProcess(r.Owner, p) || r.Actor.Kind == event.ActorPeer && sameProcess(r.TwinOwner, p) {
		return "" // named already, or below
	}
	if r.Actor.Kind != event.ActorKiller {
		return "done by " + named(p)
	}
	if r.Cause == "listener-closed" {
		return "listener stopped from outside by " + named(p)
	}
	return "destroyed by " + named(p)
}

func sameProcess(a, b *event.Process) bool {
	return a != nil && a.PID == b.PID && a.StartTime.Equal(b.StartTime)
}

// twin says who is at the other end, where that is on this host.
func twin(r *event.Reset) string {
	verb := "sent"
	if r.Direction == event.Sent {
		verb = "received"
	}
	switch {
	case r.TwinOwner != nil:
		return verb + " here by " + named(r.TwinOwner)
	case r.Twin != nil:
		return verb + " by this host too; no process is known at that end"
	}
	return ""
}

// others lists who else held the socket, or may have.
func others(r *event.Reset) string {
	if len(r.Others) == 0 {
		return ""
	}
	if r.Owner == nil {
		return "one of " + several(r.Others)
	}
	return "also held by " + several(r.Others)
}

const mostOthers = 8 // names in one line

func several(all []event.Process) string {
	var names []string
	for i := range all {
		if i == mostOthers {
			names = append(names, "more")
			break
		}
		names = append(names, named(&all[i]))
	}
	return strings.Join(names, ", ")
}

// translated says what a client asked for where conntrack translated it.
func translated(n *event.NAT) string {
	if n == nil {
		return ""
	}
	var parts []string
	if n.Destination != n.ReplySource {
		parts = append(parts, fmt.Sprintf("through %s, translated to %s", address(n.Destination), address(n.ReplySource)))
	}
	if n.Source != n.ReplyDestination {
		parts = append(parts, fmt.Sprintf("from %s, seen as %s", address(n.Source), address(n.ReplyDestination)))
	}
	if len(parts) == 0 {
		return ""
	}
	return strings.Join(parts, "; ") + " (NAT)"
}

func address(e event.Endpoint) string { return Escape(e.String(), 64) }

// place says where the owner runs, if that is in a pod or a container. Its unit
// alone would add a line to most resets of a host and tell little.
func place(p *event.Process) string {
	const short = 12 // as docker ps and crictl ps print ids
	if p == nil {
		return ""
	}
	id := Escape(p.ContainerID[:min(short, len(p.ContainerID))], maxWord)
	name := Escape(p.ContainerName, maxWord)
	switch {
	case p.Pod != "" && name != "":
		return "in pod " + Escape(p.PodNamespace+"/"+p.Pod, maxLabel) + ", container " + name
	case p.Pod != "":
		return "in pod " + Escape(p.PodNamespace+"/"+p.Pod, maxLabel)
	case name != "":
		return "in container " + name
	case id != "":
		return "in container " + id
	}
	return ""
}
