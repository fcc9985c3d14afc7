package probe

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"rstwhy/internal/privilege"
)

// Obstacle is one reason for which the kernel lets rstwhy attach nothing, though
// it may have what rstwhy needs.
type Obstacle struct {
	ID     string
	Sign   string // what it is recognized by, for docs/privileges.md
	Says   string // what is wrong, for a person
	Remedy string
	holds  func(*situation) bool
}

// situation is what is looked at when something could not be attached.
type situation struct {
	err      error
	missing  []privilege.Capability // essential ones
	userNS   bool                   // not the initial user namespace
	noBTF    bool
	noSys    bool   // /sys/kernel is not there
	call     error  // bpf(2)'s answer to a command that does not exist: EINVAL where it may be called
	seccomp  bool   // a filter of system calls is set on this process
	lockdown string // the mode; empty: unknown
	memlock  error  // why the limit of locked memory could not be raised; nil: needless, or done
}

func (s *situation) denied() bool { return errors.Is(s.err, fs.ErrPermission) }

// refused tells that bpf(2) does not even look at its command.
func (s *situation) refused(with ...error) bool {
	for _, e := range with {
		if errors.Is(s.call, e) {
			return true
		}
	}
	return false
}

// Obstacles in the order in which they are looked for: the first that holds is
// told. What none explains is told in the kernel's and the library's own words.
var Obstacles = []Obstacle{
	{
		ID:     "no-sysfs",
		Sign:   "`/sys/kernel` does not exist",
		Says:   "/sys is not mounted here, so the kernel's types (BTF) cannot be read",
		Remedy: "mount sysfs: mount -t sysfs sysfs /sys; in a container, mount /sys of the host read-only",
		holds:  func(s *situation) bool { return s.noBTF && s.noSys },
	},
	{
		ID:     "no-btf",
		Sign:   "`/sys/kernel/btf/vmlinux` does not exist, and no vmlinux below `/boot` or `/lib/modules` has BTF either",
		Says:   "this kernel does not tell its types (BTF): there is no /sys/kernel/btf/vmlinux",
		Remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF, as those of Debian 11, Ubuntu 20.10 and RHEL 8.2 and later are; in a container, mount /sys/kernel/btf of the host read-only",
		holds:  func(s *situation) bool { return s.noBTF },
	},
	{
		ID:     "user-namespace",
		Sign:   "permission denied, and `/proc/self/ns/user` is not the initial user namespace",
		Says:   "this is a user namespace of its own (rootless container, unshare -U): its root and its capabilities have no say over the kernel's BPF",
		Remedy: "run rstwhy outside of it, or in a container of the host's root (docker without userns-remap, sudo podman)",
		holds:  func(s *situation) bool { return s.userNS && (s.denied() || len(s.missing) > 0) },
	},
	{
		ID:     "capabilities",
		Sign:   "`CAP_BPF` or `CAP_PERFMON` is not in the effective set (`CAP_SYS_ADMIN` stands in for both)",
		Says:   "missing capabilities: %s",
		Remedy: "run as root, or give the capabilities that docs/privileges.md lists (systemd: AmbientCapabilities=, docker: --cap-add, a file: setcap); 'rstwhy check' tells what each is for",
		holds:  func(s *situation) bool { return len(s.missing) > 0 },
	},
	{
		ID:     "seccomp",
		Sign:   "bpf(2) with a command that does not exist answers EPERM, EACCES or ENOSYS instead of EINVAL, and `/proc/self/status` shows a filter (`Seccomp: 2`)",
		Says:   "a filter of system calls (seccomp) forbids bpf(2), although the capabilities for it are there",
		Remedy: "allow the system calls bpf and perf_event_open (docker: --security-opt seccomp=PROFILE, where the default profile does so for --cap-add BPF and PERFMON since 23.0; Kubernetes: securityContext.seccompProfile; systemd: SystemCallFilter=)",
		holds:  func(s *situation) bool { return s.seccomp && s.refused(unix.EPERM, unix.EACCES, unix.ENOSYS) },
	},
	{
		ID:     "no-bpf",
		Sign:   "bpf(2) answers ENOSYS, and there is no filter of system calls",
		Says:   "this kernel was built without BPF",
		Remedy: "boot a kernel built with CONFIG_BPF_SYSCALL and CONFIG_BPF_JIT",
		holds:  func(s *situation) bool { return s.refused(unix.ENOSYS) },
	},
	{
		ID:     "lockdown",
		Sign:   "`/sys/kernel/security/lockdown` or the kernel's command line says `confidentiality`",
		Says:   "the kernel is locked down for confidentiality: no BPF program may read its memory, whatever the capabilities",
		Remedy: "boot with lockdown=integrity, which BPF programs may be loaded under, or without lockdown= (mode now: cat /sys/kernel/security/lockdown; it cannot be lowered while running)",
		holds:  func(s *situation) bool { return s.lockdown == "confidentiality" },
	},
	{
		ID:     "locked-memory",
		Sign:   "permission denied where a map is made, on a kernel that counts maps against the limit of locked memory (before 5.11), and the limit could not be raised",
		Says:   "the limit of locked memory (RLIMIT_MEMLOCK) is too low for BPF maps, which this kernel counts against it, and it may not be raised without CAP_SYS_RESOURCE",
		Remedy: "raise it before rstwhy starts (ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1), or add CAP_SYS_RESOURCE",
		holds:  func(s *situation) bool { return s.memlock != nil && s.denied() },
	},
	{
		ID:     "security-module",
		Sign:   "permission denied, and none of the above",
		Says:   "the kernel forbids it although the capabilities are there, as a security module does (SELinux, AppArmor, BPF LSM)",
		Remedy: "look for the denial in the kernel's log (journalctl -k, ausearch -m avc) and allow bpf and perfmon to rstwhy",
		holds:  func(s *situation) bool { return s.denied() },
	},
	{
		ID:     "old-kernel",
		Sign:   "the kernel does not know a kind of BPF map or program",
		Says:   "this kernel is too old: it lacks a kind of BPF map or program that rstwhy needs",
		Remedy: "docs/known-issues.md and docs/reference/hooks.md tell from which kernel on each hook works; boot a newer one",
		holds:  func(s *situation) bool { return errors.Is(s.err, ebpf.ErrNotSupported) },
	},
}

