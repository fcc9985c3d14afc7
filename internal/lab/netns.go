package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// holder gives the process that holds a network namespace of the lab's, making
// both at first use. In these namespaces an overflowing backlog answers with a
// reset, which one scenario wants and no other provokes.
func (l *Lab) holder(name string) *Worker {
	comm := l.comm("net")
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.holderLocked(name, comm)
}

func (l *Lab) holderLocked(name, comm string) *Worker {
	if w := l.inits[name]; w != nil {
		return w
	}
	w, err := start(context.Background(), comm, true)
	if err != nil {
		fail("network namespace: %w", err)
	}
	w.doStr("up", -1, "lo")
	w.doStr("sysctl", -1, "ipv4/tcp_abort_on_overflow 1")
	l.steer(w, "lo")
	l.inits[name] = w
	return w
}

// vethPair gives the holders of two namespaces joined by a veth pair.
func (l *Lab) vethPair() (left, right *Worker) {
	one, two := l.comm("net"), l.comm("net")
	l.mu.Lock()
	defer l.mu.Unlock()
	if left, right = l.inits["left"], l.inits["right"]; left != nil && right != nil {
		return left, right
	}
	left, right = l.holderLocked("left", one), l.holderLocked("right", two)
	left.Addr, right.Addr = "192.0.2.1", "192.0.2.2" // TEST-NET-1, RFC 5737
	left.do("veth", -1, right.PID)
	left.doStr("up", -1, "lab0")
	right.doStr("up", -1, "lab1")
	for w, device := range map[*Worker]string{left: "lab0", right: "lab1"} {
		l.steer(w, device)
		w.doStr("address", -1, device+" "+w.Addr+"/24")
		w.doStr("address", -1, device+" "+vethIPv6[w.Addr]+"/64")
	}
	return left, right
}

// keptNamespaces is how many of the latest namespaces the lab keeps open.
const keptNamespaces = 64

// keep holds a namespace open for a while after its scenario, because the kernel
// gives its number to the next one at once, and what a tracer knows of a number
// (does conntrack work there? how many resets were sent?) is a few seconds old. On
// a host namespaces come and go more slowly.
func (l *Lab) keep(pid int) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		fail("keep a network namespace: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept = append(l.kept, f); len(l.kept) > keptNamespaces {
		l.kept[0].Close()
		l.kept = l.kept[1:]
	}
}

func (l *Lab) steer(w *Worker, device string) {
	if l.Steer {
		_, _ = w.try("steer", -1, device) // a kernel without RPS has no such file
	}
}

// steer lets the packets of a device be handled on all CPUs
// (Documentation/networking/scaling.rst). The file is in a sysfs of this network
// namespace, which only a thread with mounts of its own sees, and ends with it.
func steer(c *command) error {
	if err := ownNetwork("steer"); err != nil {
		return err
	}
	return linkThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return err
		}
		all := fmt.Sprintf("%x", uint64(1)<<min(runtime.NumCPU(), 32)-1)
		return os.WriteFile("/sys/class/net/"+c.Str+"/queues/rx-0/rps_cpus", []byte(all), 0)
	})
}

// vethIPv6 gives the other address of an end of the veth pair (documentation
// prefix, RFC 3849).
var vethIPv6 = map[string]string{"192.0.2.1": "2001:db8::1", "192.0.2.2": "2001:db8::2"}

// ownHome makes a network namespace for this bench alone, in which the processes
// that it starts from now on live, on loopback. Sysctls and firewall rules can
// be set there.
func (b *Bench) ownHome(flags ...int) *Worker {
	holder := b.lab.holder("one")
	w := b.spawnFrom(holder, b.lab.comm("home"), -1, append(flags, unix.CLONE_NEWNET)...)
	w.Addr = map[Place]string{IPv6: "::1", Veth6: "::1"}[b.place]
	if w.Addr == "" {
		w.Addr = "127.0.0.1"
	}
	b.lab.keep(w.PID)
	w.doStr("up", -1, "lo")
	b.home, b.private = w, append(b.private, w)
	return w
}

func (l *Lab) holderOf(netns uint32) *Worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.inits {
		if w.NetNS == netns {
			return w
		}
	}
	return nil
}

// linkUp sets an interface up.
func linkUp(name string) error {
	return interfaceRequest(name, func(fd int, r *unix.Ifreq) error {
		if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, r); err != nil {
			return err
		}
		r.SetUint16(r.Uint16() | unix.IFF_UP)
		return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
	})
}

// linkAddress gives an interface an address: "name address/bits". An IPv6
// address counts at once (IFA_F_NODAD: no duplicate address detection).
func linkAddress(s string) error {
	name, address, _ := strings.Cut(s, " ")
	p, err := netip.ParsePrefix(address)
	if err != nil {
		return err
	}
	device, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	family := byte(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	body := []byte{family, byte(p.Bits()), unix.IFA_F_NODAD, unix.RT_SCOPE_UNIVERSE} // struct ifaddrmsg
	body = binary.NativeEndian.AppendUint32(body, uint32(device.Index))
	body = append(body, attribute(unix.IFA_LOCAL, p.Addr().AsSlice())...)
	body = append(body, attribute(unix.IFA_ADDRESS, p.Addr().AsSlice())...)
	if err := netlinkRequest(unix.NETLINK_ROUTE, unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body); err != nil {
		return fmt.Errorf("address %s of %s: %w", address, name, err)
	}
	return nil
}

func interfaceRequest(name string, f func(int, *unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := f(fd, r); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// attribute is one netlink attribute (include/uapi/linux/netlink.h), padded.
func attribute(kind uint16, data []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(data)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), data...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// makeVeth makes a veth pair whose far end lies in the network namespace of a
// process (rtnetlink(7); VETH_INFO_PEER in include/uapi/linux/veth.h is 1).
func makeVeth(near, far string, pid int) error {
	const vethInfoPeer = 1
	header := make([]byte, unix.SizeofIfInfomsg)
	peer := append(header[:len(header):len(header)], attribute(unix.IFLA_IFNAME, append([]byte(far), 0))...)
	peer = append(peer, attribute(unix.IFLA_NET_NS_PID, binary.NativeEndian.AppendUint32(nil, uint32(pid)))...)
	info := append(attribute(unix.IFLA_INFO_KIND, []byte("veth")),
		attribute(unix.IFLA_INFO_DATA, attribute(vethInfoPeer, peer))...)
	body := append(header[:len(header):len(header)], attribute(unix.IFLA_IFNAME, append([]byte(near), 0))...)
	body = append(body, attribute(unix.IFLA_LINKINFO, info)...)
	if err := netlinkRequest(unix.NETLINK_ROUTE, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body); err != nil {
		return fmt.Errorf("make veth pair: %w", err)
	}
	return nil
}

// netlinkRequest sends one request and waits for its acknowledgement.
func netlinkRequest(protocol, kind, flags int, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	m = binary.NativeEndian.AppendUint16(m, uint16(kind))
	m = binary.NativeEndian.AppendUint16(m, uint16(flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK))
	m = append(m, make([]byte, 8)...) // sequence number and port: any
	if err := unix.Sendto(fd, append(m, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 8<<10)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("netlink: answer of %d bytes is no acknowledgement", n)
	}
	if errno := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}
