package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// task is what the host asks of the guest; it lies in the initramfs.
type task struct {
	Nonce   string
	Output  string   // terminal of the program's output
	Root    bool     // there is a root to start: its systemd runs the program
	Modules []string // files, in the order in which they are loaded
	Dir     string
	Args    []string
	Env     []string
}

const (
	taskFile     = "/vm/task.json"
	moduleDir    = "/vm/modules"
	statusBroken = 125 // the guest could not start the program
)

// guest is /init: it makes of a kernel a system in which a program can run, runs
// it, tells its exit status and ends the machine.
func guest() {
	tty, t, err := prepareGuest()
	status := statusBroken
	if err == nil && t.Root {
		err = enterRoot(t)
	} else if err == nil {
		status, err = runTask(t, tty)
	}
	if tty == nil {
		fmt.Fprintln(os.Stderr, "rstwhy-vm:", err) // the kernel's console
		powerOff()
	}
	finish(tty, t, status, err)
}

// finish tells the exit status and ends the machine.
func finish(tty *os.File, t task, status int, err error) {
	if err != nil {
		fmt.Fprintln(tty, "vm: in the guest:", err)
	}
	_ = unix.Kill(-1, unix.SIGKILL)
	_, _ = tty.WriteString(exitMarker(t.Nonce, status))
	_ = unix.IoctlSetInt(int(tty.Fd()), unix.TCSBRK, 1) // tcdrain(3)
	powerOff()
}

// powerOff restarts the machine, which -no-reboot turns into QEMU's end.
func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	select {}
}

func prepareGuest() (tty *os.File, t task, err error) {
	if err := mountAll(); err != nil {
		return nil, t, err
	}
	b, err := os.ReadFile(taskFile)
	if err != nil {
		return nil, t, err
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, t, fmt.Errorf("%s: %w", taskFile, err)
	}
	if tty, err = openRaw(t.Output); err != nil {
		return nil, t, err
	}
	if err := loopbackUp(); err != nil {
		return tty, t, err
	}
	for _, m := range t.Modules {
		if err := loadModule(filepath.Join(moduleDir, m)); err != nil {
			return tty, t, err
		}
	}
	return tty, t, unix.Sethostname([]byte("rstwhy-vm"))
}

func mountAll() error {
	for _, m := range []struct{ kind, where, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", ""},
		{"tmpfs", "/dev/shm", ""},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/run", "mode=755"},
		{"bpf", "/sys/fs/bpf", ""},
		{"tracefs", "/sys/kernel/tracing", ""},
		{"debugfs", "/sys/kernel/debug", ""},
		{"securityfs", "/sys/kernel/security", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		if strings.HasPrefix(m.where, "/sys/") {
			if _, err := os.Stat(m.where); errors.Is(err, os.ErrNotExist) { // not in this kernel
				continue
			}
		} else if err := os.MkdirAll(m.where, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.where, m.kind, 0, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.where, err)
		}
	}
	if err := enableControllers(); err != nil {
		return err
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// enableControllers lets groups below the root limit memory and the rest, as
// systemd does.
func enableControllers() error {
	const root = "/sys/fs/cgroup"
	has, err := os.ReadFile(root + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for _, c := range strings.Fields(string(has)) {
		if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+"+c), 0); err != nil {
			return fmt.Errorf("cgroup controller %s: %w", c, err)
		}
	}
	return nil
}

// openRaw opens a serial line that carries every byte as it is: a terminal turns
// "\n" into "\r\n" (OPOST) and echoes.
func openRaw(path string) (*os.File, error) {
	// A serial device on PCI is found a moment after the start.
	var fd int
	var err error
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil || time.Now().After(until) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	tty := os.NewFile(uintptr(fd), path)
	state, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s is no terminal: %w", path, err)
	}
	state.Iflag, state.Oflag, state.Lflag = 0, 0, 0
	state.Cflag = unix.CS8 | unix.CREAD | unix.CLOCAL | unix.B115200
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, state); err != nil {
		return nil, fmt.Errorf("set %s raw: %w", path, err)
	}
	return tty, nil
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w (see the console)", filepath.Base(path), err)
	}
	return nil
}

// runTask runs the program, and buries the orphans of others meanwhile, as
// process 1 must.
func runTask(t task, tty *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return statusBroken, err
	}
	p, err := os.StartProcess(t.Args[0], t.Args, &os.ProcAttr{Dir: t.Dir, Env: t.Env, Files: []*os.File{null, tty, tty}})
	if err != nil {
		return statusBroken, err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return statusBroken, fmt.Errorf("wait: %w", err)
		case pid == p.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil // as shells say it
		case pid == p.Pid && ws.Exited():
			return ws.ExitStatus(), nil
		}
	}
}
