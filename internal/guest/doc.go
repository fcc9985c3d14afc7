// Package guest holds no code, only the tests that need a machine of their own,
// prepared by deploy/provision, with systemd and the packaged rstwhy: make
// test-guest boots one and runs them there. The build tag "guest" keeps them
// from running, or being skipped, anywhere else.
package guest
