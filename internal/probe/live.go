package probe

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
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
	"golang.org/x/sys/unix"
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
	log    zerolog.Logger
	types  *btf.Cache // while Open runs

	walkIter *link.Iter
	done     atomic.Uint64
	final    Counts
	detached bool

	missedStates uint64
	drops        drops
	storms       storms
}

// Open loads and attaches the hooks and walks the descriptors that are open
// already. On error the states of the hooks are in the returned Live where the
// error is ErrRequiredHook.
func Open(opts Options) (*Live, error) {
	l := &Live{progs: map[string]*ebpf.Program{}, links: map[string]link.Link{}, log: opts.Log}
	if err := rlimit.RemoveMemlock(); err != nil {
		// Since 5.11 maps are charged to the memory cgroup, so this is no error.
		l.log.Debug().Err(err).Msg("memlock limit not raised")
	}
	l.types = btf.NewCache() // for all programs: reading the kernel's types takes 30 ms
	kernel, err := l.types.Kernel()
	if err != nil {
		return l, l.noHook(fmt.Errorf("read the kernel's BTF (/sys/kernel/btf/vmlinux, kernel option CONFIG_DEBUG_INFO_BTF): %w", err))
	}
	if l.names, err = readNames(kernel); err != nil {
		return nil, err
	}
	spec, err := loadKernel()
	if err != nil {
		return nil, fmt.Errorf("read embedded programs: %w", err)
	}
	if err := setConstants(spec, opts, &l.names); err != nil {
		return nil, err
	}
	if err := l.attachAll(spec, kernel, opts); err != nil {
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

func setConstants(spec *ebpf.CollectionSpec, opts Options, names *Names) error {
	wire, err := opts.Filter.wire()
	if err != nil {
		return err
	}
	self := uint32(os.Getpid())
	if opts.ForeignPIDs {
		self = ^uint32(0) // nobody's: pids end at 2^22
	}
	reasons, plain := dropReasons(names)
	full := opts.Rate / 4
	if opts.Rate > 0 {
		full = max(full, 1)
	}
	for _, c := range []struct {
		name  string
		value any
	}{
		{"filters", wire}, {"reading_calls", readingCalls()}, {"self_tgid", self}, {"shutdown_call", uint32(unix.SYS_SHUTDOWN)},
		{"drop_reasons", reasons}, {"drop_not_specified", plain}, {"full_budget", full}, {"new_budget", opts.Rate - full},
	} {
		if err := spec.Variables[c.name].Set(c.value); err != nil {
			return fmt.Errorf("set %s: %w", c.name, err)
		}
	}
	return nil
}

// attachAll loads each hook's programs in collections that share the maps of
// the first, so that an optional one that this kernel refuses costs only
// itself.
func (l *Live) attachAll(spec *ebpf.CollectionSpec, kernel *btf.Spec, opts Options) error {
	base := spec.Copy()
	base.Programs = nil
	coll, err := ebpf.NewCollection(base)
	if err != nil {
		return l.noHook(fmt.Errorf("create maps: %w", err))
	}
	l.coll = coll
	var missing error
	for _, h := range Hooks {
		st := HookState{Hook: h}
		if h.OnRequest != "" {
			st.Err = l.request(opts)
		}
		if st.Err != nil {
			l.states = append(l.states, st)
			continue
		}
		for _, c := range h.Candidates {
			if st.Err = l.attach(spec, kernel, h.Name, c); st.Err == nil {
				st.Attached, st.Program = true, c.Program
				break
			}
			l.log.Debug().Err(st.Err).Str("hook", h.Name).Str("program", c.Program).Msg("candidate not attached")
		}
		if !st.Attached && h.Required && missing == nil {
			missing = fmt.Errorf("%w: %s (%s; needs Linux %s or later): %w", ErrRequiredHook, h.Name, h.Purpose, h.Since, st.Err)
		}
		l.states = append(l.states, st)
	}
	return missing
}

// request tells whether the hook for every packet is asked for and needed.
func (l *Live) request(opts Options) error {
	switch {
	case !opts.Firewall:
		return ErrNotRequested
	case l.links["firewall-ipv4"] != nil && l.links["firewall-ipv6"] != nil:
		return ErrNotNeeded
	}
	// One of them would tell each reset twice.
	for _, name := range []string{"firewall-ipv4", "firewall-ipv6"} {
		if lnk := l.links[name]; lnk != nil {
			lnk.Close()
			delete(l.links, name)
		}
	}
	return nil
}

func (l *Live) attach(spec *ebpf.CollectionSpec, kernel *btf.Spec, hook string, c Candidate) error {
	if c.Args > 0 {
		switch n := tracepointArgs(kernel, c.Target); {
		case n < 0:
			return fmt.Errorf("this kernel has no tracepoint %s", c.Target)
		case n != c.Args:
			return fmt.Errorf("tracepoint %s has %d arguments on this kernel, %d are needed", c.Target, n, c.Args)
		}
	}
	one := spec.Copy()
	one.Programs = map[string]*ebpf.ProgramSpec{c.Program: spec.Programs[c.Program]}
	coll, err := ebpf.NewCollectionWithOptions(one, ebpf.CollectionOptions{MapReplacements: l.coll.Maps, Cache: l.types})
	if err != nil && c.Kind == "fentry" {
		// The library's words for it would be about memory limits.
		l.log.Debug().Err(err).Str("program", c.Program).Msg("not loaded")
		return fmt.Errorf("this kernel has no function %s, or lets no BPF program attach to its functions (fentry)", c.Target)
	}
	if err != nil {
		return fmt.Errorf("load %s: %w", c.Program, err)
	}
	l.extra = append(l.extra, coll)
	prog := coll.Programs[c.Program]
	l.progs[c.Program] = prog
	switch c.Kind {
	case "tp_btf", "fentry":
		lnk, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.Program, err)
		}
		l.links[hook] = lnk
	case "iter":
		it, err := link.AttachIter(link.IterOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.Program, err)
		}
		l.walkIter = it
		return l.firstWalk()
	case "syscall":
		return l.measureHZ(prog)
	}
	return nil
}

// firstWalk gives sockets that are older than rstwhy their owners.
func (l *Live) firstWalk() (err error) {
	l.First, err = l.Walk()
	return err
}

// measureHZ compares jiffies with the boot clock over 50 ms.
func (l *Live) measureHZ(prog *ebpf.Program) error {
	var a, b struct{ BootNS, Jiffies uint64 }
	if _, err := prog.Run(&ebpf.RunOptions{Context: &a, ContextOut: &a}); err != nil {
		return fmt.Errorf("run sample_clock: %w", err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := prog.Run(&ebpf.RunOptions{Context: &b, ContextOut: &b}); err != nil {
		return fmt.Errorf("run sample_clock: %w", err)
	}
	rate := float64(b.Jiffies-a.Jiffies) / (float64(b.BootNS-a.BootNS) / 1e9)
	best := uint32(0)
	for _, hz := range []uint32{100, 250, 300, 1000} { // kernel/Kconfig.hz
		if d := rate - float64(hz); best == 0 || d*d < (rate-float64(best))*(rate-float64(best)) {
			best = hz
		}
	}
	l.names.HZ = best
	return nil
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
