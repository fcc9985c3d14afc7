package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"

	"rstwhy/internal/pipeline"
)

// recordFilesMax bounds --record-files: more than that is a slip of the finger.
const recordFilesMax = 10000

// recorder makes the recording's first file; nil where none is wanted.
func (f *traceFlags) recorder() (*pipeline.Recorder, error) {
	size, err := parseSize(f.recordSize)
	if err != nil {
		return nil, err
	}
	if size < pipeline.RecordMin {
		return nil, usagef("--record-size %s is too small; %dM is the least", f.recordSize, pipeline.RecordMin>>20)
	}
	if f.recordFiles == 0 || f.recordFiles > recordFilesMax {
		return nil, usagef("--record-files %d is out of range (1 to %d)", f.recordFiles, recordFilesMax)
	}
	if f.record == "" {
		return nil, nil
	}
	return pipeline.NewRecorder(pipeline.RecordOptions{Path: f.record, Size: size, Files: int(f.recordFiles)})
}

// parseSize reads a number of bytes with k, M or G (powers of 1024).
func parseSize(s string) (int64, error) {
	shift, digits := 0, s
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
	}
	if shift > 0 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, usagef("--record-size %q is no size; give a number with k, M or G, as 64M", s)
	}
	return int64(n) << shift, nil
}

func (f *traceFlags) play(opts pipeline.Options) error {
	if f.record != "" || f.ready != "" || f.duration != 0 || f.interval != 0 {
		return usagef("--replay prints a recording; it goes with none of --record, --ready-file, --duration and --interval")
	}
	parts, done, err := openParts("replay", f.replay)
	if err != nil {
		return err
	}
	defer done()
	return pipeline.ReplayParts(parts, opts)
}

// openParts opens the files of a recording for a verb. done closes them.
func openParts(verb string, names []string) (parts []pipeline.Part, done func(), err error) {
	var files []*os.File
	done = func() {
		for _, file := range files {
			_ = file.Close() // it was only read
		}
	}
	for _, name := range names {
		// Opening a pipe would otherwise wait for its writer.
		file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			done()
			return nil, nil, fmt.Errorf("%s: %w", verb, err)
		}
		files = append(files, file)
		if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
			done()
			return nil, nil, fmt.Errorf("%s: %q is no regular file", verb, name)
		}
		parts = append(parts, pipeline.Part{Name: name, Reader: file})
	}
	return parts, done, nil
}

// signals ends the context on SIGINT and SIGTERM, asks for a summary on SIGUSR1,
// and lets two errors come as such that would end the process before recording
// and account are closed: a closed pipe on stdout, and a file over the limit.
func (f *traceFlags) signals(opts *pipeline.Options) (context.Context, func()) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ)
	now := make(chan os.Signal, 1)
	signal.Notify(now, syscall.SIGUSR1)
	opts.Now = now
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	return ctx, func() { stop(); signal.Stop(now) }
}

// announce tells those who wait until every hook is attached: systemd, where it
// started this process (Type=notify), and whoever gave --ready-file.
func (f *traceFlags) announce() error {
	if _, err := daemon.SdNotify(true, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd that the hooks are attached: %w", err)
	}
	if f.ready == "" {
		return nil
	}
	return writeReady(f.ready)
}

// writeReady makes the ready file whole in one step. An older one is replaced;
// a link is replaced too, and not followed.
func writeReady(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".rstwhy-ready-*")
	if err != nil {
		return fmt.Errorf("write ready file: %w", err)
	}
	_, err = f.WriteString("ready\n")
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write ready file: %w", err)
	}
	return nil
}
