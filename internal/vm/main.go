// Command vm boots Debian's kernels in QEMU and runs programs in them. It is the
// host's program, the guest's process 1, and the writer of the initramfs that
// holds both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `vm boots Debian's kernels in QEMU and runs programs in them.

  vm kernels [-kernels 5.10,6.1] [-arch amd64,arm64]   fetch the newest kernel of each series
  vm run -kernel 5.10 [-arch arm64] [-file FROM[:TO]]... [-- ] PROGRAM [ARG]...
                                                       boot it, run one static program in it
  vm matrix [-kernels ...] [-subset] [-write]          make test-vm: rstwhy and its tests on every kernel
  vm system -deb FILE [-suite trixie]                  make test-guest: a whole Debian system, with rstwhy's package
  vm page                                              write docs/kernels.md anew from docs/kernels

vm COMMAND -h lists the flags. A program that is a file of the host's is put into
/bin of the guest. Exit status: the program's; 1 or 2 where vm itself failed (it
says so on the standard error), 125 where the guest could not start the program.
`

func main() {
	if os.Getpid() == 1 && filepath.Base(os.Args[0]) == "init" {
		guest()
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	status, err := dispatch(ctx, os.Args[1:])
	if trouble, ok := errors.AsType[*guestError](err); ok {
		fmt.Fprintf(os.Stderr, "vm: the kernel's console, all of it:\n%s\n", trouble.console)
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "vm:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// commands by name; each returns the exit status.
var commands = map[string]func(context.Context, []string) (int, error){
	"kernels": runKernels,
	"run":     runProgram,
	"matrix":  runMatrix,
	"page":    writePage,
	"system":  runSystem,
	"steps":   runSteps,   // in the guest
	"session": runSession, // in the guest
}

func dispatch(ctx context.Context, args []string) (int, error) {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return 2, nil
	}
	run := commands[args[0]]
	if run == nil {
		fmt.Fprint(os.Stderr, usage)
		return 2, fmt.Errorf("there is no command %q", args[0])
	}
	return run(ctx, args[1:])
}

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func newFlags(name string) (f *flag.FlagSet, cache *string) {
	f = flag.NewFlagSet("vm "+name, flag.ContinueOnError)
	dir, err := os.UserCacheDir()
	if err != nil { // no HOME, as in some services
		dir = "/var/cache"
	}
	return f, f.String("cache", filepath.Join(dir, "rstwhy", "vm"), "where kernels are kept")
}

// choice is a series for an architecture.
type choice struct {
	series, arch string
	suites       []string
}

func (c choice) String() string { return c.series + "-" + c.arch }

// choose takes a list of names such as 5.10 and 5.10-arm64, and architectures
// for those without; empty: all.
func choose(names, arches string) (all []choice, err error) {
	for _, s := range series {
		for _, arch := range s.arches {
			all = append(all, choice{s.name, arch, s.suites})
		}
	}
	split := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	known := fmt.Sprint(all)
	for _, a := range split(arches) {
		if a != "amd64" && a != "arm64" {
			return nil, fmt.Errorf("-arch %q: use amd64 or arm64", a)
		}
	}
	for _, n := range split(names) {
		if !slices.ContainsFunc(all, func(c choice) bool { return n == c.series || n == c.String() }) {
			return nil, fmt.Errorf("-kernels %q: not in the table, which has %s", n, known)
		}
	}
	all = slices.DeleteFunc(all, func(c choice) bool {
		byName := names == "" || slices.Contains(split(names), c.series) || slices.Contains(split(names), c.String())
		return !byName || arches != "" && !slices.Contains(split(arches), c.arch)
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("no kernel of the table is both in -kernels %q and -arch %q; it has %s", names, arches, known)
	}
	return all, nil
}

func runKernels(ctx context.Context, args []string) (int, error) {
	f, cache := newFlags("kernels")
	names := f.String("kernels", "", "only these series, such as 5.10,6.1 or 6.12-arm64")
	arches := f.String("arch", "", "only these architectures")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	chosen, err := choose(*names, *arches)
	if err != nil {
		return 2, err
	}
	for _, c := range chosen {
		k, err := (store{*cache, os.Stderr}).fetch(ctx, c.series, c.suites, c.arch)
		if err != nil {
			return 1, err
		}
		fmt.Printf("%-12s %s, package version %s\n", k, k.release, k.version)
	}
	return 0, nil
}

func runProgram(ctx context.Context, args []string) (int, error) {
	f, cache := newFlags("run")
	name := f.String("kernel", "", "series of the kernel, such as 5.10")
	arch := f.String("arch", runtime.GOARCH, "architecture")
	var files, env, without list
	f.Var(&files, "file", "put `FROM[:TO]` into the guest; several times. TO is /bin/NAME of a program, else /NAME")
	f.Var(&env, "env", "set `NAME=VALUE` for the program; several times")
	f.Var(&without, "without", "leave this `module` unloaded; several times")
	dir := f.String("dir", "/", "working directory in the guest")
	memory := f.String("memory", "1G", "memory of the guest")
	limit := f.Duration("timeout", 10*time.Minute, "end the guest after this time")
	console := f.String("console", "", "keep the kernel's console in this `file`")
	programs := f.Bool("programs", false, "put Debian's nft, bash and coreutils into the guest (fetched once)")
	if err := f.Parse(args); err != nil {
		return 2, err
	}
	if f.NArg() == 0 || *name == "" {
		return 2, errors.New("vm run needs -kernel and a program")
	}
	chosen, err := choose(*name, *arch)
	if err != nil {
		return 2, err
	}
	k, err := (store{*cache, os.Stderr}).cached(chosen[0].series, chosen[0].arch)
	if err != nil {
		return 1, err
	}
	b := boot{kernel: k, without: without, dir: *dir, args: f.Args(), memory: *memory, limit: *limit, console: *console, output: os.Stdout, log: os.Stderr}
	b.env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "CI=true"}, env...)
	for _, file := range files {
		b.files = append(b.files, place(file))
	}
	inGuest := false
	if *programs {
		dir, err := (store{*cache, os.Stderr}).programs(ctx, k.arch)
		if err != nil {
			return 1, err
		}
		b.files = append(b.files, placeAll(dir)...)
		_, err = os.Lstat(filepath.Join(dir, b.args[0]))
		inGuest = err == nil
	}
	if st, err := os.Stat(b.args[0]); err == nil && !inGuest && st.Mode().IsRegular() && !slices.ContainsFunc(b.files, func(p placed) bool { return p.to == b.args[0] }) {
		if err := checkProgram(b.args[0], k.arch); err != nil {
			return 2, err
		}
		to := "/bin/" + filepath.Base(b.args[0])
		b.files = append(b.files, placed{b.args[0], to})
		b.args[0] = to
	}
	return b.run(ctx)
}

// place says where a file goes that is named FROM or FROM:TO.
func place(s string) placed {
	from, to, ok := strings.Cut(s, ":")
	if ok {
		return placed{from, path.Clean("/" + to)}
	}
	if st, err := os.Stat(from); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
		return placed{from, "/bin/" + filepath.Base(from)}
	}
	return placed{from, "/" + filepath.Base(from)}
}
