package probe

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"rstwhy/internal/privilege"
)

// TestFindObstacle goes through the signs; those that can be made on any kernel
// are made in cmd/rstwhy (TestObstacles).
func TestFindObstacle(t *testing.T) {
	denied := fmt.Errorf("%w: create maps: map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", ErrRequiredHook, unix.EPERM)
	rejected := fmt.Errorf("%w: load: %w", ErrRequiredHook, unix.EINVAL)
	types := fmt.Errorf("%w: %w", ErrRequiredHook, fmt.Errorf("%w: %w", errNoBTF, ebpf.ErrNotSupported))
	lacks := privilege.Essential(privilege.Capabilities)
	seen := map[string]bool{}
	for _, tt := range []struct {
		name string
		s    situation
		want string
	}{
		{"no BTF", situation{err: types, noBTF: true, call: unix.EINVAL}, "no-btf"},
		{"no BTF, and no capability", situation{err: types, noBTF: true, missing: lacks, call: unix.EPERM}, "no-btf"},
		{"no sysfs", situation{err: types, noBTF: true, noSys: true, call: unix.EINVAL}, "no-sysfs"},
		{"no sysfs, and BTF from another place", situation{err: rejected, noSys: true, call: unix.EINVAL}, ""},
		{"rootless container", situation{err: denied, userNS: true, call: unix.EPERM}, "user-namespace"},
		{"rootless container with a filter", situation{err: denied, userNS: true, seccomp: true, call: unix.EPERM}, "user-namespace"},
		{"a token in a user namespace, and a verifier that says no", situation{err: rejected, userNS: true, call: unix.EINVAL}, ""},
		{"plain user", situation{err: denied, missing: lacks, call: unix.EPERM}, "capabilities"},
		{"plain user with a filter", situation{err: denied, missing: lacks, seccomp: true, call: unix.EPERM}, "capabilities"},
		{"filter", situation{err: denied, seccomp: true, call: unix.EPERM}, "seccomp"},
		{"filter of Podman's", situation{err: rejected, seccomp: true, call: unix.ENOSYS}, "seccomp"},
		{"filter that allows bpf", situation{err: denied, seccomp: true, call: unix.EINVAL}, "security-module"},
		{"no BPF", situation{err: rejected, call: unix.ENOSYS}, "no-bpf"},
		{"locked down", situation{err: denied, lockdown: "confidentiality", call: unix.EINVAL}, "lockdown"},
		{"locked down, the verifier's way", situation{err: rejected, lockdown: "confidentiality", call: unix.EINVAL}, "lockdown"},
		{"locked down for integrity", situation{err: rejected, lockdown: "integrity", call: unix.EINVAL}, ""},
		{"locked memory", situation{err: denied, memlock: unix.EPERM, call: unix.EINVAL}, "locked-memory"},
		{"locked memory is not it", situation{err: rejected, memlock: unix.EPERM, call: unix.EINVAL}, ""},
		{"SELinux", situation{err: denied, call: unix.EINVAL}, "security-module"},
		{"no ring buffer", situation{err: fmt.Errorf("%w: map events: %w", ErrRequiredHook, ebpf.ErrNotSupported), call: unix.EINVAL}, "old-kernel"},
		{"a tracepoint that differs", situation{err: rejected, call: unix.EINVAL}, ""},
	} {
		got := ""
		if o := findObstacle(&tt.s); o != nil {
			got = o.ID
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		seen[got] = true
	}
	for _, o := range Obstacles {
		if !seen[o.ID] {
			t.Errorf("%s is never found", o.ID)
		}
		if o.Says == "" || o.Remedy == "" || o.Sign == "" {
			t.Errorf("%s: a message, a remedy or a sign is missing", o.ID)
		}
	}
	if FindObstacle(nil) != nil {
		t.Error("an obstacle without an error")
	}
	if !errors.Is(callBPF(), unix.EINVAL) && !errors.Is(callBPF(), unix.EPERM) {
		t.Errorf("bpf(2) answers %v to a command that does not exist", callBPF())
	}
}
