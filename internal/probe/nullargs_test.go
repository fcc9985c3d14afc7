package probe

import (
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// firstTwo: both arguments of tcp_send_reset. fourth: rx_sk of kfree_skb, which
// the verifier of 6.12 takes for never NULL.
var firstTwo, fourth = span{0, 16}, span{24, 32}

// TestNoLoadThroughArguments is the rule of reset.bpf.c: no program loads
// through an argument that may be NULL.
func TestNoLoadThroughArguments(t *testing.T) {
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	var walked []string
	for name, p := range spec.Programs {
		var nullable span
		// Each of these hands the socket to helpers; a walk that has not seen it
		// has lost the argument on the way.
		wanted := []asm.BuiltinFunc{asm.FnProbeReadKernel, asm.FnSkcToTcpSock, asm.FnSkStorageGet}
		switch p.AttachTo {
		case "tcp_send_reset":
			nullable = firstTwo
		case "tcp_v4_send_reset", "tcp_v6_send_reset":
			if p.Type == ebpf.Kprobe {
				continue // registers are numbers
			}
			nullable, wanted = firstTwo, wanted[:1]
		case "kfree_skb":
			nullable = fourth
			if name != "tp_btf__kfree_skb" { // has no fourth argument
				wanted = nil
			}
		default:
			continue
		}
		walked = append(walked, name)
		broken, helpers, err := walkArgs(p.Instructions, nullable)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, b := range broken {
			t.Errorf("%s: %s", name, b)
		}
		for _, want := range wanted {
			if !slices.Contains(helpers, want) {
				t.Errorf("%s: %v was not seen to be given an argument: the walk is blind", name, want)
			}
		}
	}
	slices.Sort(walked)
	want := []string{
		"answer4__tcp_v4_send_reset", "answer6__tcp_v6_send_reset", "bare__tcp_send_reset", "bare_shadow__tcp_send_reset",
		"empty__kfree_skb", "place__kfree_skb", "reason__kfree_skb", "shadow__tcp_send_reset", "tp_btf__kfree_skb", "tp_btf__tcp_send_reset",
	}
	if !slices.Equal(walked, want) {
		t.Errorf("programs whose arguments may be NULL: walked %v, there are %v", walked, want)
	}
}

// TestWalkSeesOtherPrograms shows that the walk finds direct loads in our own
// compiler's output: these programs may load through their socket, which is
// never NULL on their tracepoints.
func TestWalkSeesOtherPrograms(t *testing.T) {
	spec, err := loadKernel()
	if err != nil {
		t.Fatal(err)
	}
	broken, _, err := walkArgs(spec.Programs["tp_btf__inet_sock_set_state"].Instructions, firstTwo)
	if err != nil {
		t.Fatal(err)
	}
	if len(broken) == 0 {
		t.Error("no load through sk was found in a program that reads sk->sk_protocol")
	}
}

// argCases are programs in which the walk must find something, or nothing.
var argCases = []struct {
	name  string
	want  string // part of what is reported; empty: lawful
	insns asm.Instructions
}{
	{"load through argument 0", "goes through", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.LoadMem(asm.R0, asm.R2, 16, asm.Word),
	}},
	{"load through argument 1", "goes through", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte),
	}},
	{"argument 2 is a number", "", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 16, asm.DWord),
		asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte),
	}},
	{"context moved and shifted", "goes through", asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Add.Imm(asm.R6, 16),
		asm.LoadMem(asm.R2, asm.R6, -8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R2, 0, asm.Byte),
	}},
	{"spilled copy", "goes through", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.R10, -8, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R2, 0),
		asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R3, 0, asm.Word),
	}},
	{"spilled context", "goes through", asm.Instructions{
		asm.StoreMem(asm.R10, -16, asm.R1, asm.DWord),
		asm.FnKtimeGetBootNs.Call(),
		asm.LoadMem(asm.R1, asm.R10, -16, asm.DWord),
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.LoadMem(asm.R0, asm.R2, 0, asm.Word),
	}},
	{"overwritten spill", "", asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.StoreMem(asm.R10, -8, asm.R2, asm.DWord),
		asm.Mov.Imm(asm.R4, 0),
		asm.StoreMem(asm.R10, -8, asm.R4, asm.DWord),
		asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R3, 0, asm.Word),
	}},
	{"argument plus offset", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R6, 18),
		asm.LoadMem(asm.R0, asm.R6, 0, asm.Byte),
	}},
	{"offset plus argument", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.Mov.Imm(asm.R7, 18),
		asm.Add.Reg(asm.R7, asm.R6),
		asm.LoadMem(asm.R0, asm.R7, 0, asm.Byte),
	}},
	{"after a check against NULL", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.Mov.Imm(asm.R0, 0),
		asm.JEq.Imm(asm.R6, 0, "out"),
		asm.LoadMem(asm.R0, asm.R6, 18, asm.Byte),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
	}},
	{"on one of two paths", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 16, asm.DWord),
		asm.Mov.Reg(asm.R7, asm.R10),
		asm.JEq.Imm(asm.R6, 0, "join"),
		asm.LoadMem(asm.R7, asm.R1, 8, asm.DWord),
		asm.LoadMem(asm.R0, asm.R7, -8, asm.Byte).WithSymbol("join"),
	}},
	{"found in the second round of a loop", "goes through", asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R10),
		asm.Mov.Imm(asm.R8, 0),
		asm.LoadMem(asm.R0, asm.R7, -8, asm.DWord).WithSymbol("again"),
		asm.LoadMem(asm.R7, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R8, 1),
		asm.JLT.Imm(asm.R8, 2, "again"),
	}},
	{"store through it", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.StoreImm(asm.R6, 0, 1, asm.Word),
	}},
	{"atomic through it", "goes through", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.Mov.Imm(asm.R2, 1),
		asm.StoreXAdd(asm.R6, asm.R2, asm.DWord),
	}},
	{"copied out of the context by a helper", "goes through", asm.Instructions{
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, -24),
		asm.Mov.Imm(asm.R2, 24),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R6, asm.R10, -16, asm.DWord),
		asm.LoadMem(asm.R0, asm.R6, 0, asm.Byte),
	}},
	{"a copy kept in a map", "", asm.Instructions{
		asm.Mov.Reg(asm.R3, asm.R1),
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, -24),
		asm.Mov.Imm(asm.R2, 24),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R6, asm.R10, -24, asm.DWord),
		asm.LoadMapValue(asm.R7, 0, 0),
		asm.StoreMem(asm.R7, 0, asm.R6, asm.DWord),
	}},
	{"itself kept in a map", "cannot be followed", asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.DWord),
		asm.LoadMapValue(asm.R7, 0, 0),
		asm.StoreMem(asm.R7, 0, asm.R6, asm.DWord),
	}},
	{"handed to a helper that trusts it", "hands argument", asm.Instructions{
		asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord),
		asm.FnGetSocketCookie.Call(),
	}},
	{"context handed to a helper", "hands the context", asm.Instructions{
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, -8),
		asm.FnGetFuncArg.Call(),
	}},
	{"only handed to a tolerant helper", "", asm.Instructions{
		asm.LoadMem(asm.R1, asm.R1, 0, asm.DWord),
		asm.FnSkcToTcpSock.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.LoadMem(asm.R0, asm.R0, 8, asm.Word), // the helper's answer, not the argument
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
	}},
	{"only probe-read", "", asm.Instructions{
		asm.LoadMem(asm.R3, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R3, 18),
		asm.Mov.Reg(asm.R1, asm.R10),
		asm.Add.Imm(asm.R1, -8),
		asm.Mov.Imm(asm.R2, 8),
		asm.FnProbeReadKernel.Call(),
		asm.LoadMem(asm.R0, asm.R10, -8, asm.DWord),
	}},
}

// TestWalkBites shows that each way to load through an argument is found.
func TestWalkBites(t *testing.T) {
	for _, tt := range argCases {
		t.Run(tt.name, func(t *testing.T) {
			broken, _, err := walkArgs(append(slices.Clone(tt.insns), asm.Return()), firstTwo)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(broken, "\n")
			if tt.want == "" && got != "" {
				t.Errorf("reported although lawful: %s", got)
			}
			if tt.want != "" && !strings.Contains(got, tt.want) {
				t.Errorf("%q was not reported; reported: %q", tt.want, got)
			}
		})
	}
}

// TestWalkGivesUp shows that what cannot be followed is an error, not silence.
func TestWalkGivesUp(t *testing.T) {
	for name, insns := range map[string]asm.Instructions{
		"no end":            {asm.Mov.Imm(asm.R0, 0)},
		"jump to no label":  {asm.Ja.Label("nowhere"), asm.Return()},
		"packet load":       {asm.LoadAbs(0, asm.Word), asm.Return()},
		"no instruction":    {asm.StoreImm(asm.R10, -8, 0, asm.DWord), asm.Return()},
		"jump out of bound": {asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource), Offset: 100}, asm.Return()},
	} {
		if _, _, err := walkArgs(insns, firstTwo); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
