package probe

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/rs/zerolog"
)

// ErrRequiredHook says that a hook without which there is no answer could not
// be attached; the command exits with status 3.
var ErrRequiredHook = errors.New("a required hook could not be attached")

// Options of a live session.
type Options struct {
	Filter Filter
	Log    zerolog.Logger
	// ForeignPIDs says that this pid namespace is not the host's: our own pid
	// is another process's in the kernel's eyes.
	ForeignPIDs bool
	// Firewall attaches the hook that sees netfilter's resets, at a cost for
	// every packet that leaves.
	Firewall bool
	// Rate is about how many records a second are told in full; the others are
	// counted in storms. 0: no bound.
	Rate uint32

	// edit changes what is loaded: tests make maps small with it.
	edit func(*ebpf.CollectionSpec)
}

// Live is an attached tracer.
type Live struct {
	coll   *ebpf.Collection
	extra  []*ebpf.Collection
	links  map[string]link.Link // by hook
	ring   *ringbuf.Reader
	record ringbuf.Record
	First  []Holder // what the walk at start found
	progs  map[string]*ebpf.Program
	states []HookState
	names  Names
	opts   Options
	log    zerolog.Logger
	types  *btf.Cache // while hooks are attached

	able      abilities
	places    [8]kernelDropPlace // where kfree_skb has no reason
	placesErr error
	secret    uint64
	sought    [SeekMax]uint64

	walkIter *link.Iter
	done     atomic.Uint64
	final    Counts
	detached bool

	missedStates uint64
	drops        drops
	late         late
	storms       storms
}

// Open loads and attaches the hooks and walks the descriptors that are open
// already. On error the states of the hooks are in the returned Live where the
// error is ErrRequiredHook.
func Open(opts Options) (*Live, error) {
	l := &Live{progs: map[string]*ebpf.Program{}, links: map[string]link.Link{}, opts: opts, log: opts.Log, secret: rand.Uint64()}
	if err := rlimit.RemoveMemlock(); err != nil {
		// Since 5.11 maps are charged to the memory cgroup, so this is no error.
		l.log.Debug().Err(err).Msg("memlock limit not raised")
	}
	l.types = btf.NewCache() // for all programs: reading the kernel's types takes 30 ms
	kernel, err := l.types.Kernel()
	if err != nil {
		return l, l.noHook(fmt.Errorf("%w: %w", errNoBTF, err))
	}
	if l.names, err = readNames(kernel); err != nil {
		return nil, err
	}
	l.findPlaces(kernel)
	spec, err := embedded()
	if err != nil {
		return nil, err
	}
	l.able = findAbilities(spec, l.types)
	if err := l.prepare(spec); err != nil {
		return nil, err
	}
	err = l.attachAll(spec, kernel, opts)
	l.names.Answers = l.servedBy("answers-ipv6") != ""
	l.names.NobodyTold = l.names.PlacesOnly && l.servedBy("answers-ipv4") != "" && l.servedBy("answers-ipv6") != "" && l.servedBy("timewait") != ""
	l.expectLate(kernel, time.Now())
	if err != nil {
		l.Close()
		return l, err
	}
	if l.ring, err = ringbuf.NewReader(l.coll.Maps["events"]); err != nil {
		l.Close()
		return nil, fmt.Errorf("open ring buffer: %w", err)
	}
	// Reading the kernel types leaves garbage behind that nobody needs any more.
	l.types = nil
	debug.FreeOSMemory()
	return l, nil
}

// embedded reads the programs and maps that this binary carries.
func embedded() (*ebpf.CollectionSpec, error) {
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	return spec, nil
}

// only is the part of a collection with some of its programs: to copy all of them
// for each that is loaded would cost a start more than loading does.
func only(spec *ebpf.CollectionSpec, names ...string) *ebpf.CollectionSpec {
	some := *spec
	some.Programs = map[string]*ebpf.ProgramSpec{}
	for _, name := range names {
		some.Programs[name] = spec.Programs[name].Copy()
	}
	return &some
}

