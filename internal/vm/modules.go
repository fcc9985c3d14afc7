package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// wantedModules are what the lab and the tests need, and a distribution's kernel
// loads on demand: the guest has no modprobe. What a kernel lacks is left out
// and said; what it has built in needs nothing.
var wantedModules = []string{
	"inet_diag", "tcp_diag", "mptcp_diag", // questions about sockets, and SOCK_DESTROY
	"veth", "dummy", "tun", "sch_netem", // the lab's links
	"nf_tables", "nft_reject_inet", "nft_reject_ipv4", "nft_reject_ipv6", "nf_reject_ipv4", "nf_reject_ipv6",
	"nfnetlink", "nf_conntrack", "nf_conntrack_netlink", "nft_ct", "nf_nat", "nft_nat", "nft_chain_nat", // translation
}

// modules finds the modules of one kernel. Packages carry no modules.dep: it is
// depmod's, at installation.
type modules struct {
	files   map[string]string // name: path
	builtIn map[string]bool
}

func readModules(dir string) (*modules, error) {
	m := &modules{files: map[string]string{}, builtIn: map[string]bool{}}
	list, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, fmt.Errorf("modules of the kernel: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		m.builtIn[moduleName(strings.TrimSpace(line))] = true
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(d.Name(), ".ko") {
			m.files[moduleName(p)] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("modules of the kernel: %w", err)
	}
	return m, nil
}

// moduleName is the kernel's name of a module's file (KBUILD_MODNAME).
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// loadable is a module in the order in which it must be loaded.
type loadable struct {
	name    string
	content []byte
}

// resolve gives what must be loaded for the wanted ones, dependencies first, and
// those that this kernel does not have.
func (m *modules) resolve(wanted []string) (load []loadable, lacks []string, err error) {
	done := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		if done[name] || m.builtIn[name] {
			return nil
		}
		done[name] = true
		content, err := readModule(m.files[name])
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		info, err := readModinfo(content)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, d := range info.depends {
			if m.files[d] == "" && !m.builtIn[d] {
				return fmt.Errorf("module %s depends on %s, which the package does not have", name, d)
			}
			if err := add(d); err != nil {
				return err
			}
		}
		for _, d := range info.before {
			if m.files[d] != "" {
				if err := add(d); err != nil {
					return err
				}
			}
		}
		load = append(load, loadable{name, content})
		return nil
	}
	for _, name := range wanted {
		if m.files[name] == "" && !m.builtIn[name] {
			lacks = append(lacks, name)
			continue
		}
		if err := add(name); err != nil {
			return nil, nil, err
		}
	}
	return load, lacks, nil
}

// readModule reads a module, decompressed: the guest's kernel may lack the
// decompressor of finit_module's MODULE_INIT_COMPRESSED_FILE.
func readModule(path string) ([]byte, error) {
	var tool string
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".xz":
		tool = "xz"
	case ".zst":
		tool = "zstd"
	case ".gz":
		tool = "gzip"
	default:
		return nil, fmt.Errorf("%q: unknown compression", path)
	}
	out, err := exec.Command(tool, "-dc", path).Output()
	if err != nil {
		return nil, fmt.Errorf("%s -dc %s: %w", tool, path, err)
	}
	return out, nil
}

// modinfo is what a module's .modinfo says of its order.
type modinfo struct {
	depends []string // whose symbols it uses
	before  []string // softdep "pre:", what it asks for while it starts
}

func readModinfo(module []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return modinfo{}, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return modinfo{}, fmt.Errorf("it has no section .modinfo")
	}
	b, err := s.Data()
	if err != nil {
		return modinfo{}, err
	}
	return parseModinfo(b), nil
}

// parseModinfo reads key=value strings, each ended by a NUL.
func parseModinfo(b []byte) (info modinfo) {
	for field := range bytes.SplitSeq(b, []byte{0}) {
		key, value, _ := strings.Cut(string(field), "=")
		switch key {
		case "depends":
			for _, d := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' }) {
				info.depends = append(info.depends, moduleName(d))
			}
		case "softdep": // "pre: a b post: c"
			pre := false
			for _, word := range strings.Fields(value) {
				switch {
				case strings.HasSuffix(word, ":"):
					pre = word == "pre:"
				case pre:
					info.before = append(info.before, moduleName(word))
				}
			}
		}
	}
	return info
}
