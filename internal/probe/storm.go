package probe

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"github.com/cilium/ebpf"
)

// StormKey is what the resets of one storm have in common; Storm counts them.
type (
	StormKey = kernelStormKey
	Storm    = kernelStorm
)

// StormOf is the storm that a reset would be counted in.
func StormOf(e *ResetEvent) StormKey {
	k := StormKey{
		OwnerStartNs: e.Owner.StartNs, OwnerTgid: e.Owner.Tgid, PeerAddr: e.PeerAddr, Netns: e.Netns,
		Flags: e.Flags & stormFlags, Reason: e.Reason, DropReason: e.DropReason,
		Hook: e.Hook, Direction: e.Direction, Socket: e.Socket, State: e.State, PrevState: e.PrevState,
		TwSubstate: e.TwSubstate, LeftState: e.LeftState, TriggerFlags: e.TriggerFlags, Ended: e.Ended,
		Shutdown: e.Shutdown, How: e.How, Effect: e.Effect,
	}
	if has(e, kernelResetFlagsRESET_ACTIVE_OPEN) || e.State == synSent {
		k.PeerPort = e.PeerPort
	} else {
		k.LocalPort = e.LocalPort
	}
	set := func(bit kernelStormShape, is bool) {
		if is {
			k.Shape |= uint8(bit)
		}
	}
	fin := int32(0)
	if has(e, kernelResetFlagsRESET_PEER_FIN) {
		fin = 1
	}
	set(kernelStormShapeSHAPE_UNREAD, int32(e.RcvNxt-e.CopiedSeq)-fin > 0 && e.Socket == uint8(kernelSocketKindSOCKET_FULL))
	set(kernelStormShapeSHAPE_PROBES, e.ProbesOut > 0)
	set(kernelStormShapeSHAPE_USER_TIMEOUT, e.UserTimeoutMs > 0)
	set(kernelStormShapeSHAPE_LINGER_TIME, e.LingerJiffies > 0)
	set(kernelStormShapeSHAPE_LINGER2, e.Linger2 < 0)
	set(kernelStormShapeSHAPE_SEGMENT_DATA, e.TriggerLen > 0)
	set(kernelStormShapeSHAPE_OVERFLOW, e.Backlog > e.MaxBacklog)
	set(kernelStormShapeSHAPE_UNACKED, e.SndNxt != e.SndUna)
	return k
}

const synSent = 2 // TCP_SYN_SENT is ABI (include/net/tcp_states.h)

// stormFlags leaves out what differs between resets of one cause.
const stormFlags = ^uint32(kernelResetFlagsRESET_RECOVERED | kernelResetFlagsRESET_NAT)

// Sample makes a reset of the storm, with what they have in common and nothing
// else: enough to tell their cause.
func Sample(k *StormKey, s *Storm) ResetEvent {
	e := ResetEvent{
		Kind: uint32(KindReset), TimeNs: s.LastNs, Owner: s.Owner, PeerAddr: k.PeerAddr, Netns: k.Netns, Flags: k.Flags,
		LocalPort: k.LocalPort, PeerPort: s.PeerPort, Reason: k.Reason, DropReason: k.DropReason, Hook: k.Hook,
		Direction: k.Direction, Socket: k.Socket, State: k.State, PrevState: k.PrevState, TwSubstate: k.TwSubstate,
		LeftState: k.LeftState, TriggerFlags: k.TriggerFlags, Ended: k.Ended, Shutdown: k.Shutdown, How: k.How,
		Effect: k.Effect, ExitCode: s.ExitCode,
	}
	is := func(bit kernelStormShape) uint32 {
		if k.Shape&uint8(bit) != 0 {
			return 1
		}
		return 0
	}
	e.RcvNxt = 2 * is(kernelStormShapeSHAPE_UNREAD) // a FIN takes one
	e.ProbesOut = uint8(is(kernelStormShapeSHAPE_PROBES))
	e.UserTimeoutMs = is(kernelStormShapeSHAPE_USER_TIMEOUT)
	e.LingerJiffies = is(kernelStormShapeSHAPE_LINGER_TIME)
	e.Linger2 = -int32(is(kernelStormShapeSHAPE_LINGER2))
	e.TriggerLen = is(kernelStormShapeSHAPE_SEGMENT_DATA)
	e.Backlog = is(kernelStormShapeSHAPE_OVERFLOW)
	e.SndNxt = is(kernelStormShapeSHAPE_UNACKED)
	e.BytesSent = uint64(is(kernelStormShapeSHAPE_UNACKED))
	return e
}

// Counted is one storm of a second. Merged: it may be of several owners and
// network namespaces, which the kernel side had no room to tell apart. Unconfirmed:
// of all that the owner has in this list in doubt, how many sockets it did not close
// itself, as far as the kernel side had room to note that.
type Counted struct {
	Key         StormKey
	Count       Storm
	Merged      bool
	Unconfirmed uint64
}

// Doubtful tells that the owner is the one that opened the sockets, or listened,
// so that others may have held those that it did not close.
func (c *Counted) Doubtful() bool {
	return c.Key.Flags&uint32(kernelResetFlagsRESET_DOUBT) != 0
}

