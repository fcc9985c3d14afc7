package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	loadMessage = 64
	loadChunk   = 16 << 10
	loadMega    = 1 << 20
)

// loader is the state of a load process.
type loader struct {
	listener int
	conn     [2]int // the client's and the server's end of the one connection
	n        uint32 // operations begun
	nets     uint32 // 250 remote addresses each
	msg      []byte
	chunk    []byte
}

// loads says what one operation is.
var loads = map[LoadKind]func(*loader){
	Churn:    (*loader).churn,
	Tight:    (*loader).tight,
	PingPong: (*loader).pingPong,
	Bulk:     (*loader).bulk,
	Refused:  (*loader).refuse,
	Linger:   (*loader).linger,
	Spread:   (*loader).refuse,
	Scan:     (*loader).scan,
	Shut:     (*loader).shut,
	Prefork:  (*loader).abort,
	Dropped:  (*loader).dropUDP,
	DropTCP:  (*loader).dropTCP,
}

// load is the main function of a load process: "KIND ARGUMENT".
func load(s string) {
	kind, arg, _ := strings.Cut(s, " ")
	setComm("lab-load")
	time.AfterFunc(maxLife, func() { os.Exit(1) })
	err := runLoad(LoadKind(kind), arg)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lab: load %s: %v\n", kind, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runLoad(kind LoadKind, arg string) (err error) {
	defer catch(&err)
	if kind == acceptor {
		return accepts()
	}
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return err
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	l := &loader{nets: 1, msg: make([]byte, loadMessage), chunk: make([]byte, loadChunk)}
	l.listen()
	if kind == Hold {
		return l.hold(int(n))
	}
	op, ok := loads[kind]
	if !ok {
		return fmt.Errorf("unknown load")
	}
	switch kind {
	case Churn:
		go l.serve()
	case Prefork:
		if err := l.fork(); err != nil {
			return err
		}
	}
	if kind == Spread {
		l.nets = 4
	}
	if kind == Dropped || kind == DropTCP {
		l.dropAll(kind)
	}
	if kind == PingPong || kind == Bulk {
		l.conn[0], l.conn[1] = l.pair()
	}
	if err := await(); err != nil {
		return err
	}
	r := LoadResult{}
	began, cpu := time.Now(), processCPU()
	for r.Wall < time.Duration(n) {
		for range 16 {
			op(l)
		}
		r.Ops += 16
		r.Wall = time.Since(began)
	}
	r.CPU = processCPU() - cpu
	if r.Resets, err = outRsts(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// await says that all is ready and waits for the word to begin. Who dies before
// that leaves no load behind.
func await() error {
	fmt.Println("ready")
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

func processCPU() time.Duration {
	var ts unix.Timespec
	must("clock_gettime", unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts))
	return time.Duration(ts.Nano())
}

func must(what string, err error) {
	if err != nil {
		fail("%s: %w", what, err)
	}
}

func (l *loader) listen() {
	var err error
	l.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	must("bind", unix.Bind(l.listener, &unix.SockaddrInet4{Port: LoadPort}))
	must("listen", unix.Listen(l.listener, 128))
}

// dial connects to the next of 250 loopback addresses or more, so that
// connections in TIME_WAIT do not use up the ports.
func (l *loader) dial(port int) (fd int, err error) {
	l.n++
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, byte(1 + l.n/250%l.nets), byte(1 + l.n%250)}})
}

// pair opens a connection. On loopback the handshake is over when connect
// returns, so one thread can play both ends.
func (l *loader) pair() (client, server int) {
	client, err := l.dial(LoadPort)
	must("connect", err)
	return client, l.accept()
}

func (l *loader) accept() int {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l.listener), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		if errno == 0 {
			return int(fd)
		}
		if errno != unix.EINTR {
			fail("accept: %w", errno)
		}
	}
}

func write(fd int, b []byte) {
	if n, err := unix.Write(fd, b); err != nil || n != len(b) {
		fail("write of %d bytes: %d, %w", len(b), n, err)
	}
}

// read reads n bytes, in pieces as large as b.
func read(fd, n int, b []byte) {
	for n > 0 {
		got, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		must("read", err)
		if got == 0 {
			fail("read: the other end is closed")
		}
		n -= got
	}
}

func (l *loader) move(from, to int, b []byte) {
	write(from, b)
	read(to, len(b), b)
}

// serve is Churn's server: it answers each connection and closes it after the
// client.
func (l *loader) serve() {
	runtime.LockOSThread()
	var err error
	defer func() {
		fmt.Fprintf(os.Stderr, "lab: load's server: %v\n", err)
		os.Exit(1)
	}()
	defer catch(&err)
	for b := make([]byte, loadMessage); ; {
		fd := l.accept()
		read(fd, loadMessage, b)
		write(fd, b)
		_, _ = unix.Read(fd, b) // until the client's FIN
		unix.Close(fd)
	}
}

func (l *loader) churn() {
	fd, err := l.dial(LoadPort)
	must("connect", err)
	write(fd, l.msg)
	read(fd, loadMessage, l.msg)
	unix.Close(fd)
}

func (l *loader) tight() {
	client, server := l.pair()
	l.move(client, server, l.msg)
	l.move(server, client, l.msg)
	unix.Close(client)
	unix.Close(server)
}

func (l *loader) pingPong() {
	l.move(l.conn[0], l.conn[1], l.msg)
	l.move(l.conn[1], l.conn[0], l.msg)
}

func (l *loader) bulk() {
	for range loadMega / loadChunk {
		l.move(l.conn[0], l.conn[1], l.chunk)
	}
}

func (l *loader) refuse() { refused(l.dial(ClosedPort)) }

// scan takes the next port: all below those of the clients, and without a
// listener, since the network namespace is the load's own.
func (l *loader) scan() {
	const ports = 6000
	l.n++
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	to := &unix.SockaddrInet4{Port: int(ClosedPort + 1 + l.n%ports), Addr: [4]byte{127, 0, 1, 1}}
	refused(fd, unix.Connect(fd, to))
}

func refused(fd int, err error) {
	if err != unix.ECONNREFUSED {
		fail("connect to a closed port: %v", err)
	}
	unix.Close(fd)
}

func (l *loader) linger() {
	client, server := l.pair()
	resetAndClose(client)
	unix.Close(server)
}

// shut: data come to a socket that its process has shut down both ways.
func (l *loader) shut() {
	client, server := l.pair()
	must("shutdown", unix.Shutdown(server, unix.SHUT_RDWR))
	write(client, l.msg)
	unix.Close(server)
	unix.Close(client)
}

func resetAndClose(fd int) {
	must("SO_LINGER", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
	unix.Close(fd)
}

// hold opens n connections, says so, and resets one at each line on its standard
// input, until that ends.
func (l *loader) hold(n int) error {
	limit := uint64(2*n + 100)
	must("RLIMIT_NOFILE", unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: limit, Max: limit}))
	pairs := make([][2]int, n)
	for i := range pairs {
		pairs[i][0], pairs[i][1] = l.pair()
	}
	fmt.Println("open")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() && len(pairs) > 0 {
		p := pairs[len(pairs)-1]
		pairs = pairs[:len(pairs)-1]
		resetAndClose(p[0])
		unix.Close(p[1])
		fmt.Println("reset")
	}
	return in.Err()
}
