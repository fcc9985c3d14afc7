//go:build guest

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLockdown raises the kernel's lockdown, for good until its next boot, so that
// it is only in the tests that make test-vm compiles for its guests: under integrity everything is
// attached as before, under confidentiality nothing, and the message says why.
func TestLockdown(t *testing.T) {
	needPrivileges(t)
	bin := cliBin(t)
	const file = "/sys/kernel/security/lockdown"
	if _, err := os.Stat(file); err != nil {
		if err := unix.Mount("securityfs", "/sys/kernel/security", "securityfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	before := attachedHooks(t, cliCommand(bin, "check", "-o", "json"))
	lockDown := func(mode string) {
		if err := os.WriteFile(file, []byte(mode), 0); err != nil {
			t.Fatalf("lock the kernel down (needs the LSM lockdown, boot option lsm=lockdown,...): %v", err)
		}
	}
	lockDown("integrity")
	if after := attachedHooks(t, cliCommand(bin, "check", "-o", "json")); len(before) == 0 || fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("attached %v, under lockdown=integrity %v", before, after)
	}
	lockDown("confidentiality")
	r := cliCommand(bin, "check", "-o", "json")
	if status := r.run(t); status != exitHook || checkJSON(t, r).Obstacle != "lockdown" {
		t.Errorf("check: status %d, %s", status, &r.stdout)
	}
	for _, args := range [][]string{{"check"}, {"trace"}, {"check", "--prove"}} {
		r := cliCommand(bin, args...)
		status := r.run(t)
		if all := r.stdout.String() + r.stderr.String(); status != exitHook || strings.Count(all, "locked down for confidentiality") != 1 || !strings.Contains(all, "lockdown=integrity") {
			t.Errorf("%v: status %d\n%s", args, status, all)
		}
	}
}
