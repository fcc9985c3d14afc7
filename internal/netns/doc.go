// Package netns knows what a network namespace itself tells: its counters, which
// of its connections still exist, and what its conntrack translated. It knows
// how to find namespaces and how to enter one.
//
// Nothing it asks can make the kernel load a module (Modules), and every
// question that a remote party could provoke has a rate bound and a queue that
// never blocks (Asker). No namespace is held open longer than one reading or one
// question, so that none outlives its last process by our doing.
package netns
