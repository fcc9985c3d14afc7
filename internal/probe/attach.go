package probe

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func (l *Live) setConstants(spec *ebpf.CollectionSpec) error {
	opts := l.opts
	wire, err := opts.Filter.wire()
	if err != nil {
		return err
	}
	self := uint32(os.Getpid())
	if opts.ForeignPIDs {
		self = ^uint32(0) // nobody's: pids end at 2^22
	}
	reasons, plain := dropReasons(&l.names)
	full := opts.Rate / 4
	if opts.Rate > 0 {
		full = max(full, 1)
	}
	kind := min(full, opts.Rate-full) // and the rest, a half, for the first from an address or at a port
	for _, c := range []struct {
		name  string
		value any
	}{
		{"filters", wire}, {"reading_calls", readingCalls()}, {"self_tgid", self}, {"shutdown_call", uint32(unix.SYS_SHUTDOWN)},
		{"drop_reasons", reasons}, {"drop_not_specified", plain}, {"full_budget", full},
		{"kind_budget", kind}, {"new_budget", opts.Rate - full - kind}, {"drop_places", l.places}, {"id_secret", l.secret}, {"drop_no_socket", l.noSocket()},
		{"stack_bytes", uint32(max(16<<10, os.Getpagesize()))}, // THREAD_SIZE of amd64 and arm64
	} {
		if err := spec.Variables[c.name].Set(c.value); err != nil {
			return fmt.Errorf("set %s: %w", c.name, err)
		}
	}
	return l.able.set(spec)
}

// attachAll loads each hook's programs in collections that share the maps of
// the first, so that an optional one that this kernel refuses costs only
// itself.
func (l *Live) attachAll(spec *ebpf.CollectionSpec, kernel *btf.Spec, opts Options) error {
	coll, err := ebpf.NewCollection(only(spec))
	if err != nil {
		return l.noHook(fmt.Errorf("create maps: %w", err))
	}
	l.coll = coll
	var missing error
	for _, h := range Hooks {
		st := HookState{Hook: h}
		switch {
		case h.OnRequest != "":
			st.Err = l.request(opts)
		case len(h.OnlyWith) > 0 && !slices.ContainsFunc(h.OnlyWith, l.serves):
			st.Err = errAllSeen
		}
		if st.Err != nil {
			l.states = append(l.states, st)
			continue
		}
		l.attachFirst(spec, kernel, &st)
		if !st.Attached && h.Required && missing == nil {
			missing = fmt.Errorf("%w: %s (%s; needs Linux %s or later): %w", ErrRequiredHook, h.Name, h.Purpose, h.Since, st.Err)
		}
		l.states = append(l.states, st)
	}
	return missing
}

// servedBy gives the program that serves a hook, or "".
func (l *Live) servedBy(hook string) string {
	for i := range l.states {
		if l.states[i].Hook.Name == hook && l.states[i].Attached {
			return l.states[i].Program
		}
	}
	return ""
}

// serves tells whether a hook is served by the program.
func (l *Live) serves(program string) bool {
	return slices.ContainsFunc(l.states, func(st HookState) bool { return st.Attached && st.Program == program })
}

// attachFirst attaches the first candidate that this kernel takes.
func (l *Live) attachFirst(spec *ebpf.CollectionSpec, kernel *btf.Spec, st *HookState) {
	for _, c := range st.Hook.Candidates {
		if st.Err = l.attach(spec, kernel, st.Hook.Name, c); st.Err == nil {
			st.Attached, st.Program = true, c.Program
			return
		}
		l.log.Debug().Err(st.Err).Str("hook", st.Hook.Name).Str("program", c.Program).Msg("candidate not attached")
	}
}

