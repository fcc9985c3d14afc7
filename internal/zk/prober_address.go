package zk

import (
	"net/netip"
	"time"
)

const (
	// addressShare of the time between two questions to a server lies between
	// two to its address, from whichever namespaces: a minute of five.
	addressShare = 5
	// addressBurst namespaces need not wait for that. The same address may well
	// be another server in each of a few.
	addressBurst = 6
)

type addressWord struct {
	addr netip.AddrPort
	word Word
}

// addresses bounds what one address is asked from all namespaces together: the
// pods of a host that use one server would each have it asked.
type addresses struct {
	interval time.Duration
	// spent is the time at which nothing asked before counts any more.
	spent map[addressWord]time.Time
}

// free is when the address may be asked next.
func (a *addresses) free(addr netip.AddrPort, w Word) time.Time {
	return a.spent[addressWord{addr, w}].Add(-(addressBurst - 1) * a.interval)
}

// take notes a question. An address that never leaves its namespace or link is
// another server in each.
func (a *addresses) take(addr netip.AddrPort, w Word, now time.Time) {
	if addr.Addr().IsLoopback() || addr.Addr().IsLinkLocalUnicast() {
		return
	}
	if len(a.spent) >= maxServers { // at a Prober's rate most of them count no more
		for k, spent := range a.spent {
			if !spent.After(now) {
				delete(a.spent, k)
			}
		}
	}
	k := addressWord{addr, w}
	from := now
	if spent := a.spent[k]; spent.After(now) {
		from = spent
	}
	a.spent[k] = from.Add(a.interval)
}
