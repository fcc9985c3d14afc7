package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A guest with a root of its own is a whole system: process 1 of the initramfs
// makes way for the root's systemd, and a unit of systemd's runs the program.

// rootDevice is the image; QEMU's first virtio disk.
const rootDevice = "/dev/vda"

// rootModules are what the initramfs needs to reach the image and to write over it.
var rootModules = []string{"virtio_pci", "virtio_blk", "squashfs", "overlay"}

// sessionUnit starts what the host asked for when the system is up. It is no
// part of the image, which knows nothing of this program.
const sessionUnit = `[Unit]
Description=The program of make test-guest
[Service]
ExecStart=/vm/init session
TasksMax=infinity
[Install]
WantedBy=multi-user.target
`

// enterRoot makes the image the root, with memory over it to write into, and
// becomes its init. The directory /vm stays: the program and its files.
func enterRoot(t task) error {
	if err := mountRoot("/sysroot"); err != nil {
		return err
	}
	if err := putIntoRoot("/sysroot"); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := os.Chdir("/sysroot"); err != nil {
		return err
	}
	// As switch_root(8): the initramfs cannot be unmounted, only covered.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return fmt.Errorf("start the root's init: %w", unix.Exec("/sbin/init", []string{"/sbin/init"}, t.Env))
}

func mountRoot(root string) error {
	for _, dir := range []string{"/image", "/memory", root} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(rootDevice, "/image", "squashfs", unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("mount the root's image: %w", err)
	}
	if err := unix.Mount("tmpfs", "/memory", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	for _, dir := range []string{"/memory/upper", "/memory/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, "lowerdir=/image,upperdir=/memory/upper,workdir=/memory/work"); err != nil {
		return fmt.Errorf("mount memory over the root's image: %w", err)
	}
	return nil
}

// putIntoRoot adds what the host brings: its files, the unit that runs the
// program, and the kernel's list of what it has built in, which rstwhy reads.
func putIntoRoot(root string) error {
	if err := os.MkdirAll(root+"/vm", 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/vm", root+"/vm", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bring /vm along: %w", err)
	}
	const unit = "/etc/systemd/system/rstwhy-vm.service"
	if err := os.WriteFile(root+unit, []byte(sessionUnit), 0o644); err != nil {
		return err
	}
	wants := root + "/etc/systemd/system/multi-user.target.wants"
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(unit, filepath.Join(wants, "rstwhy-vm.service")); err != nil {
		return err
	}
	if err := os.MkdirAll(root+"/usr/lib/modules", 0o755); err != nil {
		return err
	}
	return os.CopyFS(root+"/usr/lib/modules", os.DirFS("/lib/modules"))
}

// runSession is the unit's program: what process 1 is in a guest without a root.
func runSession(context.Context, []string) (int, error) {
	b, err := os.ReadFile(taskFile)
	if err != nil {
		return 1, err
	}
	var t task
	if err := json.Unmarshal(b, &t); err != nil {
		return 1, fmt.Errorf("%s: %w", taskFile, err)
	}
	tty, err := openRaw(t.Output)
	if err != nil {
		return 1, err
	}
	status, err := runTask(t, tty)
	finish(tty, t, status, err)
	return 1, errors.New("the machine did not end")
}
