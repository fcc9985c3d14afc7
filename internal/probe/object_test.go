package probe

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// programs gives the embedded object's.
func programs(t *testing.T) map[string]*ebpf.ProgramSpec {
	t.Helper()
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Programs) == 0 {
		t.Fatal("the object holds no program")
	}
	return spec.Programs
}

// TestNoDataPathHook: attribution must cost nothing where data is sent,
// received or accepted, so no program attaches outside these places. kfree_skb
// is not on that path; net_dev_queue is, and only on request.
func TestNoDataPathHook(t *testing.T) {
	tracepoints := []string{"tcp_send_reset", "tcp_receive_reset", "inet_sock_set_state", "tcp_destroy_sock", "kfree_skb", "net_dev_queue"}
	// Each makes a RST or ends a TIME_WAIT entry early: none is on the way of data.
	functions := []string{"nf_send_reset", "nf_send_reset6", "tcp_v4_send_reset", "tcp_v6_send_reset", "inet_twsk_deschedule_put", "tcp_reset"}
	met := map[string]bool{}
	for name, p := range programs(t) {
		switch {
		case p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceRawTp && slices.Contains(tracepoints, p.AttachTo):
			met[p.AttachTo] = true
		case p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceIter && p.AttachTo == "task_file":
		case (p.Type == ebpf.Kprobe || p.Type == ebpf.Tracing && p.AttachType == ebpf.AttachTraceFEntry) && slices.Contains(functions, p.AttachTo):
		case p.Type == ebpf.SocketFilter && name == "sample_clock": // run once, and never attached
		default:
			t.Errorf("%s is a %v program for %q (%v): not one of the tracepoints %v, the descriptor walk or a plain call",
				name, p.Type, p.AttachTo, p.AttachType, tracepoints)
		}
	}
	for _, tp := range tracepoints {
		if !met[tp] {
			t.Errorf("no program on %s: this test saw little", tp)
		}
	}
}

// noHooks are programs that no hook uses: those of make bench, and those that are
// loaded to see what the kernel allows.
func noHooks() []string {
	names := []string{floorProgram, dropFloorProgram}
	for _, a := range ableTo {
		names = append(names, a.program)
	}
	return names
}

func TestHooksTable(t *testing.T) {
	progs := programs(t)
	used, names := map[string]bool{}, map[string]bool{}
	var order []string
	for _, h := range Hooks {
		if h.Name == "" || h.Purpose == "" || h.Without == "" || h.Since == "" || len(h.Candidates) == 0 {
			t.Errorf("hook %q lacks a name, purpose, loss, kernel or candidate", h.Name)
		}
		if names[h.Name] {
			t.Errorf("two hooks are called %s", h.Name)
		}
		names[h.Name] = true
		for _, c := range h.Candidates {
			if c.Target == "net_dev_queue" && h.OnRequest == "" {
				t.Errorf("hook %s runs for every packet and is attached without being asked for", h.Name)
			}
		}
		order = append(order, h.Name)
		for _, c := range h.Candidates {
			checkCandidate(t, progs, c)
			used[c.Program] = true
		}
	}
	// Attached in this order: owners must be known before the first reset.
	for _, early := range []string{"states", "descriptors"} {
		for _, late := range []string{"sent", "received"} {
			if i, j := slices.Index(order, early), slices.Index(order, late); i < 0 || j < i {
				t.Errorf("hook %s must stand before %s: the order is %v", early, late, order)
			}
		}
	}
	for name := range progs {
		if !used[name] && !slices.Contains(noHooks(), name) {
			t.Errorf("program %s is in the object and serves no hook", name)
		}
	}
}

func checkCandidate(t *testing.T, progs map[string]*ebpf.ProgramSpec, c Candidate) {
	t.Helper()
	p := progs[c.Program]
	if p == nil {
		t.Errorf("the table names program %s, which the object lacks", c.Program)
		return
	}
	if p.AttachTo != c.Target {
		t.Errorf("%s attaches to %q, the table says %q", c.Program, p.AttachTo, c.Target)
	}
	want := map[string]ebpf.AttachType{"tp_btf": ebpf.AttachTraceRawTp, "fentry": ebpf.AttachTraceFEntry, "iter": ebpf.AttachTraceIter, "kprobe": ebpf.AttachNone, "run": ebpf.AttachNone}
	at, known := want[c.Kind]
	if (c.Kind == "kprobe") != (p.Type == ebpf.Kprobe) {
		t.Errorf("%s is a %v program, the table says %q", c.Program, p.Type, c.Kind)
	}
	if !known || p.AttachType != at {
		t.Errorf("%s is for %v, the table says %q", c.Program, p.AttachType, c.Kind)
	}
	if c.Kind == "tp_btf" && c.Args == 0 {
		t.Errorf("%s: a tracepoint's arguments are not counted", c.Program)
	}
}
