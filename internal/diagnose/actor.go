package diagnose

import "rstwhy/internal/event"

// actorException is a way in which a cause has another actor than its entry
// in the table of causes says. The first that holds counts.
type actorException struct {
	cause string
	name  string
	when  func(*event.Reset) bool
	actor event.ActorKind
}

var actorExceptions = []actorException{
	{Linger2Abort, "a timer of a closed socket", func(r *event.Reset) bool { return active(r) && !closedAtReset(r) }, event.ActorTimer},
	{Linger2Abort, "an answer to the acknowledgement of our FIN", passive, event.ActorKernel},
	{OrphanMemory, "a timer of a closed socket", func(r *event.Reset) bool { return !closedAtReset(r) }, event.ActorTimer},
	{MPTCPAbort, "a task held the socket lock", func(r *event.Reset) bool { return active(r) && r.Facts.LockOwned }, event.ActorProcess},
	// What the pipeline found out stands: it paired the firewall's own record.
	{ResetNotSentHere, "the firewall was seen making it", func(r *event.Reset) bool {
		return r.Actor != nil && r.Actor.Kind == event.ActorFirewall
	}, event.ActorFirewall},
}

// ActorOf says what kind of agent caused a reset that has its cause. Whether a
// process acted from outside (ss -K of a listener looks like its close) only
// the probe's record tells; that is for the caller to put above this.
func ActorOf(r *event.Reset) event.ActorKind {
	for _, x := range actorExceptions {
		if x.cause == r.Cause && x.when(r) {
			return x.actor
		}
	}
	if c, ok := LookupCause(r.Cause); ok {
		return c.Actor
	}
	return event.ActorUnknown
}
