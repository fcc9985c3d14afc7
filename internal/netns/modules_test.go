package netns

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModules: a question is asked only where it loads nothing.
func TestModules(t *testing.T) {
	const modular = "proc/version=x;proc/modules="
	for _, tt := range []struct {
		name, files        string // path=content, separated by semicolons
		survivors, natural bool
	}{
		{"nothing loaded", modular, false, false},
		{"no procfs", "", false, false},
		{"kernel without modules", "proc/version=x", true, true},
		{"loading forbidden", modular + ";proc/sys/kernel/modules_disabled=1\n", true, true},
		{"loading allowed", modular + ";proc/sys/kernel/modules_disabled=0\n", false, false},
		{"loaded", modular + ";sys/module/inet_diag/initstate=live\n;sys/module/tcp_diag/initstate=live\n", true, false},
		{"one of two", modular + ";sys/module/inet_diag/initstate=live\n", false, false},
		{"going away", modular + ";sys/module/inet_diag/initstate=live\n;sys/module/tcp_diag/initstate=going\n", false, false},
		{"only its parameters", modular + ";sys/module/inet_diag/parameters/x=1;sys/module/tcp_diag/parameters/x=1", false, false},
		{
			"listed as built in", modular + ";lib/modules/6.1.0-9/modules.builtin=kernel/net/ipv4/inet_diag.ko\nkernel/net/ipv4/tcp_diag.ko\n" +
				"kernel/net/netfilter/nfnetlink.ko\nkernel/net/netfilter/nf_conntrack_netlink.ko\n", true, true,
		},
		{"another kernel's list", modular + ";lib/modules/5.10.0/modules.builtin=kernel/net/ipv4/inet_diag.ko\nkernel/net/ipv4/tcp_diag.ko\n", false, false},
		{
			"symbols", modular + ";proc/kallsyms=0 t inet_diag_handler_cmd\n0 t tcp_diag_dump\n0 t nfnetlink_rcv\t[nfnetlink]\n0 t ctnetlink_get_conntrack\t[nf_conntrack_netlink]\n",
			true, false,
		},
		{"symbols of nearly that name", modular + ";proc/kallsyms=0 t __pfx_inet_diag_handler_cmd\n0 t tcp_diag_dump_one\n", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := &Modules{root: t.TempDir(), release: "6.1.0-9"}
			for file := range strings.SplitSeq(tt.files, ";") {
				if path, content, ok := strings.Cut(file, "="); ok {
					path = filepath.Join(m.root, path)
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := m.Survivors(); (err == nil) != tt.survivors {
				t.Errorf("sockets: %v", err)
			}
			if err := m.Translations(); (err == nil) != tt.natural {
				t.Errorf("conntrack: %v", err)
			}
		})
	}
}

// TestModuleUnloaded: what was loaded at the first question may be gone at the
// next, which would load it again.
func TestModuleUnloaded(t *testing.T) {
	m := &Modules{root: t.TempDir()}
	for path, content := range map[string]string{
		"proc/version": "", "proc/modules": "",
		"sys/module/inet_diag/initstate": "live\n", "sys/module/tcp_diag/initstate": "live\n",
	} {
		path = filepath.Join(m.root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Survivors(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(m.root, "sys/module/tcp_diag")); err != nil {
		t.Fatal(err)
	}
	if err := m.Survivors(); err == nil || !strings.Contains(err.Error(), "tcp_diag is not loaded") {
		t.Errorf("after the module went: %v", err)
	}
}
