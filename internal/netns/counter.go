package netns

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// rule says how a counter stands to what the hooks saw.
type rule int

const (
	exact   rule = iota // each hit of the send hook counts once
	atLeast             // what was seen must have counted, and other things count too
	alone               // only the counter knows
)

// counter is one of the kernel's, and what makes it grow. The functions are
// those of Linux 6.18.
type counter struct {
	group string // line of /proc/net/snmp or /proc/net/netstat
	name  string
	rule  rule
	also  string // what else it counts, or what only it can tell
	where string
}

// counters in the order in which they are reported.
var counters = [...]counter{
	{
		"Tcp", "OutRsts", exact, "",
		"net/ipv4/tcp_output.c: tcp_send_active_reset; net/ipv4/tcp_ipv4.c: tcp_v4_send_reset; net/ipv6/tcp_ipv6.c: tcp_v6_send_response; " +
			"not net/ipv4/netfilter/nf_reject_ipv4.c: nf_send_reset",
	},
	{
		"Tcp", "EstabResets", atLeast, "it also counts connections that timed out without a reset",
		"net/ipv4/tcp.c: tcp_set_state (ESTABLISHED or CLOSE_WAIT to CLOSE)",
	},
	{
		"Tcp", "AttemptFails", atLeast, "it also counts connection attempts that timed out or were closed, and requests that a RST or SYN ended",
		"net/ipv4/tcp.c: tcp_done (SYN_SENT, SYN_RECV); net/ipv4/tcp_minisocks.c: tcp_check_req",
	},
	{
		"TcpExt", "EmbryonicRsts", atLeast, "each is a connection request that a RST or SYN ended, or that found the accept queue full",
		"net/ipv4/tcp_minisocks.c: tcp_check_req (embryonic_reset)",
	},
	{
		"TcpExt", "TCPAbortOnClose", atLeast, "it also counts Multipath TCP's", "net/ipv4/tcp.c: __tcp_close (data_was_unread)",
	},
	{
		"TcpExt", "TCPAbortOnData", atLeast, "it also counts closes with SO_LINGER 0 that needed no RST, such as of an attempt that had no answer yet",
		"net/ipv4/tcp.c: __tcp_close (SO_LINGER 0); net/ipv4/tcp_input.c: tcp_rcv_state_process",
	},
	{"TcpExt", "TCPAbortOnLinger", atLeast, "it also counts Multipath TCP's", "net/ipv4/tcp.c: __tcp_close (TCP_LINGER2)"},
	{
		"TcpExt", "TCPAbortOnMemory", atLeast, "it also counts closed connections that were dropped without a RST",
		"net/ipv4/tcp.c: __tcp_close; net/ipv4/tcp_timer.c: tcp_out_of_resources",
	},
	{
		"TcpExt", "TCPAbortOnTimeout", atLeast, "it also counts connections that timed out without a reset",
		"net/ipv4/tcp_timer.c: tcp_write_err",
	},
	{
		"TcpExt", "TCPAbortFailed", alone, "so many resets could not be made or sent for want of memory or route; those that could not be made have no event",
		"net/ipv4/tcp_output.c: tcp_send_active_reset",
	},
	{
		"TcpExt", "TCPChallengeACK", alone, "so many RSTs and SYNs did not fit the connection and were answered with a question (challenge ACK, RFC 5961); for SYNs there is no event",
		"net/ipv4/tcp_input.c: tcp_send_challenge_ack",
	},
	{
		"TcpExt", "TCPSYNChallenge", alone, "so many SYNs came for open connections (RFC 5961); there is no event",
		"net/ipv4/tcp_input.c: tcp_validate_incoming",
	},
	{
		"TcpExt", "TCPACKSkippedChallenge", alone, "so many challenge ACKs were not sent because of their rate limit",
		"net/ipv4/tcp_input.c: __tcp_oow_rate_limited",
	},
	{"TcpExt", "TCPMD5NotFound", alone, "so many segments, RSTs among them, lacked the MD5 signature that the socket asks for", "net/ipv4/tcp.c: tcp_inbound_md5_hash"},
	{"TcpExt", "TCPMD5Unexpected", alone, "so many segments, RSTs among them, had an MD5 signature that the socket does not expect", "net/ipv4/tcp.c: tcp_inbound_md5_hash"},
	{"TcpExt", "TCPMD5Failure", alone, "so many segments, RSTs among them, had a wrong MD5 signature", "net/ipv4/tcp.c: tcp_inbound_md5_hash"},
	{"Tcp", "InCsumErrors", alone, "so many segments, RSTs among them, had a wrong checksum", "net/ipv4/tcp_ipv4.c: tcp_v4_rcv"},
}

