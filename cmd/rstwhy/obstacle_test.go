package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"rstwhy/internal/privilege"
)

// confinement, set in the environment, makes the test binary the program of its
// arguments, under a restriction.
const confinement = "RSTWHY_TEST_CONFINE"

// restrictions by the id of the obstacle that they make; each is done by the one
// thread that then executes the program.
var restrictions = map[string]func() error{
	"seccomp":  func() error { return forbidBPF(unix.EPERM) },
	"seccomp2": func() error { return forbidBPF(unix.ENOSYS) }, // as the profile of Podman answers
	"no-btf":   func() error { return hide("/sys/kernel/btf", "/boot", "/lib/modules", "/usr/lib/debug") },
	"memlock": func() error {
		return unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10})
	},
	"no-tracefs": func() error { return hide("/sys/kernel/tracing", "/sys/kernel/debug") },
	"no-sysfs":   func() error { return hide("/sys", "/boot", "/lib/modules", "/usr/lib/debug") },
}

func confine() {
	name := os.Getenv(confinement)
	if name == "" {
		return
	}
	runtime.LockOSThread()
	err := restrictions[name]()
	if err == nil {
		_ = os.Unsetenv(confinement)
		err = unix.Exec(os.Args[1], os.Args[1:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "confine:", err)
	os.Exit(125)
}

// forbidBPF makes bpf(2) fail, as the default profiles of container runtimes do
// (seccomp(2), struct seccomp_data: the number of the call comes first).
func forbidBPF(with unix.Errno) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_BPF},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(with)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// hide mounts nothing over directories, in a mount namespace of this thread.
func hide(dirs ...string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, dir := range dirs {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		if err := unix.Mount("nothing", dir, "tmpfs", 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// confined runs the program under a restriction.
func confined(t *testing.T, name, bin string, args ...string) *cliRun {
	t.Helper()
	r := cliCommand("/proc/self/exe", append([]string{bin}, args...)...)
	r.cmd.Env = append(r.cmd.Env, confinement+"="+name)
	return r
}

// TestObstacles makes what can be made here: each has its own message and remedy,
// in check, in trace and in check --prove, and exit status 3.
func TestObstacles(t *testing.T) {
	needPrivileges(t)
	bin := cliBin(t)
	rootless := func(t *testing.T, args ...string) *cliRun {
		r := cliCommand(bin, args...)
		r.cmd.SysProcAttr = &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: 0, Gid: 0},
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: nobody, Size: 1}},
		}
		return r
	}
	for _, tt := range []struct {
		id, says, remedy string
		run              func(*testing.T, ...string) *cliRun
	}{
		{"seccomp", "a filter of system calls", "--security-opt", func(t *testing.T, args ...string) *cliRun { return confined(t, "seccomp", bin, args...) }},
		{"seccomp", "a filter of system calls", "--security-opt", func(t *testing.T, args ...string) *cliRun { return confined(t, "seccomp2", bin, args...) }},
		{"no-btf", "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF", func(t *testing.T, args ...string) *cliRun { return confined(t, "no-btf", bin, args...) }},
		{"no-sysfs", "/sys is not mounted", "mount -t sysfs", func(t *testing.T, args ...string) *cliRun { return confined(t, "no-sysfs", bin, args...) }},
		{"user-namespace", "user namespace", "outside of it", rootless},
		{"capabilities", "CAP_BPF, CAP_PERFMON", "run as root", func(_ *testing.T, args ...string) *cliRun { return cliCommand(bin, args...).asNobody() }},
		{"capabilities", "missing capabilities: CAP_PERFMON", "run as root", func(t *testing.T, args ...string) *cliRun {
			r := cliCommand(bin, args...)
			r.cmd.SysProcAttr = nobodyWith(t, "CAP_BPF")
			return r
		}},
	} {
		t.Run(tt.id, func(t *testing.T) {
			r := tt.run(t, "check", "-o", "json")
			status := r.run(t)
			rep := checkJSON(t, r)
			if status != exitHook || rep.OK || rep.Obstacle != tt.id || !strings.Contains(rep.Error, tt.says) || !strings.Contains(rep.Remedy, tt.remedy) {
				t.Errorf("check -o json: status %d, ok %v, obstacle %q, error %q, remedy %q", status, rep.OK, rep.Obstacle, rep.Error, rep.Remedy)
			}
			for _, args := range [][]string{{"check"}, {"trace"}} {
				r := tt.run(t, args...)
				status := r.run(t)
				all := r.stdout.String() + r.stderr.String()
				if status != exitHook || strings.Count(all, tt.says) != 1 || strings.Count(all, tt.remedy) != 1 || strings.Contains(all, "not permitted") {
					t.Errorf("%v: status %d, and not once what is wrong and what to do:\n%s", args, status, all)
				}
			}
			if tt.id == "capabilities" {
				return // TestProofWithoutRoot
			}
			r = tt.run(t, "check", "--prove")
			if status := r.run(t); status != exitHook || !strings.Contains(r.stderr.String(), tt.says) {
				t.Errorf("check --prove: status %d, %s%s", status, &r.stdout, &r.stderr)
			}
		})
	}
}

// TestNeedsNoTracefs: all hooks are attached where tracefs and debugfs are not
// mounted.
func TestNeedsNoTracefs(t *testing.T) {
	needPrivileges(t)
	bin := cliBin(t)
	with := attachedHooks(t, cliCommand(bin, "check", "-o", "json"))
	without := attachedHooks(t, confined(t, "no-tracefs", bin, "check", "-o", "json"))
	if len(with) == 0 || fmt.Sprint(with) != fmt.Sprint(without) {
		t.Errorf("attached %v; without tracefs %v", with, without)
	}
}

// TestLockedMemory: the limit of locked memory is in the way only where the
// kernel counts maps against it (before 5.11), and then it is named.
func TestLockedMemory(t *testing.T) {
	needPrivileges(t)
	bin := cliBin(t)
	counted := slices.ContainsFunc(privilege.Survey(), func(h privilege.Held) bool { return h.Name == "CAP_SYS_RESOURCE" && !h.Needless })
	r := confined(t, "memlock", bin, "check", "-o", "json")
	r.cmd.SysProcAttr = nobodyWith(t, fewer("CAP_SYS_RESOURCE")...)
	status := r.run(t)
	rep := checkJSON(t, r)
	switch {
	case !counted && (status != exitOK || rep.Obstacle != ""):
		t.Errorf("status %d, obstacle %q: %s", status, rep.Obstacle, rep.Error)
	case counted && (status != exitHook || rep.Obstacle != "locked-memory" || !strings.Contains(rep.Remedy, "LimitMEMLOCK")):
		t.Errorf("status %d, obstacle %q: %s; %s", status, rep.Obstacle, rep.Error, rep.Remedy)
	}
	if !counted {
		return
	}
	r = confined(t, "memlock", bin, "check", "-o", "json")
	r.cmd.SysProcAttr = nobodyWith(t, fewer()...) // CAP_SYS_RESOURCE raises it
	if status := r.run(t); status != exitOK {
		t.Errorf("with CAP_SYS_RESOURCE: status %d, %s", status, &r.stdout)
	}
}

// attachedHooks are those that check can attach.
func attachedHooks(t *testing.T, r *cliRun) (names []string) {
	t.Helper()
	r.run(t)
	for _, h := range checkJSON(t, r).Hooks {
		if h.Attached {
			names = append(names, h.Name)
		}
	}
	return names
}
