package zk

import "slices"

// maxWaiting bounds the questions of one requester that wait.
const maxWaiting = 32

// requester is the process whose connections lead to a server.
type requester struct {
	netns uint32
	path  string // names the process
}

type question struct {
	target Target
	word   Word
}

func (q question) key() Key { return Key{q.target.NetNS, q.target.Addr} }

// same tells whether one answer does for both.
func (q question) same(r question) bool { return q.word == r.word && q.key() == r.key() }

// queue gives each requester its turn, so that one that connects to hundreds of
// dead addresses keeps the others waiting for no more than one question. Two
// requesters may wait for the same server: neither waits in the other's line.
type queue struct {
	lines map[requester][]question
	turns []requester // those with a line, the next one first
	size  int
}

// push gives false where the question waits already or the queue is full. The
// oldest of a requester makes room for its newest.
func (u *queue) push(q question) (dropped *question, ok bool) {
	by := requester{q.target.NetNS, q.target.NSPath}
	line := u.lines[by]
	switch {
	case slices.ContainsFunc(line, q.same):
		return nil, false
	case len(line) == maxWaiting:
		oldest := line[0]
		dropped, line = &oldest, line[1:]
		u.size--
	case u.size >= maxServers:
		return nil, false
	}
	if len(u.lines[by]) == 0 {
		u.turns = append(u.turns, by)
	}
	u.lines[by] = append(line, q)
	u.size++
	return dropped, true
}

func (u *queue) pop() (q question, ok bool) {
	if len(u.turns) == 0 {
		return question{}, false
	}
	by := u.turns[0]
	u.turns = u.turns[1:]
	line := u.lines[by]
	q, line = line[0], line[1:]
	u.size--
	if len(line) == 0 {
		delete(u.lines, by)
	} else {
		u.lines[by] = line
		u.turns = append(u.turns, by)
	}
	return q, true
}