// values are the counters of one namespace at one time, in the order of the
// table. A kernel that lacks one leaves it 0, where it stays.
type values [len(counters)]uint64

var errCounters = errors.New("counters not read")

// identity tells a namespace from a later one of its number, which is used again
// soon.
type identity struct {
	since uint64 // when a process in it started, in the unit of Spaces.now; 0: none led there
	// made is when the kernel made the inode that shows the namespace, by the
	// wall clock. A mount or a descriptor of it keeps that inode, and with it the
	// namespace; without one each look makes another inode.
	made int64
}

// read takes the counters of a namespace by whatever way leads there.
func (s *Spaces) read(netns uint32, out *values) (id identity, err error) {
	s.mu.Lock()
	var pids []uint32
	if sp := s.spaces[netns]; sp != nil {
		pids = slices.Clone(sp.pids)
	}
	s.mu.Unlock()
	err = errCounters
	for _, pid := range pids {
		id.since = s.started(pid)
		if id.made, err = readProcess(s.proc+"/"+strconv.FormatUint(uint64(pid), 10), netns, out); err == nil {
			return id, nil
		}
		s.drop(netns, pid)
	}
	// A namespace without a process: the thread that enters it shows it.
	id.since = 0
	entered := s.Enter(netns, func() error {
		var err error
		id.made, err = readProcess("/proc/thread-self", netns, out)
		return err
	})
	if entered != nil {
		return identity{}, also(err, entered)
	}
	return id, nil
}

// readProcess reads the two files. A pid can be reused and a process can move,
// so the namespace is compared before and after. made is of identity.
func readProcess(dir string, netns uint32, out *values) (made int64, _ error) {
	there := func() (int64, error) {
		now, made, err := look(dir + "/ns/net")
		if err != nil || now != netns {
			return 0, fmt.Errorf("%w: %s is not in namespace %d", errCounters, dir, netns)
		}
		return made, nil
	}
	made, err := there()
	if err != nil {
		return 0, err
	}
	var v values
	for _, file := range []string{"/net/snmp", "/net/netstat"} {
		b, err := readWhole(dir + file)
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errCounters, err)
		}
		if err := parse(b, &v); err != nil {
			return 0, fmt.Errorf("%w: %s%s: %w", errCounters, dir, file, err)
		}
	}
	if _, err := there(); err != nil {
		return 0, err
	}
	*out = v
	return made, nil
}

// fileMax bounds a file of counters; a kernel's are below 8 KB.
const fileMax = 64 << 10

func readWhole(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	b := make([]byte, 0, 8<<10)
	for len(b) < fileMax {
		if len(b) == cap(b) {
			b = append(b, make([]byte, len(b))...)[:len(b)]
		}
		n, err := unix.Read(fd, b[len(b):cap(b)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return b, nil
		}
		b = b[:len(b)+n]
	}
	return nil, fmt.Errorf("%s is longer than %d bytes", path, fileMax)
}

// parse takes pairs of lines: the names of a group, then their values.
func parse(b []byte, out *values) error {
	for len(b) > 0 {
		var names, numbers []byte
		names, b, _ = bytes.Cut(b, []byte{'\n'})
		numbers, b, _ = bytes.Cut(b, []byte{'\n'})
		group, rest, ok := bytes.Cut(names, []byte{':'})
		group2, rest2, ok2 := bytes.Cut(numbers, []byte{':'})
		if !ok || !ok2 || !bytes.Equal(group, group2) {
			return fmt.Errorf("line %.20q is not followed by its values", names)
		}
		if string(group) != "Tcp" && string(group) != "TcpExt" {
			continue
		}
		n, v := bytes.Fields(rest), bytes.Fields(rest2)
		if len(n) != len(v) {
			return fmt.Errorf("%s has %d names and %d values", group, len(n), len(v))
		}
		for i := range n {
			at := slot(group, n[i])
			if at < 0 {
				continue
			}
			x, err := strconv.ParseUint(string(v[i]), 10, 64)
			if err != nil {
				return fmt.Errorf("%s: %w", n[i], err)
			}
			out[at] = x
		}
	}
	return nil
}

func slot(group, name []byte) int {
	for i := range counters {
		if counters[i].name == string(name) && counters[i].group == string(group) {
			return i
		}
	}
	return -1
}