// request tells whether the hook for every packet is asked for and needed.
func (l *Live) request(opts Options) error {
	switch {
	case !opts.Firewall:
		return ErrNotRequested
	case l.links["firewall-ipv4"] != nil && l.links["firewall-ipv6"] != nil:
		return errFirewallSeen
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
	if c.Args > 0 && c.Kind != "tp_btf" {
		if n := functionArgs(kernel, c.Target); n != c.Args {
			return fmt.Errorf("function %s has %d arguments on this kernel, %d are needed", c.Target, n, c.Args)
		}
	} else if c.Args > 0 {
		switch n := tracepointArgs(kernel, c.Target); {
		case n < 0:
			return fmt.Errorf("this kernel has no tracepoint %s", c.Target)
		case n != c.Args:
			return fmt.Errorf("tracepoint %s has %d arguments on this kernel, %d are needed", c.Target, n, c.Args)
		}
	}
	if c.Kind == "kprobe" && !slices.Contains(registersKnown, runtime.GOARCH) {
		return fmt.Errorf("%s reads registers, and those of %s are not known", c.Program, runtime.GOARCH)
	}
	if c.Program == placeProgram && l.placesErr != nil {
		return l.placesErr
	}
	prog, err := l.load(spec, c)
	if err != nil {
		return err
	}
	switch c.Kind {
	case "tp_btf", "fentry":
		lnk, err := link.AttachTracing(link.TracingOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.Program, err)
		}
		l.links[hook] = lnk
	case "kprobe":
		lnk, err := link.Kprobe(c.Target, prog, nil)
		if err != nil {
			return l.unreachable(c, err)
		}
		l.links[hook] = lnk
	case "iter":
		it, err := link.AttachIter(link.IterOptions{Program: prog})
		if err != nil {
			return fmt.Errorf("attach %s: %w", c.Program, err)
		}
		l.walkIter = it
		return l.firstWalk()
	case "run":
		return l.measureHZ(prog)
	}
	return nil
}

// registersKnown are the architectures whose arguments a kprobe finds
// (bpf/refused.h).
var registersKnown = []string{"amd64", "arm64"}

// load gives the candidate's program, loaded once.
func (l *Live) load(spec *ebpf.CollectionSpec, c Candidate) (*ebpf.Program, error) {
	if prog := l.progs[c.Program]; prog != nil {
		return prog, nil
	}
	coll, err := ebpf.NewCollectionWithOptions(only(spec, c.Program), ebpf.CollectionOptions{MapReplacements: l.coll.Maps, Cache: l.types})
	switch {
	case err != nil && (c.Kind == "fentry" || c.Kind == "kprobe"):
		return nil, l.unreachable(c, err)
	case err != nil:
		return nil, fmt.Errorf("load %s: %w", c.Program, err)
	}
	l.extra = append(l.extra, coll)
	l.progs[c.Program] = coll.Programs[c.Program]
	return l.progs[c.Program], nil
}

// unreachable says why a function has no hook: the library's words for it would
// be about memory limits, or names of system calls.
func (l *Live) unreachable(c Candidate, err error) error {
	l.log.Debug().Err(err).Str("program", c.Program).Msg("not attached to its function")
	return fmt.Errorf("this kernel has no function %s, or lets no BPF program attach to its functions (fentry, kprobe)", c.Target)
}

// firstWalk gives sockets that are older than rstwhy their owners.
func (l *Live) firstWalk() (err error) {
	l.First, err = l.Walk()
	return err
}

type clockSample struct{ BootNS, Jiffies uint64 }

func (l *Live) sampleClock(prog *ebpf.Program) (s clockSample, err error) {
	packet := make([]byte, 64) // that nobody reads
	if _, err := prog.Run(&ebpf.RunOptions{Data: packet}); err != nil {
		return s, fmt.Errorf("run sample_clock: %w", err)
	}
	if err := l.coll.Variables["clock_boot_ns"].Get(&s.BootNS); err != nil {
		return s, fmt.Errorf("read the clock's sample: %w", err)
	}
	if err := l.coll.Variables["clock_jiffies"].Get(&s.Jiffies); err != nil {
		return s, fmt.Errorf("read the clock's sample: %w", err)
	}
	return s, nil
}

// measureHZ compares jiffies with the boot clock over 50 ms.
func (l *Live) measureHZ(prog *ebpf.Program) error {
	a, err := l.sampleClock(prog)
	if err != nil {
		return err
	}
	time.Sleep(50 * time.Millisecond)
	b, err := l.sampleClock(prog)
	if err != nil {
		return err
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
