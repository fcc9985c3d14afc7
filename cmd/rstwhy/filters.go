package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/pipeline"
)

// selectFlags are the filters that user space decides.
type selectFlags struct {
	pids, comms, containers, pods, units, netns, causes, verdicts []string
	zk, quietExpected                                             bool
}

// filterHelp is part of trace's help.
const filterHelp = `Each filter may be given several times, or once with commas: a reset is shown if
it meets one value of every filter that is given. From --pid to --verdict, a
value that begins with ! excludes instead; quote it ('!closed-port'), or an
interactive shell takes the ! for itself. Where an owner is unknown, a process
that may be it is enough to be shown, and not enough to be excluded.`

var selectFlagNames = []string{"pid", "comm", "container", "pod", "unit", "netns", "cause", "verdict"}

func (f *selectFlags) register(fs *pflag.FlagSet) {
	fs.StringSliceVarP(&f.pids, "pid", "p", nil, "only resets on connections of this process (this and the next seven: repeatable, !VALUE excludes)")
	fs.StringSliceVar(&f.comms, "comm", nil, "only resets on connections of processes with this name")
	fs.StringSliceVar(&f.containers, "container", nil, "only those of processes in this container: its name, or its id or at least 4 digits of it")
	fs.StringSliceVar(&f.pods, "pod", nil, "only those of processes in this pod: NAME, NAMESPACE/NAME or its uid")
	fs.StringSliceVar(&f.units, "unit", nil, "only those of processes in this systemd unit (.service may be left out)")
	fs.StringSliceVar(&f.netns, "netns", nil, "only resets in this network namespace: its inode number, pid:N for that of process N, or a path such as /run/netns/NAME")
	fs.StringSliceVar(&f.causes, "cause", nil, "only resets with this cause ('rstwhy explain' lists them)")
	fs.StringSliceVar(&f.verdicts, "verdict", nil, "only resets with a verdict of this rule ('rstwhy explain' lists them)")
	fs.BoolVar(&f.quietExpected, "quiet-expected", false, "count, but do not print, what is harmless or a scanner's noise")
	fs.BoolVar(&f.zk, "zk", false, "only resets with a ZooKeeper server at either end")
}

// complete offers causes and rules to the shell.
func (f *selectFlags) complete(c *cobra.Command) {
	for name, list := range map[string]func() []string{"cause": causeIDs, "verdict": ruleIDs} {
		// Fails only for a flag that does not exist.
		_ = c.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return list(), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// selection turns the flags into filters. replay: the recording may be of
// another machine, so nothing is looked up on this one.
func (f *selectFlags) selection(replay bool) (pipeline.Select, error) {
	s := pipeline.Select{ZK: f.zk, QuietExpected: f.quietExpected}
	pids, err := terms("-p", f.pids, parsePID)
	if err != nil {
		return s, err
	}
	comms, err := terms("--comm", f.comms, asIs)
	if err != nil {
		return s, err
	}
	s.PIDs, s.NotPIDs, s.Comms, s.NotComms = pids.Any, pids.None, comms.Any, comms.None
	if s.NetNS, err = terms("--netns", f.netns, func(v string) (uint32, error) { return parseNetNS(v, replay) }); err != nil {
		return s, err
	}
	for _, l := range []struct {
		flag  string
		from  []string
		to    *pipeline.Terms[string]
		parse func(string) (string, error)
	}{
		{"--container", f.containers, &s.Containers, parseContainer}, {"--pod", f.pods, &s.Pods, asIs}, {"--unit", f.units, &s.Units, asIs},
		{"--cause", f.causes, &s.Causes, oneOf("cause", causeIDs())}, {"--verdict", f.verdicts, &s.Verdicts, oneOf("rule", ruleIDs())},
	} {
		if *l.to, err = terms(l.flag, l.from, l.parse); err != nil {
			return s, err
		}
	}
	return s, nil
}

// terms parses the values of one filter.
func terms[T comparable](flag string, values []string, parse func(string) (T, error)) (pipeline.Terms[T], error) {
	var t pipeline.Terms[T]
	for _, given := range values {
		value, not := strings.CutPrefix(given, "!")
		if value == "" {
			return t, usagef("%s is given an empty value", flag)
		}
		parsed, err := parse(value)
		if err != nil {
			return t, usagef("%s %w", flag, err)
		}
		if not {
			t.None = append(t.None, parsed)
		} else {
			t.Any = append(t.Any, parsed)
		}
	}
	return t, nil
}

func asIs(v string) (string, error) { return v, nil }

func parsePID(v string) (uint32, error) {
	const pidMax = 1 << 22 // PID_MAX_LIMIT, include/linux/threads.h
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil || n == 0 || n > pidMax {
		return 0, fmt.Errorf("%.64q is no process id (1 to %d)", v, pidMax)
	}
	return uint32(n), nil
}

// parseContainer takes an id in any case.
func parseContainer(v string) (string, error) {
	if lower := strings.ToLower(v); len(v) == 64 && strings.Trim(lower, "0123456789abcdef") == "" {
		return lower, nil
	}
	return v, nil
}

func causeIDs() []string {
	var ids []string
	for _, c := range diagnose.Causes() {
		ids = append(ids, c.ID)
	}
	return ids
}

func ruleIDs() []string {
	var ids []string
	for _, r := range diagnose.Rules() {
		ids = append(ids, r.ID)
	}
	return ids
}

// oneOf takes a value of a closed list, and names near ones for any other.
func oneOf(what string, list []string) func(string) (string, error) {
	return func(v string) (string, error) {
		if slices.Contains(list, v) {
			return v, nil
		}
		hint := "run 'rstwhy explain' to list them"
		if n := near(v, list); len(n) > 0 {
			hint = "did you mean " + strings.Join(n, ", ") + "? Otherwise " + hint
		}
		return "", fmt.Errorf("%.64q is no %s: %s", v, what, hint)
	}
}

// near gives up to three of the list that are like v: by what both contain, or
// by few changes.
func near(v string, list []string) []string {
	type candidate struct {
		id string
		d  int
	}
	var found []candidate
	v = strings.ToLower(v[:min(len(v), 64)])
	for _, id := range list {
		d := distance(v, id)
		if len(v) >= 3 && (strings.Contains(id, v) || strings.Contains(v, id)) {
			d = min(d, 2)
		}
		if d <= max(2, len(v)/3) {
			found = append(found, candidate{id, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.d, b.d) })
	var ids []string
	for _, c := range found[:min(len(found), 3)] {
		ids = append(ids, c.id)
	}
	return ids
}

// distance is Levenshtein's: how many bytes to insert, delete or replace.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