// storms remembers what was taken.
type storms struct {
	made    uint64
	counted batch[StormKey, Storm]
	doubts  batch[kernelDoubtKey, kernelDoubted]
}

// Storms takes what was counted on the side of the maps that rests since the
// call before, and lets that side work: a program that began before the turn has
// ended by the next call, if calls are some 100 ms apart. After Detach it takes
// both sides.
func (l *Live) Storms() ([]Counted, error) {
	made := l.coll.Variables["storms_made"]
	turn := l.coll.Variables["storm_turn"]
	var now uint64
	var working uint32
	if err := errors.Join(made.Get(&now), turn.Get(&working)); err != nil {
		return nil, fmt.Errorf("read storms: %w", err)
	}
	if now == l.storms.made && !l.detached {
		return nil, nil
	}
	var out []Counted
	left := false
	for _, name := range []string{"storms", "storms_any", "storms_kind", "storms_rest"} {
		more, err := take(l, name, &l.storms.counted, func(k *StormKey) bool { return k.Side == uint8(working&1) },
			func(k *StormKey, v *Storm) {
				k.Side = 0
				if v.Count > 0 {
					out = append(out, Counted{Key: *k, Count: *v, Merged: name == "storms_rest"})
				}
			})
		if err != nil {
			return out, err
		}
		left = left || more
	}
	if !left {
		l.storms.made = now
	}
	if err := l.confirmStorms(out, working); err != nil {
		return out, err
	}
	rests := l.coll.Variables[[]string{"used_1", "used_0"}[working&1]]
	if err := errors.Join(rests.Set(kernelEntries{}), turn.Set(working+1)); err != nil {
		return out, fmt.Errorf("turn storms: %w", err)
	}
	return out, nil
}

// confirmStorms says which owners closed all of the sockets that were counted for
// them in doubt on the resting side.
func (l *Live) confirmStorms(list []Counted, working uint32) error {
	type process struct {
		start uint64
		pid   uint32
	}
	unconfirmed := map[process]uint64{}
	left, err := take(l, "storm_doubts", &l.storms.doubts, func(k *kernelDoubtKey) bool { return k.Turn == working },
		func(k *kernelDoubtKey, v *kernelDoubted) {
			p := process{k.StartNs, k.Tgid}
			unconfirmed[p] += v.Counted - min(v.Counted, v.Confirmed)
		})
	if err != nil {
		return err
	}
	for i := range list {
		n, noted := unconfirmed[process{list[i].Key.OwnerStartNs, list[i].Key.OwnerTgid}]
		if !noted { // the map had no room for the process
			n = math.MaxUint64
		}
		list[i].Unconfirmed = n
	}
	if left || len(unconfirmed) > 0 {
		return nil
	}
	return l.coll.Variables["storm_doubts_open"].Set(uint32(0))
}

// batch is the memory that a map is read into: a megabyte that would be garbage
// every second.
type batch[K, V any] struct {
	keys   []K
	values []V
}

// take reads a map and deletes what the resting side has; left tells that the
// working side has something.
func take[K, V any](l *Live, name string, b *batch[K, V], works func(*K) bool, each func(*K, *V)) (left bool, err error) {
	m := l.coll.Maps[name]
	if n := int(m.MaxEntries()); len(b.keys) < n {
		b.keys, b.values = make([]K, n), make([]V, n)
	}
	var cursor ebpf.MapBatchCursor
	n, err := m.BatchLookup(&cursor, b.keys, b.values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	for i := range n {
		k := &b.keys[i]
		if !l.detached && works(k) {
			left = true
			continue
		}
		if err := m.Delete(k); err != nil {
			return left, fmt.Errorf("take from %s: %w", name, err)
		}
		each(k, &b.values[i])
	}
	return left, nil
}

// Hits are the hits of the hooks in one network namespace, filtered ones
// included.
type Hits struct{ Sent, Received, Refused, Firewall uint64 }

// NetNSHits gives them by the namespace's inode number.
func (l *Live) NetNSHits() (map[uint32]Hits, error) {
	out := map[uint32]Hits{}
	if l.coll == nil {
		return out, nil
	}
	var ns uint32
	var per []kernelNetnsHits
	it := l.coll.Maps["netns_counts"].Iterate()
	for it.Next(&ns, &per) {
		var sum Hits
		for i := range per {
			h := &per[i].Hits
			sum.Sent += h[kernelResetHookHOOK_SEND]
			sum.Received += h[kernelResetHookHOOK_RECEIVE]
			sum.Refused += h[kernelResetHookHOOK_DROP]
			sum.Firewall += h[kernelResetHookHOOK_FIREWALL]
		}
		out[ns] = sum
	}
	if err := it.Err(); err != nil {
		return out, fmt.Errorf("read hits by network namespace: %w", err)
	}
	return out, nil
}

// StormRemote is the remote address of a storm, as a prefix of all addresses
// where it counts several.
func StormRemote(k *StormKey) netip.Prefix {
	a := netip.AddrFrom16(k.PeerAddr).Unmap()
	if a.IsUnspecified() {
		return netip.PrefixFrom(a, 0)
	}
	return netip.PrefixFrom(a, a.BitLen())
}
