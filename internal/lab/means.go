package lab

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rules sets nftables rules in the network namespace of the bench.
func (b *Bench) rules(script string) {
	_, err := b.home.try("nft", -1, script)
	if err == nil {
		return
	}
	// What a kernel without the module, or a host without the program, says.
	for _, lack := range []string{exec.ErrNotFound.Error(), "Operation not supported", "No such file or directory"} {
		if strings.Contains(err.Error(), lack) {
			fail("%w: %w", ErrUnavailable, err)
		}
	}
	fail("%w", err)
}

// nft runs the program of that name, only in a network namespace of the lab's.
func nft(c *command) error {
	if err := ownNetwork("nft"); err != nil {
		return err
	}
	p := exec.Command("nft", "-f", "-")
	p.Stdin = strings.NewReader(c.Str)
	if out, err := p.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %.200s", err, out)
	}
	return nil
}

// md5 makes the socket ask for signatures of a peer (struct tcp_md5sig,
// include/uapi/linux/tcp.h).
func md5(c *command) error {
	peer, err := netip.ParseAddrPort(c.Str)
	if err != nil {
		return err
	}
	sig := unix.TCPMD5Sig{Keylen: 4, Key: [80]uint8{1, 2, 3, 4}}
	domain, err := unix.GetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return err
	}
	if domain == unix.AF_INET {
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&sig.Addr))
		a.Family, a.Addr = unix.AF_INET, peer.Addr().Unmap().As4()
	} else {
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&sig.Addr))
		a.Family, a.Addr = unix.AF_INET6, peer.Addr().As16()
	}
	return unix.SetsockoptTCPMD5Sig(c.FD, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &sig)
}

// The part of include/uapi/linux/userfaultfd.h that holds a page back.
const (
	uffdAPI      = 0xc018aa3f
	uffdRegister = 0xc020aa00
	uffdZeropage = 0xc020aa04
)

// sendSlowly sends a page that comes into being only after the first number of
// ms: meanwhile the process holds the socket's lock (net/ipv4/tcp.c:
// tcp_sendmsg copies under it).
func sendSlowly(c *command) error {
	const size = 4096
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return fmt.Errorf("userfaultfd: %w", errno)
	}
	defer unix.Close(int(fd))
	page, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer func() { _ = unix.Munmap(page) }()
	at := uint64(uintptr(unsafe.Pointer(&page[0])))
	ask := func(request uintptr, args *[4]uint64) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(args))); errno != 0 {
			return fmt.Errorf("userfaultfd: %w", errno)
		}
		return nil
	}
	if err := ask(uffdAPI, &[4]uint64{0xaa}); err != nil {
		return err
	}
	if err := ask(uffdRegister, &[4]uint64{at, size, 1}); err != nil { // UFFDIO_REGISTER_MODE_MISSING
		return err
	}
	done := make(chan error, 1)
	go func() {
		time.Sleep(time.Duration(c.num(0)) * time.Millisecond)
		done <- ask(uffdZeropage, &[4]uint64{at, size})
	}()
	err = unix.Send(c.FD, page, unix.MSG_NOSIGNAL)
	if e := <-done; e != nil {
		return e
	}
	return err
}

// forge sends an IP packet, given in hex, as a program with a raw socket can.
func forge(c *command) error {
	b, err := hex.DecodeString(c.Str)
	if err != nil || len(b) < 40 {
		return fmt.Errorf("forge: no packet: %w", err)
	}
	g, ok := parseSegment(b)
	if !ok {
		return fmt.Errorf("forge: no TCP segment")
	}
	family, sa := unix.AF_INET, unix.Sockaddr(nil)
	if g.to.Addr().Is6() {
		family, sa = unix.AF_INET6, &unix.SockaddrInet6{Addr: g.to.Addr().As16()}
	} else {
		sa = &unix.SockaddrInet4{Addr: g.to.Addr().As4()}
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, b, 0, sa)
}

// steal takes a copy of another process's descriptor (pidfd_getfd(2)); its first
// number is the pid.
func (w *worker) steal(c *command, _ []int) (reply, error) {
	pidfd, err := unix.PidfdOpen(c.num(0), 0)
	if err != nil {
		return reply{}, err
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, c.FD, 0)
	if err == nil {
		w.sockets[fd] = true
	}
	return reply{N: fd}, err
}

// mortal makes a signal end the process as it ends one that does not handle it,
// without a core.
func mortal(c *command) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	var action [4]uint64 // struct sigaction of the kernel: SIG_DFL, no flags, no mask
	const maskSize = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(c.num(0)), uintptr(unsafe.Pointer(&action)), 0, maskSize, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
