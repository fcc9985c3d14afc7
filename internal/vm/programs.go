package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// programsSuite and programPackages: what tests and the lab start, from Debian's
// packages for the guest's architecture, with the libraries that they need.
const programsSuite = "bookworm"

var programPackages = []string{"nftables", "bash", "dash", "coreutils"}

// programDirs are what of the packages' files the guest gets: neither
// documentation nor the C library's character sets.
var programDirs = []string{"bin", "sbin", "lib", "lib64", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64"}

// programs makes sure that they are unpacked, and returns their directory. They
// are not looked up anew each time: which version it is matters to no test.
func (s store) programs(ctx context.Context, arch string) (string, error) {
	release, err := s.lock(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	dir := filepath.Join(s.dir, "programs", arch)
	want := strings.Join(programPackages, " ")
	complete := filepath.Join(dir, "complete")
	if have, err := os.ReadFile(complete); err == nil && string(have) == want {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	a, err := openApt(ctx, filepath.Join(s.dir, "apt"), programsSuite, arch)
	if err != nil {
		return "", err
	}
	// The state says that nothing is installed, so everything needed comes too.
	install := []string{"install", "--download-only", "-qq", "-y", "--no-install-recommends"}
	if _, err := a.run(ctx, "", "apt-get", append(install, programPackages...)...); err != nil {
		return "", fmt.Errorf("fetch %s: %w", want, err)
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "cache/archives/*.deb"))
	if err != nil {
		return "", err
	}
	for _, f := range debs {
		if _, err := command(ctx, "", "dpkg-deb", "-x", f, dir); err != nil {
			return "", err
		}
	}
	if _, err := a.run(ctx, "", "apt-get", "clean"); err != nil {
		return "", err
	}
	if err := os.RemoveAll(filepath.Join(dir, "usr/lib", triplet(arch), "gconv")); err != nil {
		return "", err
	}
	if err := os.Symlink("dash", filepath.Join(dir, "bin/sh")); err != nil && !os.IsExist(err) {
		return "", err
	}
	return dir, os.WriteFile(complete, []byte(want), 0o644)
}

func triplet(arch string) string {
	return map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[arch]
}

// placeAll gives the guest's places of what programs has unpacked.
func placeAll(dir string) (all []placed) {
	for _, d := range programDirs {
		if _, err := os.Stat(filepath.Join(dir, d)); err == nil {
			all = append(all, placed{filepath.Join(dir, d), "/" + d})
		}
	}
	return slices.Clip(all)
}
