package lab

import (
	"encoding/binary"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// discard is a port that the rule of the dropping loads is about.
const discard = 9

// dropAll makes a rule of this namespace's own that drops what the load sends.
func (l *loader) dropAll(kind LoadKind) {
	rules := exec.Command("nft", "-f", "-")
	rules.Stdin = strings.NewReader("table inet lab { chain drops { type filter hook input priority 0; udp dport 9 drop; tcp dport 9 drop; }; }")
	if out, err := rules.CombinedOutput(); err != nil {
		fail("nft: %w: %s", err, out)
	}
	var err error
	if kind == Dropped {
		l.conn[0], err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		must("socket", err)
		return
	}
	l.conn[0], err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	must("raw socket", err)
	// A segment of an established connection: ACK, no data. Its checksum does
	// not matter where a rule drops it.
	h := l.msg[:20]
	binary.BigEndian.PutUint16(h[0:], LoadPort)
	binary.BigEndian.PutUint16(h[2:], discard)
	h[12], h[13] = 5<<4, 1<<4
}

func (l *loader) dropUDP() {
	l.drop(l.msg, &unix.SockaddrInet4{Port: discard, Addr: [4]byte{127, 0, 0, 1}})
}

func (l *loader) dropTCP() { l.drop(l.msg[:20], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) }

// drop stays below the rate at which rstwhy takes its hook away.
func (l *loader) drop(b []byte, to unix.Sockaddr) {
	must("sendto", unix.Sendto(l.conn[0], b, 0, to))
	if l.n++; l.n%64 == 0 {
		time.Sleep(2 * time.Millisecond)
	}
}
