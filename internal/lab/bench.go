package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"rstwhy/internal/privilege"
)

// Place is where a scenario's two ends live.
type Place string

// The places: loopback of the caller's network namespace in three address
// families, loopback of a namespace of the lab's, and two such namespaces joined
// by a veth pair, by IPv4 and by IPv6.
const (
	IPv4   Place = "ipv4"
	IPv6   Place = "ipv6"
	Mapped Place = "v4-mapped"
	Own    Place = "netns"
	Veth   Place = "veth"
	Veth6  Place = "veth6"
)

// Places lists all places.
var Places = []Place{IPv4, IPv6, Mapped, Own, Veth, Veth6}

// Lab owns the network namespaces and numbers the processes. Scenarios may run
// side by side.
type Lab struct {
	// Steer lets the softirqs of the lab's own devices run on all CPUs, by the
	// connection (RPS), where the kernel can; set it before the first scenario.
	Steer bool

	mu    sync.Mutex
	next  int
	inits map[string]*Worker // holder of each namespace
	pids  map[int]bool
	kept  []*os.File // the latest private namespaces
}

// Has tells whether a process is, or was, the lab's.
func (l *Lab) Has(pid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pids[pid]
}

func (l *Lab) remember(pid int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pids[pid] = true
}

// Open checks what the lab needs and cleans up nothing: Close does.
func Open() (*Lab, error) {
	if missing := privilege.MissingToProve(); len(missing) > 0 {
		return nil, fmt.Errorf("lab: provoking resets needs more capabilities (TCP_REPAIR, network namespaces): run it as root, or add %s", privilege.Names(missing))
	}
	return &Lab{inits: map[string]*Worker{}, pids: map[int]bool{}}, nil
}

// Close ends the processes that hold the namespaces.
func (l *Lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.inits {
		w.stop()
	}
	clear(l.inits)
	for _, f := range l.kept {
		f.Close()
	}
	l.kept = nil
}

// forget disowns the processes of a script that was cut off: nobody can tell the
// truth about what they did.
func (l *Lab) forget(pids []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, pid := range pids {
		delete(l.pids, pid)
	}
}

func (l *Lab) comm(role string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return fmt.Sprintf("lab-%s-%d", role, l.next)
}

// bench is the table on which one scenario is set up.
func (l *Lab) bench(ctx context.Context, place Place) *Bench {
	return &Bench{lab: l, ctx: ctx, place: place}
}

// Bench is what one scenario uses up: its processes.
type Bench struct {
	lab     *Lab
	ctx     context.Context
	place   Place
	workers []*Worker
	pids    []int    // of the workers and of what they forked
	undo    []func() // run after the workers have gone
	wires   []*speaker
	private []*Worker // holders of network namespaces of this bench alone
	home    *Worker   // in a network namespace of this bench alone; nil: the place's
}

func (b *Bench) remember(pid int) {
	b.lab.remember(pid)
	b.pids = append(b.pids, pid)
}

// side names the two ends of a link.
type side int

const (
	serverSide side = iota
	clientSide
)

func (b *Bench) server() *Worker { return b.worker("srv", serverSide) }
func (b *Bench) client() *Worker { return b.worker("cli", clientSide) }

// worker starts a process on one side of the place.
func (b *Bench) worker(role string, s side) *Worker {
	comm := b.lab.comm(role)
	var w *Worker
	if b.home != nil {
		return b.spawnFrom(b.home, comm, -1)
	}
	switch b.place {
	case Own:
		w = b.spawnFrom(b.lab.holder("one"), comm, -1)
		w.Addr = "127.0.0.1"
	case Veth, Veth6:
		holder, right := b.lab.vethPair()
		if s == clientSide {
			holder = right
		}
		w = b.spawnFrom(holder, comm, -1)
		if b.place == Veth6 {
			w.Addr = vethIPv6[holder.Addr]
		}
	default:
		var err error
		if w, err = start(b.ctx, comm, false); err != nil {
			fail("%w", err)
		}
		w.Addr = map[Place]string{IPv4: "127.0.0.1", IPv6: "::1", Mapped: "127.0.0.1"}[b.place]
		b.remember(w.PID)
		b.workers = append(b.workers, w)
	}
	return w
}

