package main

import (
	"fmt"
	"io"
	"strings"

	"rstwhy/internal/privilege"
	"rstwhy/internal/probe"
)

// writePrivileges renders docs/privileges.md from the table of capabilities and
// that of obstacles; it is for readers, hence its place outside the reference.
func writePrivileges(w io.Writer) error {
	var usual, needed, proof []string
	for _, c := range privilege.Capabilities {
		short := strings.TrimPrefix(c.Name, "CAP_")
		if c.Essential {
			needed = append(needed, short)
		}
		if c.With == "" && c.Until == "" {
			usual = append(usual, short)
		}
		if c.Prove != "" {
			proof = append(proof, short)
		}
	}
	prefixed := func(names []string, prefix, divider string) string {
		return prefix + strings.Join(names, divider+prefix)
	}
	fmt.Fprintf(w, privilegesHead,
		prefixed(needed, "`CAP_", "` and "), prefixed(usual, "CAP_", " "), strings.ToLower(prefixed(usual, "CAP_", ",")),
		prefixed(usual, "--cap-add ", " "), prefixed(usual, "", ", "), prefixed(proof, "CAP_", ", "))
	if err := privilege.WriteTable(w); err != nil {
		return err
	}
	fmt.Fprint(w, privilegesDrop)
	for _, o := range probe.Obstacles {
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", o.ID, o.Sign, strings.ReplaceAll(o.Says, "%s", "..."), o.Remedy)
	}
	_, err := io.WriteString(w, privilegesTail)
	return err
}

const privilegesHead = "# Privileges\n\n" +
	"Generated from internal/privilege and internal/probe/obstacle.go; do not edit.\n\n" +
	"`rstwhy trace` and `rstwhy check` run as root, or as any user with these capabilities. %s` are needed; without one of the others something is lost, " +
	"which `trace` says once at its start and in its summary, and `check` for each. `report`, `explain`, `zk` and `trace --replay` need none.\n\n" +
	"| with | how |\n|---|---|\n" +
	"| systemd | `User=rstwhy`, `AmbientCapabilities=%s`, the same in `CapabilityBoundingSet=`, `NoNewPrivileges=yes`; before Linux 5.11 also `LimitMEMLOCK=infinity`, before 5.17 also `CAP_SYSLOG` |\n" +
	"| a file | `setcap %s=ep /usr/local/bin/rstwhy`, with the file executable by one group only: whoever may run it sees every process's resets |\n" +
	"| Docker, Podman as root | as the container's root (capabilities that are added do not reach another user of it): `--pid host --cap-drop ALL %s -v /sys/kernel/btf:/sys/kernel/btf:ro -v /sys/fs/cgroup:/sys/fs/cgroup:ro`; where AppArmor is on (Debian, Ubuntu) also `--security-opt apparmor=unconfined`, since the default profile keeps other processes' links in /proc unread, whatever the capabilities |\n" +
	"| Kubernetes | `hostPID: true`, `securityContext.capabilities` with `drop: [ALL]` and `add: [%s]`, a `seccompProfile` that allows bpf and perf_event_open, and with AppArmor an `appArmorProfile` of type `Unconfined` |\n\n" +
	"`rstwhy check --prove` needs, as a user who is not root: %s.\n\n" +
	"## What each capability is for\n\n"

const privilegesDrop = "\n`CAP_SYS_ADMIN` is nearly root. It is used for nothing but what its row says, and who does without other network namespaces leaves it out. " +
	"It stands in for `CAP_BPF` and `CAP_PERFMON`.\n\n" +
	"## What trace gives up\n\n" +
	"Once its hooks are attached, before it looks at the first process, `trace` gives up every capability but those that the table says are kept, on all threads and for good (permitted, effective, inheritable and ambient sets), " +
	"and sets no_new_privs: it starts no program. Root without capabilities is still user 0, and owns root's files. `trace --debug` logs what is kept and for what; `/proc/PID/status` shows it. " +
	"`check` ends at once, and `check --prove` makes network namespaces until its end: they give up nothing.\n\n" +
	"## What can be in the way\n\n" +
	"Where nothing can be attached, `trace`, `check` and `check --prove` end with status 3 and say which of these it is, and what to do (`check --prove` without the capabilities that it needs itself names them first, with status 1); `check -o json` has it as `obstacle`, `error` and `remedy`. The first whose sign is there is told.\n\n" +
	"| obstacle | sign | message | remedy |\n|---|---|---|---|\n"

const privilegesTail = "\nNot in the way: tracefs and debugfs need not be mounted, since every hook is a BPF link (kprobes come from perf_event_open); a limit of locked memory that cannot be raised is no error from Linux 5.11 on; " +
	"`lockdown=integrity`; `kernel.unprivileged_bpf_disabled` does not concern who has the capabilities. A hook that one kernel lacks is told by `check` with what is lost.\n"
