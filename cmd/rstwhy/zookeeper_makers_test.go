package main

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// What the stimuli are made of.

// expired renews a session that no server knows, with operations in the queue.
func (l *zkLab) expired(kind string, operations int) error {
	if err := l.ask(kind, zkRenew(zkPort, operations), "wait 300"); err != nil {
		return err
	}
	l.nudge(zkPort)
	return l.ask(kind, "close")
}

// renewed has one client open a session, and another, which may be the same
// process, renew and close it. The first then finds its connection ended,
// renews a session that is gone, and closes.
func (l *zkLab) renewed(first, second string) error {
	if err := l.ask(first, zkOpen(zkPort), "get /"); err != nil {
		return err
	}
	session, err := l.clients[first].Ask("session")
	if err != nil {
		return err
	}
	if err := l.ask(second, fmt.Sprintf("renew %s 10000 %s 50", zkAddr(zkPort), session), "get /", "close"); err != nil {
		return err
	}
	return l.ask(first, "close")
}

// rejected has the server's host refuse a port by a firewall's rule meanwhile.
func (l *zkLab) rejected(port uint16, f func() error) error {
	nft := func(script string) error {
		cmd := exec.Command("nft", script)
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := l.server.Do(cmd.Run); err != nil {
			return fmt.Errorf("nft %s: %w: %s", script, err, &said)
		}
		return nil
	}
	if err := nft(fmt.Sprintf("add table inet lab; add chain inet lab in { type filter hook input priority 0; }; "+
		"add rule inet lab in tcp dport %d reject with tcp reset", port)); err != nil {
		return err
	}
	return errors.Join(f(), nft("delete table inet lab"))
}

// nudge has a server's selector look again, see awaitRST.
func (l *zkLab) nudge(port uint16) { _, _ = lab.ZKWord(l.client, zkAddr(port), "srvr") }

// raw sends bytes in one write, waits and closes in order.
func (l *zkLab) raw(port uint16, b []byte) error {
	c, err := l.process.dial(zkAddr(port))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	if err := zkIgnoreReset(l.process.send(c, b, 0)); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	if port == zkPort {
		l.nudge(port)
		time.Sleep(30 * time.Millisecond)
	}
	return zkIgnoreReset(l.process.do("Drain", c))
}

func zkIgnoreReset(err error) error {
	if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// attempts has a client try to connect for a while.
func (l *zkLab) attempts(kind string, port uint16, d time.Duration) error {
	return l.ask(kind, zkOpen(port), fmt.Sprintf("wait %d", d.Milliseconds()), "close")
}

// goSession opens a session of the Go library, writes so many bytes and
// closes.
func (l *zkLab) goSession(port uint16, size int, d time.Duration) error {
	if err := l.process.goOpen(zkAddr(port)); err != nil {
		return err
	}
	if size >= 0 {
		// What is too much is refused by ending the connection, which is an
		// error of any kind to the library.
		if err := l.process.do("GoSet", ZKSetArgs{"/go", size}); err != nil && size < 1<<20 {
			return err
		}
	}
	time.Sleep(d)
	return l.process.do("GoClose", 0)
}

// goSessions opens sessions one after the other.
func (l *zkLab) goSessions(port uint16, n int) error {
	for range n {
		if err := l.process.goOpen(zkAddr(port)); err != nil {
			return err
		}
		time.Sleep(300 * time.Millisecond)
	}
	time.Sleep(time.Second)
	for range n {
		if err := l.process.do("GoClose", 0); err != nil {
			return err
		}
	}
	return nil
}

// cSession has the C library's shell connect, read a node and quit.
func (l *zkLab) cSession(port uint16, d time.Duration) error {
	p, err := l.shell(port)
	if err != nil {
		return err
	}
	defer p.Kill()
	if d > 0 {
		time.Sleep(d)
		return nil
	}
	if _, err := p.Await("Watcher SESSION_EVENT state = CONNECTED_STATE", 10*time.Second); err != nil {
		return err
	}
	for _, line := range []string{"ls /", "quit"} {
		if err := p.Say(line); err != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

// word sends what a shell command prints, and then does something.
func (l *zkLab) word(send, then string) error {
	script := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d && %s >&3; %s", zkHost, zkPort, send, then)
	err := l.bash(script + " >/dev/null")
	l.nudge(zkPort)
	return err
}

// abort sends bytes, reads so many and closes with SO_LINGER 0.
func (l *zkLab) abort(b []byte, read int) error {
	c, err := l.process.dial(zkAddr(zkPort))
	if err != nil {
		return err
	}
	if err := l.process.send(c, b, read); err != nil {
		return err
	}
	time.Sleep(20 * time.Millisecond)
	return l.process.do("Abort", c)
}

// late asks for a node and closes without reading its answer, or with.
func (l *zkLab) late(read int) error {
	c, err := l.session(zkAddr(zkPort))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	// An answer is 16 bytes of header, the length of the data and 68 bytes of
	// statistics, behind a length.
	err = l.process.send(c, lab.ZKGetData(1), read*(4+16+4+68))
	if read == 0 {
		// A server that finds the FIN behind the request throws the answer away:
		// close while the answer is on its way.
		time.Sleep(2 * time.Millisecond)
	}
	return err
}

// middlebox has the link reset a session in the middle.
func (l *zkLab) middlebox() error {
	c, err := l.session(zkAddr(zkPort))
	if err != nil {
		return err
	}
	defer l.process.close(c)
	l.link.Cut(c, zkAddr(zkPort))
	if err := l.process.send(c, lab.ZKGetData(1), 0); err != nil {
		return err
	}
	return zkIgnoreReset(l.process.send(c, lab.ZKGetData(2), 1))
}
