package probe

import (
	"fmt"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// The first rule that rejects loads the module that makes its resets, maybe
// long after the start. What tells of it at once costs a hook of its own on
// every load of a module; a look into sysfs costs two microseconds.
const (
	lateLook  = time.Second
	lateTries = 3 // a module is in sysfs a moment before anything can be attached to it
)

// lateHook is a hook on a function of a kernel module.
type lateHook struct {
	hook     *Hook
	module   uint64 // the module's identity at the last look; 0: not loaded
	failed   int    // tries to attach to this module
	attached bool
	pins     bool // the module cannot leave while the hook is attached
	gaps     gaps
}

// late are the hooks that are attached when their module comes.
type late struct {
	looked time.Time
	hooks  []*lateHook
}

func (l *late) end(now time.Time) {
	for _, h := range l.hooks {
		h.gaps.end(now)
	}
}

func notLoaded(module string) error {
	return fmt.Errorf("the module %s is not loaded, without which no rule makes such resets: trace attaches the hook when it is", module)
}

func justLoaded(module string) string {
	return fmt.Sprintf("the module %s was loaded, which is looked for once in %v, and the hook not yet attached", module, lateLook)
}

// look notes what module is there now and tells whether to attach to it. last
// is when the one before was seen.
func (h *lateHook) look(module uint64, last time.Time) (try bool) {
	if h.attached && (h.pins || module == h.module) {
		return false
	}
	if module != h.module {
		h.module, h.failed, h.attached = module, 0, false
		h.gaps.end(last)
		if module != 0 { // without it no rule rejects, and nothing is missed
			h.gaps.begin(h.hook, justLoaded(h.hook.Module), last)
		}
	}
	return module != 0 && h.failed < lateTries
}

// tried notes what became of a try to attach, and tells whether it was the last.
func (h *lateHook) tried(err error, pins bool, now time.Time) (last bool) {
	if err == nil {
		h.attached, h.pins = true, pins
		h.gaps.end(now)
		return true
	}
	h.failed++
	if h.failed < lateTries {
		return false
	}
	if g := h.gaps.open(); g != nil {
		g.Why = err.Error()
	}
	return true
}

// expectLate lists the hooks whose module may come, after all were tried at the
// start. One that sees every packet stands in for them.
func (l *Live) expectLate(kernel *btf.Spec, now time.Time) {
	if l.links[deviceHook] != nil {
		return
	}
	l.late.looked = now
	for i := range l.states {
		st := &l.states[i]
		if st.Hook.Module == "" {
			continue
		}
		h := &lateHook{hook: hookNamed(st.Hook.Name), module: loadedModule(st.Hook.Module)}
		l.late.hooks = append(l.late.hooks, h)
		if st.Attached {
			h.attached, h.pins = true, pins(st)
			continue
		}
		if h.module == 0 && !inKernel(kernel, st.Hook.Candidates[0].Target) {
			st.Err = notLoaded(st.Hook.Module) // no rule rejects, and nothing is missed
			continue
		}
		if h.module != 0 {
			h.failed = 1
		}
		h.gaps.begin(h.hook, st.Err.Error(), now)
	}
}

// pins tells whether the hook's module stays as long as the hook: the kernel
// holds it for a program of fentry (bpf_prog_aux.mod), and removes kprobes with
// their module.
func pins(st *HookState) bool {
	for _, c := range st.Hook.Candidates {
		if c.Program == st.Program {
			return c.Kind != "kprobe"
		}
	}
	return true
}

// inKernel tells that a function is no module's.
func inKernel(kernel *btf.Spec, function string) bool {
	var f *btf.Func
	return kernel != nil && kernel.TypeByName(function, &f) == nil
}

// loadedModule gives the identity of a loaded module, another one each time
// that it is loaded, or 0. It loads none.
func loadedModule(name string) uint64 {
	info, err := os.Stat("/sys/module/" + name)
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Ino // sysfs counts them up
}

// TendLate attaches the hooks whose modules have come. Call it often; it looks
// once a second.
func (l *Live) TendLate(now time.Time) {
	last := l.late.looked
	if l.detached || len(l.late.hooks) == 0 || now.Sub(last) < lateLook {
		return
	}
	l.late.looked = now
	for _, h := range l.late.hooks {
		was := h.attached
		try := h.look(loadedModule(h.hook.Module), last)
		if lnk := l.links[h.hook.Name]; was && !h.attached && lnk != nil {
			lnk.Close()
			delete(l.links, h.hook.Name)
		}
		if try {
			l.tryLate(h)
		}
	}
	if l.types != nil {
		l.types = nil
		debug.FreeOSMemory()
	}
}

// tryLate is attachAll for one hook. The types are read anew: they are not
// kept, and the new module's are among them.
func (l *Live) tryLate(h *lateHook) {
	st := HookState{Hook: *h.hook}
	if l.types == nil {
		l.types = btf.NewCache()
	}
	kernel, err := l.types.Kernel()
	if err == nil {
		var spec *ebpf.CollectionSpec
		if spec, err = embedded(); err == nil {
			err = l.prepare(spec)
		}
		if err == nil {
			l.attachFirst(spec, kernel, &st)
			err = st.Err
		}
	}
	st.Err = err
	for i := range l.states {
		if l.states[i].Hook.Name == st.Hook.Name {
			l.states[i] = st
		}
	}
	switch last := h.tried(err, pins(&st), time.Now()); {
	case st.Attached:
		l.log.Info().Str("hook", st.Hook.Name).Str("program", st.Program).Msg("attached: the module " + h.hook.Module + " was loaded")
	case last:
		l.log.Warn().Err(err).Str("hook", st.Hook.Name).Msg("not attached, although the module " + h.hook.Module + " was loaded: " + st.Hook.Without)
	}
}