// domain is the address family of the place's sockets.
func (b *Bench) domain() int {
	if b.place == IPv6 || b.place == Mapped || b.place == Veth6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// start runs this program again as a worker.
func start(ctx context.Context, comm string, newNet bool) (*Worker, error) {
	near, far, err := channel()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", comm, err)
	}
	defer far.Close()
	c := exec.Command("/proc/self/exe")
	c.Args = []string{comm}
	c.Env = environment(comm)
	c.Stderr = os.Stderr
	c.ExtraFiles = []*os.File{far}
	if newNet {
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	}
	if err := c.Start(); err != nil {
		near.Close()
		return nil, fmt.Errorf("start %s: %w", comm, err)
	}
	w := &Worker{PID: c.Process.Pid, Comm: comm, ctx: ctx, conn: near, pidfd: -1}
	if w.pidfd, err = unix.PidfdOpen(w.PID, 0); err == nil {
		err = w.greet()
	}
	go func() { _ = c.Wait() }()
	if err != nil {
		w.stop()
		return nil, fmt.Errorf("start %s: %w", comm, err)
	}
	return w, nil
}

// greet waits for the worker's first word.
func (w *Worker) greet() error {
	r, err := w.receive()
	if err == nil {
		err = r.err()
	}
	if err != nil {
		return err
	}
	w.mailbox = r.Str
	if r.N != 0 {
		w.PID = r.N
	}
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", w.PID), &st); err != nil {
		return err
	}
	w.NetNS = uint32(st.Ino)
	return nil
}

// spawnFrom lets a worker start another one, which inherits its network
// namespace and, where fd is not negative, the socket.
func (b *Bench) spawnFrom(parent *Worker, comm string, fd int, cloneFlags ...int) *Worker {
	near, far, err := channel()
	if err != nil {
		fail("start %s: %w", comm, err)
	}
	defer far.Close()
	flags := 0
	for _, f := range cloneFlags {
		flags |= f
	}
	parent.mu.Lock()
	defer parent.mu.Unlock()
	if err := b.ctx.Err(); err != nil {
		fail("start %s: %w", comm, err)
	}
	r := parent.callWith(command{Op: "spawn", FD: fd, Str: comm, Num: []int{flags}}, far)
	w := &Worker{PID: r.N, Comm: comm, Addr: parent.Addr, ctx: b.ctx, conn: near, pidfd: -1}
	b.workers = append(b.workers, w)
	if err = w.greet(); err == nil {
		w.pidfd, err = unix.PidfdOpen(w.PID, 0)
	}
	if err != nil {
		fail("start %s: %w", comm, err)
	}
	b.remember(w.PID)
	return w
}

// forkFrom lets a worker fork.
func (b *Bench) forkFrom(parent *Worker) *forked {
	near, far, err := channel()
	if err != nil {
		fail("fork %s: %w", parent.Comm, err)
	}
	defer far.Close()
	r := parent.callWith(command{Op: "fork"}, far)
	f := &forked{child: r.N, parent: parent, conn: near, pidfd: -1}
	b.remember(f.child)
	parent.kids = append(parent.kids, f)
	if f.pidfd, err = unix.PidfdOpen(f.child, 0); err != nil {
		fail("fork %s: %w", parent.Comm, err)
	}
	return f
}

func (w *Worker) callWith(c command, f *os.File) reply {
	err := w.send(c, int(f.Fd()))
	var r reply
	if err == nil {
		r, err = w.receive()
	}
	if err == nil {
		err = r.err()
	}
	if err != nil {
		fail("%s: %s: %w", w.Comm, c.Op, err)
	}
	return r
}
