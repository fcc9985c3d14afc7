package privilege

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestTable(t *testing.T) {
	for _, c := range Capabilities {
		if c.Purpose == "" || c.Without == "" {
			t.Errorf("%s: what for, or what is lost, is not said", c.Name)
		}
	}
	if got := Names(Essential(Capabilities)); got != "CAP_BPF, CAP_PERFMON" {
		t.Errorf("needed: %s", got)
	}
}

func TestKept(t *testing.T) {
	usual := "CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_ADMIN, CAP_NET_ADMIN"
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, usual},
		{[]string{"--record"}, usual + ", CAP_DAC_OVERRIDE"},
		{[]string{"--ready-file"}, usual + ", CAP_DAC_OVERRIDE"},
		{[]string{"--rec"}, usual},
	} {
		if got := Names(Kept(tt.flags...)); got != tt.want {
			t.Errorf("with %v: %s", tt.flags, got)
		}
	}
}

// CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON, and for no other.
func TestAdminStandsIn(t *testing.T) {
	for _, c := range Capabilities {
		want := c.Name == "CAP_SYS_ADMIN" || c.Name == "CAP_BPF" || c.Name == "CAP_PERFMON"
		if got := c.in(1 << unix.CAP_SYS_ADMIN); got != want {
			t.Errorf("%s: %v", c.Name, got)
		}
		if c.in(0) {
			t.Errorf("an empty set has %s", c.Name)
		}
	}
}

func TestBefore(t *testing.T) {
	for _, tt := range []struct {
		release, than string
		want          bool
	}{
		{"5.10.0-32-cloud-amd64", "5.11", true},
		{"5.11.0", "5.11", false},
		{"5.9", "5.17", true},
		{"6.1.0-56-cloud-amd64", "5.17", false},
		{"7.3.4+deb13-cloud-amd64", "5.11", false},
		{"4.18.0-553.el8", "5.11", true},
		{"", "5.11", false},
		{"none", "5.11", false},
	} {
		if got := before(tt.release, tt.than); got != tt.want {
			t.Errorf("%q before %s: %v", tt.release, tt.than, got)
		}
	}
}
