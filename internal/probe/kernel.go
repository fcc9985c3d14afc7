// Package probe is the only room that talks to the kernel: it loads and
// attaches the BPF programs of bpf/, reads their ring buffer, walks
// descriptors, and decodes raw records, live or recorded, into event.Reset.
//
// It knows neither processes (internal/owner) nor causes (internal/diagnose).
package probe

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -type reset_event -type closer_event -type holder -type owner -type storm_key -type storm kernel ../../bpf/reset.bpf.c -- -O2 -Wall -Wpadded -Werror -I../../bpf
