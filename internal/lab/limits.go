package lab

import "rstwhy/internal/event"

// Visible leaves out the resets of which a kernel before 5.17 shows nothing.
func Visible(all []Truth) (seen, unseen []Truth) {
	for _, t := range all {
		if t.Inside {
			unseen = append(unseen, t)
			continue
		}
		seen = append(seen, t)
	}
	return seen, unseen
}

// Untold tells that a finding is "unknown" where a kernel before 6.11 does not say
// which socket refused a reset, and no falsehood.
func (f *Finding) Untold() bool {
	if f.Truth == nil || f.Reset == nil || f.Truth.Hook != event.HookDrop {
		return false
	}
	r := f.Reset
	switch f.Field {
	case UnknownOwner:
		return true
	case CauseField:
		return r.Cause == "unknown"
	case SocketField:
		return r.Socket == event.SocketNone
	case EffectField:
		return r.Effect != nil && *r.Effect == event.EffectUnknown
	case ActorField:
		return r.Actor == nil || r.Actor.Kind == event.ActorUnknown
	}
	return false
}
