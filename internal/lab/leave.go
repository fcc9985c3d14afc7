package lab

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// tidyTime bounds how long the sockets of a script that was cut off may take to
// go, all together.
const tidyTime = time.Second

// close takes every socket away without a packet and ends the processes. A
// socket that several hold is in repair mode before the first of them closes.
func (b *Bench) close() {
	if b.ctx.Err() != nil { // a script that was cut off is tidied up all the same
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), tidyTime)
		defer cancel()
		for _, w := range b.workers {
			w.ctx = ctx
		}
	}
	for _, w := range b.workers {
		w.vanish()
	}
	for _, w := range b.workers {
		w.stop()
	}
	for _, f := range b.undo {
		f()
	}
	b.workers, b.undo = nil, nil
}

func (w *Worker) vanish() {
	if w.gone {
		return
	}
	if err := w.send(command{Op: "vanish"}); err == nil {
		_, _ = w.receive()
	}
}

// stop ends a worker and what it forked, by process descriptor.
func (w *Worker) stop() {
	for _, f := range w.kids {
		if f.pidfd >= 0 {
			_ = unix.PidfdSendSignal(f.pidfd, unix.SIGKILL, nil, 0)
			waitPidfd(f.pidfd)
			_ = unix.Close(f.pidfd)
		}
		f.conn.Close()
	}
	w.kids = nil
	w.conn.Close()
	if w.pidfd < 0 {
		return
	}
	_ = unix.PidfdSendSignal(w.pidfd, unix.SIGKILL, nil, 0)
	waitPidfd(w.pidfd)
	_ = unix.Close(w.pidfd)
	w.pidfd, w.gone = -1, true
}

// waitPidfd waits a little for a process that was killed.
func waitPidfd(pidfd int) {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 100); n > 0 || (err != nil && !errors.Is(err, unix.EINTR)) {
			return
		}
	}
}
