package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// module is a part of the kernel that answers a question, and a symbol that it
// has on every kernel from 5.4 on.
type module struct{ name, symbol string }

// What the questions need. A question to an absent one makes the kernel load
// it: net/core/sock_diag.c (sock_load_diag_module), net/netlink/af_netlink.c
// (netlink_create) and net/netfilter/nfnetlink.c (nfnetlink_rcv_msg) call
// request_module, for root in any network namespace. sock_diag itself is part
// of every kernel (net/core/Makefile).
var (
	survivorModules    = []module{{"inet_diag", "inet_diag_handler_cmd"}, {"tcp_diag", "tcp_diag_dump"}}
	translationModules = []module{{"nfnetlink", "nfnetlink_rcv"}, {"nf_conntrack_netlink", "ctnetlink_get_conntrack"}}
)

// Modules tells which questions the kernel can answer as it is.
type Modules struct {
	root    string // "" or, in tests, where proc, sys and lib are
	release string

	once    sync.Once
	builtIn map[string]bool
}

// NewModules looks at the running kernel.
func NewModules() *Modules {
	var u unix.Utsname
	_ = unix.Uname(&u)
	return &Modules{release: unix.ByteSliceToString(u.Release[:])}
}

// Survivors is nil where the kernel answers questions for TCP sockets.
func (m *Modules) Survivors() error { return m.present(survivorModules) }

// Translations is nil where the kernel answers questions for conntrack entries.
func (m *Modules) Translations() error { return m.present(translationModules) }

// present looks at loaded modules anew each time, since they can be unloaded.
func (m *Modules) present(need []module) error {
	if m.cannotLoad() {
		return nil
	}
	for _, mod := range need {
		if m.loaded(mod.name) {
			continue
		}
		m.once.Do(m.readBuiltIn)
		if !m.builtIn[mod.name] {
			return fmt.Errorf("kernel module %s is not loaded, and asking would load it: modprobe %s to allow the question", mod.name, mod.name)
		}
	}
	return nil
}

// cannotLoad: a kernel without modules, or one told to take no more.
func (m *Modules) cannotLoad() bool {
	if b, err := os.ReadFile(m.root + "/proc/sys/kernel/modules_disabled"); err == nil && strings.TrimSpace(string(b)) == "1" {
		return true
	}
	_, version := os.Stat(m.root + "/proc/version") // else it is no procfs
	_, modules := os.Stat(m.root + "/proc/modules")
	return version == nil && os.IsNotExist(modules)
}

// loaded: only a loaded module has initstate (kernel/module/sysfs.c), "live"
// once it is ready.
func (m *Modules) loaded(name string) bool {
	b, err := os.ReadFile(filepath.Join(m.root, "/sys/module", name, "initstate"))
	return err == nil && strings.TrimSpace(string(b)) == "live"
}

// readBuiltIn takes the list that the kernel's package installs and, where that
// is missing, the kernel's own symbols: those of a loaded module end with its
// name in brackets.
func (m *Modules) readBuiltIn() {
	m.builtIn = map[string]bool{}
	all := append(append([]module{}, survivorModules...), translationModules...)
	list, _ := os.ReadFile(filepath.Join(m.root, "/lib/modules", m.release, "modules.builtin"))
	for line := range bytes.Lines(list) {
		name := strings.TrimSuffix(filepath.Base(strings.TrimSpace(string(line))), ".ko")
		name = strings.ReplaceAll(name, "-", "_")
		for _, mod := range all {
			if mod.name == name {
				m.builtIn[name] = true
			}
		}
	}
	f, err := os.Open(m.root + "/proc/kallsyms")
	if err != nil {
		return
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		for _, mod := range all {
			if bytes.HasSuffix(lines.Bytes(), []byte(" "+mod.symbol)) {
				m.builtIn[mod.name] = true
			}
		}
	}
}
