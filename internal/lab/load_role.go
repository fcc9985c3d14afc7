package lab

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
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
	msg      []byte
	chunk    []byte
}

// loads says what one operation is, and how many hits of the reset tracepoints
// it makes.
var loads = map[LoadKind]struct {
	events uint64
	op     func(*loader)
}{
	Churn:    {0, (*loader).churn},
	PingPong: {0, (*loader).pingPong},
	Bulk:     {0, (*loader).bulk},
	Refused:  {2, (*loader).refuse},
	Linger:   {2, (*loader).linger},
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
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return err
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	l := &loader{msg: make([]byte, loadMessage), chunk: make([]byte, loadChunk)}
	l.listen()
	if kind == Hold {
		return l.hold(int(n))
	}
	what, ok := loads[kind]
	if !ok {
		return fmt.Errorf("unknown load")
	}
	if kind == PingPong || kind == Bulk {
		l.conn[0], l.conn[1] = l.pair()
	}
	r := LoadResult{}
	began, cpu := time.Now(), processCPU()
	for r.Wall < time.Duration(n) {
		for range 16 {
			what.op(l)
		}
		r.Ops += 16
		r.Wall = time.Since(began)
	}
	r.CPU, r.Events = processCPU()-cpu, r.Ops*what.events
	return json.NewEncoder(os.Stdout).Encode(r)
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

// dial connects to the next of 250 loopback addresses, so that connections in
// TIME_WAIT do not use up the ports.
func (l *loader) dial(port int) (fd int, err error) {
	l.n++
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must("socket", err)
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 1, byte(1 + l.n%250)}})
}

// pair opens a connection. On loopback the handshake is over when connect
// returns, so one thread can play both ends.
func (l *loader) pair() (client, server int) {
	client, err := l.dial(LoadPort)
	must("connect", err)
	fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(l.listener), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		fail("accept: %w", errno)
	}
	return client, int(fd)
}

func (l *loader) move(from, to int, b []byte) {
	n, err := unix.Write(from, b)
	must("write", err)
	for n > 0 {
		got, err := unix.Read(to, b)
		must("read", err)
		if got == 0 {
			fail("read: the other end is closed")
		}
		n -= got
	}
}

func (l *loader) churn() {
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

func (l *loader) refuse() {
	fd, err := l.dial(ClosedPort)
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
		name, err := unix.Getsockname(p[0])
		must("getsockname", err)
		resetAndClose(p[0])
		unix.Close(p[1])
		fmt.Println(name.(*unix.SockaddrInet4).Port)
	}
	return in.Err()
}
