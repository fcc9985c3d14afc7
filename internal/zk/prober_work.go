package zk

import (
	"time"

	"rstwhy/internal/event"
)

func (p *Prober) work() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		}
		for {
			q, ok := p.next()
			if !ok {
				break
			}
			if told, by, ok := p.probe(q); ok {
				p.finish(q, by, told)
			}
		}
	}
}

// next is the next question that may be asked. What another requester had asked
// meanwhile is passed over, and so is an address that was asked from other
// namespaces: both will be wanted again.
func (p *Prober) next() (question, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.ctx.Err() == nil {
		q, ok := p.queue.pop()
		if !ok {
			break
		}
		a := &p.servers[q.key()].asking[q.word.index] // what waits is not forgotten
		a.queued--
		now := time.Now()
		if free := p.addresses.free(q.target.Addr, q.word); now.Before(free) && !now.Before(a.due) {
			a.due = free.Add(jitter(p.addresses.interval) - p.addresses.interval)
		}
		if !now.Before(a.due) {
			a.busy = true
			return q, true
		}
	}
	return question{}, false
}

// probe asks. A server that closes on srvr without a byte may be one that does
// not know the word (before 3.3), so stat follows once; a reset is no such
// answer. A refusal by the whitelist is none either: such a server knows srvr.
func (p *Prober) probe(q question) (_ Told, by string, ok bool) {
	a, ok := p.paced(q.target, q.word)
	word := q.word
	if ok && word == Srvr && a.Outcome == event.OutcomeReset && a.unknownWord {
		var b Answer
		if b, ok = p.paced(q.target, Stat); b.Outcome == event.OutcomeOK || b.Outcome == event.OutcomeNotServing {
			a, word = b, Stat
		}
	}
	return Told{a, time.Now()}, word.String(), ok
}

// paced asks under the rate limit and where the server has room for it; false
// means that the Prober is closing.
func (p *Prober) paced(t Target, w Word) (Answer, bool) {
	if p.limiter.Wait(p.ctx) != nil {
		return Answer{}, false
	}
	if a, withheld := p.withhold(t); withheld {
		return a, true
	}
	a := p.dialer.ask(p.ctx, t, w)
	return a, p.ctx.Err() == nil
}

func (p *Prober) finish(q question, by string, told Told) {
	k := q.key()
	snapshot := Snapshot{Key: k, At: told.At, Word: by, Answer: told.Answer, Server: told.server(k)}
	p.mu.Lock()
	if s := p.servers[k]; s != nil {
		p.note(s, q.word, told, &snapshot)
	}
	p.mu.Unlock()
	for {
		select {
		case p.results <- snapshot:
			return
		default:
		}
		select {
		case <-p.results:
		default:
		}
	}
}
