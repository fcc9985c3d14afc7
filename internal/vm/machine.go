package main

import (
	"os"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is a QEMU for one architecture.
type machine struct {
	program string
	debian  string // the package that has it
	console string // the kernel's, as the guest names it
	output  string // the program's
	args    []string
	options []string // of the kernel
}

// kernelOptions: a trap ends the guest at once (oops=panic, -no-reboot), the
// console shows warnings and worse (loglevel 5: WARN's splat is level 4), and
// what only costs an emulated CPU time is off. The watchdogs are slow, since
// the emulator may not get the CPU for seconds, not absent.
var kernelOptions = []string{
	"quiet", "loglevel=5", "oops=panic", "panic=-1", "no_timer_check", "mitigations=off", "random.trust_cpu=on",
	"audit=0", "apparmor=0", "selinux=0", "cryptomgr.notests", "watchdog_thresh=60", "rcupdate.rcu_cpu_stall_timeout=300",
}

func machineFor(k kernel) machine {
	kvm := k.arch == runtime.GOARCH && kvmWorks()
	if k.arch == "arm64" {
		m := machine{program: "qemu-system-aarch64", debian: "qemu-system-arm", console: "ttyAMA0", output: "/dev/ttyS0"}
		// The one line of "virt" is the console's; pauth-impdef is a cheap
		// pointer authentication in place of a slow one.
		m.args = []string{"-machine", "virt", "-chardev", "file,id=console,path=CONSOLE", "-serial", "chardev:console",
			"-chardev", "stdio,id=output,signal=off", "-device", "pci-serial,chardev=output"}
		if kvm {
			m.args = append(m.args, "-accel", "kvm", "-cpu", "host")
		} else {
			m.args = append(m.args, "-accel", "tcg,thread=multi", "-cpu", "max,pauth-impdef=on")
		}
		return m
	}
	m := machine{program: "qemu-system-x86_64", debian: "qemu-system-x86", console: "ttyS0", output: "/dev/ttyS1"}
	m.args = []string{"-machine", "pc", "-chardev", "file,id=console,path=CONSOLE", "-serial", "chardev:console",
		"-chardev", "stdio,id=output,signal=off", "-serial", "chardev:output"}
	if kvm {
		m.args = append(m.args, "-accel", "kvm", "-cpu", "host")
		return m
	}
	m.args = append(m.args, "-accel", "tcg,thread=multi", "-cpu")
	// QEMU 7.2 computes cmpxchg16b's flags from stale state, and from 6.x on the
	// slab allocator then dies now and then: docs/decisions/0012-vm.md.
	if strings.HasPrefix(k.series, "7") {
		m.args = append(m.args, "max")
		m.options = []string{"slab_debug=F", "hash_pointers=always"}
	} else {
		m.args = append(m.args, "max,-cx16")
	}
	return m
}

func (m machine) arguments(image, initrd, console, memory string) []string {
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-smp", "2", "-m", memory,
		"-kernel", image, "-initrd", initrd,
		"-append", strings.Join(append(append([]string{"console=" + m.console}, kernelOptions...), m.options...), " ")}
	for _, a := range m.args {
		// QEMU reads a comma in a path as the end of it, unless doubled.
		args = append(args, strings.ReplaceAll(a, "CONSOLE", strings.ReplaceAll(console, ",", ",,")))
	}
	return args
}

// kvmWorks: the device may be there and refuse, and kvm_pvm, which some clouds
// have in place of the CPU's virtualization, runs only kernels made for it.
func kvmWorks() bool {
	if runtime.GOARCH == "amd64" {
		cpus, err := os.ReadFile("/proc/cpuinfo")
		if err != nil || !regexp.MustCompile(`\b(vmx|svm)\b`).Match(cpus) {
			return false
		}
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	const createVM = 0xae01 // KVM_CREATE_VM, include/uapi/linux/kvm.h
	fd, err := unix.IoctlRetInt(int(f.Fd()), createVM)
	if err != nil {
		return false
	}
	return unix.Close(fd) == nil
}
