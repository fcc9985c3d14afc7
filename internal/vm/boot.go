package main

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// boot is one start of a kernel with one program.
type boot struct {
	kernel  kernel
	files   []placed
	without []string // modules that are not loaded
	dir     string
	args    []string // the first is a path in the guest
	env     []string
	memory  string
	root    string // image of a system that is started; empty: the program is all there is
	limit   time.Duration
	console string // keep the kernel's console here; empty: only when something is wrong
	output  io.Writer
	log     io.Writer
}

// placed is a file or a directory of the host's, and where the guest has it.
type placed struct{ from, to string }

// guestError is what is wrong with the guest and not with the program.
type guestError struct {
	err     error
	console string
}

func (e *guestError) Error() string { return e.err.Error() }
func (e *guestError) Unwrap() error { return e.err }

// run boots the kernel, and returns the program's exit status.
func (b *boot) run(ctx context.Context) (status int, err error) {
	tmp, err := os.MkdirTemp("", "rstwhy-vm-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	nonce := newNonce()
	initrd := filepath.Join(tmp, "initrd")
	if err := b.writeInitrd(initrd, nonce); err != nil {
		return 0, err
	}
	console := filepath.Join(tmp, "console")
	m := machineFor(b.kernel)
	image, err := b.kernel.image()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, b.limit, fmt.Errorf("the guest did not end in %v", b.limit))
	defer cancel()
	args := m.arguments(image, initrd, console, b.memory)
	if b.root != "" {
		args = append(args, "-drive", "if=none,id=root,format=raw,readonly=on,file="+strings.ReplaceAll(b.root, ",", ",,"), "-device", "virtio-blk-pci,drive=root")
	}
	status, err = runQEMU(ctx, m, args, b.output, nonce)
	text, readErr := os.ReadFile(console)
	if b.console != "" && readErr == nil {
		readErr = os.WriteFile(b.console, text, 0o644)
	}
	if readErr != nil && err == nil {
		return 0, readErr
	}
	if err = errors.Join(err, judgeConsole(string(text))); err != nil {
		return status, &guestError{fmt.Errorf("%s (%s): %w", b.kernel, b.kernel.release, err), string(text)}
	}
	return status, nil
}

func runQEMU(ctx context.Context, m machine, args []string, output io.Writer, nonce string) (int, error) {
	cmd := exec.CommandContext(ctx, m.program, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("%w (install %s)", err, m.debian)
	}
	status, readErr := readOutput(out, output, nonce)
	_, _ = io.Copy(io.Discard, out)
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case waitErr != nil:
		return 0, fmt.Errorf("%s: %w: %s", m.program, waitErr, strings.TrimSpace(errs.String()))
	}
	return status, readErr
}

// writeInitrd writes the guest's whole file system.
func (b *boot) writeInitrd(file, nonce string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	a.char("/dev/console", 5, 1) // else process 1 has no output before devtmpfs
	for name, content := range map[string]string{
		"/etc/passwd":     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"/etc/group":      "root:x:0:\nnogroup:x:65534:\n",
		"/etc/hosts":      "127.0.0.1 localhost\n::1 localhost\n",
		"/etc/hostname":   "rstwhy-vm\n",
		"/etc/os-release": "ID=rstwhy-vm\nPRETTY_NAME=\"initramfs of make test-vm\"\n",
	} {
		a.text(name, content, 0o644)
	}
	for _, d := range []string{"/root", "/proc", "/sys", "/tmp", "/run", "/var/tmp"} {
		a.dir(d)
	}
	self, err := initFor(b.kernel.arch)
	if err != nil {
		return err
	}
	for _, p := range append([]placed{{self, "/init"}}, b.files...) {
		if err := a.tree(p.from, p.to); err != nil {
			return fmt.Errorf("put %s into the guest: %w", p.from, err)
		}
	}
	if !a.has[strings.TrimPrefix(path.Clean(b.args[0]), "/")] {
		return fmt.Errorf("the guest has no %s: put it there with -file", b.args[0])
	}
	files, err := b.addModules(a)
	if err != nil {
		return err
	}
	t, err := json.Marshal(task{Nonce: nonce, Output: machineFor(b.kernel).output, Root: b.root != "", Modules: files, Dir: b.dir, Args: b.args, Env: b.env})
	if err != nil {
		return err
	}
	a.dir(b.dir)
	a.text(taskFile, string(t), 0o600)
	if err := a.close(); err != nil {
		return err
	}
	return f.Close()
}

// addModules puts the modules in, and the list of those built in, which rstwhy
// reads.
func (b *boot) addModules(a *archive) (files []string, err error) {
	dir, err := b.kernel.modules()
	if err != nil {
		return nil, err
	}
	m, err := readModules(dir)
	if err != nil {
		return nil, err
	}
	wanted := wantedModules
	if b.root != "" {
		wanted = slices.Concat(rootModules, wantedModules)
	}
	wanted = slices.DeleteFunc(slices.Clone(wanted), func(n string) bool { return slices.Contains(b.without, n) })
	load, lacks, err := m.resolve(wanted)
	if err != nil {
		return nil, err
	}
	for _, l := range load {
		if slices.Contains(b.without, l.name) {
			return nil, fmt.Errorf("module %s cannot be left out: another one needs it", l.name)
		}
		a.text(path.Join(moduleDir, l.name+".ko"), string(l.content), 0o644)
		files = append(files, l.name+".ko")
	}
	if len(lacks) > 0 {
		fmt.Fprintf(b.log, "vm: %s has no module %s\n", b.kernel.release, strings.Join(lacks, ", "))
	}
	return files, a.tree(filepath.Join(dir, "modules.builtin"), path.Join("/lib/modules", b.kernel.release, "modules.builtin"))
}

// initFor is this program, built for the guest.
func initFor(arch string) (string, error) {
	exe, err := os.Executable()
	if err != nil || arch == runtime.GOARCH {
		return exe, err
	}
	exe += "-" + arch
	if _, err := os.Stat(exe); err != nil {
		return "", fmt.Errorf("%w: it is this program for the guest: GOARCH=%s CGO_ENABLED=0 go build -o %s ./internal/vm", err, arch, exe)
	}
	return exe, nil
}

// checkProgram says early what the guest's kernel would only call "exec format
// error" or "no such file".
func checkProgram(file, arch string) error {
	f, err := elf.Open(file)
	if err != nil {
		return fmt.Errorf("%s is no program: %w", file, err)
	}
	defer f.Close()
	if want := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; f.Machine != want {
		return fmt.Errorf("%s is for %v, and the guest is %s: build it with GOARCH=%s", file, f.Machine, arch, arch)
	}
	if slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("%s is not static, and the guest has no libraries: build it with CGO_ENABLED=0", file)
	}
	return nil
}