// prepare sets this session's constants.
func (l *Live) prepare(spec *ebpf.CollectionSpec) error {
	if l.opts.edit != nil {
		l.opts.edit(spec)
	}
	return l.setConstants(spec)
}

// Names gives the running kernel's names.
func (l *Live) Names() Names { return l.names }

// Hooks tells what became of each hook.
func (l *Live) Hooks() []HookState { return l.states }

// Read waits until deadline for the next raw record. The bytes are valid until
// the next call. It returns os.ErrDeadlineExceeded when nothing came.
func (l *Live) Read(deadline time.Time) ([]byte, error) {
	l.ring.SetDeadline(deadline)
	if err := l.ring.ReadInto(&l.record); err != nil {
		return nil, err
	}
	return l.record.RawSample, nil
}

// DoubtDone tells the kernel side that one record that waited for its closer
// is finished, so that tcp_destroy_sock can return at once again.
func (l *Live) DoubtDone(n uint64) {
	if v := l.coll.Variables["doubts_done"]; v != nil {
		if err := v.Set(l.done.Add(n)); err != nil {
			l.log.Debug().Err(err).Msg("doubts_done not written")
		}
	}
}

// Walk visits every descriptor of every process once and returns the holders
// of sockets that were unknown so far or are in doubt.
func (l *Live) Walk() ([]Holder, error) {
	if l.walkIter == nil {
		return nil, errors.New("descriptor walk is not available")
	}
	r, err := l.walkIter.Open()
	if err != nil {
		return nil, fmt.Errorf("open descriptor walk: %w", err)
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read descriptor walk: %w", err)
	}
	const size = int(unsafe.Sizeof(Holder{}))
	out := make([]Holder, 0, len(raw)/size) // never nil: the walk was made
	for ; len(raw) >= size; raw = raw[size:] {
		out = append(out, *(*Holder)(unsafe.Pointer(unsafe.SliceData(raw))))
	}
	return out, nil
}

// Tombstone looks a connection up among the sockets that are gone. The kernel
// removes a socket from its tables up to some 10 us before the state change
// that writes the tombstone, so a late segment can find neither.
func (l *Live) Tombstone(e *ResetEvent) (Tombstone, bool) {
	key := kernelTuple{LocalAddr: e.LocalAddr, PeerAddr: e.PeerAddr, Netns: e.Netns, LocalPort: e.LocalPort, PeerPort: e.PeerPort}
	var t Tombstone
	if l.coll == nil || l.coll.Maps["tombstones"].Lookup(&key, &t) != nil {
		return Tombstone{}, false
	}
	return t, true
}

// RegisterProbe hides a connection of rstwhy's own, seen from either end,
// until the returned function is called.
func (l *Live) RegisterProbe(local, remote netip.AddrPort) (release func()) {
	m := l.coll.Maps["own_probes"]
	a := kernelTuple{LocalAddr: local.Addr().As16(), PeerAddr: remote.Addr().As16(), LocalPort: local.Port(), PeerPort: remote.Port()}
	b := kernelTuple{LocalAddr: a.PeerAddr, PeerAddr: a.LocalAddr, LocalPort: a.PeerPort, PeerPort: a.LocalPort}
	one := uint32(1)
	for _, k := range []kernelTuple{a, b} {
		if err := m.Put(&k, &one); err != nil {
			l.log.Warn().Err(err).Msg("own probe connection is not hidden")
		}
	}
	return func() {
		_ = m.Delete(&a)
		_ = m.Delete(&b)
	}
}

// Close detaches and releases everything.
func (l *Live) Close() {
	l.Detach()
	if l.ring != nil {
		l.ring.Close()
	}
	if l.walkIter != nil {
		l.walkIter.Close()
	}
	for _, c := range l.extra {
		c.Close()
	}
	if l.coll != nil {
		l.coll.Close()
	}
}