// errNoBTF marks that the kernel's types could not be read.
var errNoBTF = errors.New("read the kernel's BTF (/sys/kernel/btf/vmlinux, kernel option CONFIG_DEBUG_INFO_BTF)")

// FindObstacle tells what is in the way where Open failed or a hook was not
// attached; nil where nothing here explains it.
func FindObstacle(err error) *Obstacle {
	if err == nil {
		return nil
	}
	return findObstacle(situationOf(err))
}

func findObstacle(s *situation) *Obstacle {
	for _, o := range Obstacles {
		if !o.holds(s) {
			continue
		}
		if strings.Contains(o.Says, "%s") {
			o.Says = fmt.Sprintf(o.Says, privilege.Names(s.missing))
		}
		return &o
	}
	return nil
}

func situationOf(err error) *situation {
	s := &situation{err: err, missing: privilege.Essential(privilege.Missing()), noBTF: errors.Is(err, errNoBTF)}
	_, sys := os.Stat("/sys/kernel")
	s.noSys = errors.Is(sys, fs.ErrNotExist)
	s.userNS = privilege.InUserNamespace()
	s.call = callBPF()
	s.seccomp = filtered()
	s.lockdown = lockdown()
	if errors.Is(err, fs.ErrPermission) {
		s.memlock = rlimit.RemoveMemlock()
	}
	return s
}

// callBPF asks for a command that no kernel has (kernel/bpf/syscall.c,
// __sys_bpf: EINVAL for those who may make the call).
func callBPF() error {
	var attr [8]byte
	_, _, errno := unix.Syscall(unix.SYS_BPF, 1<<30, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	return errno
}

// filtered tells whether a filter of system calls is set (proc_pid_status(5)).
func filtered() bool {
	status, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return strings.TrimSpace(mode) == "2"
		}
	}
	return false
}

// lockdown gives the kernel's mode (kernel_lockdown(7)). Where securityfs is not
// mounted, the command line tells what was asked for at boot.
func lockdown() string {
	if modes, err := os.ReadFile("/sys/kernel/security/lockdown"); err == nil {
		_, rest, _ := strings.Cut(string(modes), "[") // "none [integrity] confidentiality"
		mode, _, _ := strings.Cut(rest, "]")
		return mode
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return ""
	}
	for option := range strings.FieldsSeq(string(cmdline)) {
		if mode, ok := strings.CutPrefix(option, "lockdown="); ok {
			return mode
		}
	}
	return ""
}
