package netns

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

// heldMax bounds what is read of each table of sockets: some 200,000 lines.
const heldMax = 32 << 20

// held are the states of a client's socket in which its server may still count
// the connection (include/net/tcp_states.h, as proc_pid_net(5) writes them):
// ESTABLISHED, SYN_SENT, FIN_WAIT1, FIN_WAIT2 and CLOSE_WAIT.
const held = " 01 02 04 05 08 "

// Connections counts the connections that the namespace has to an endpoint. The
// path leads to the namespace as for Enter. whole is false where the tables are
// so long that there may be more. They are read as text: asking by sock_diag
// could load a kernel module.
func Connections(netns uint32, path string, to netip.AddrPort) (n int, whole bool, err error) {
	whole = true
	err = Enter(netns, path, func() error {
		for name, want := range procEndpoints(to) {
			f, err := os.Open("/proc/thread-self/net/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // no IPv6
			}
			if err != nil {
				return fmt.Errorf("count connections: %w", err)
			}
			limited := &io.LimitedReader{R: f, N: heldMax}
			n += countHeld(limited, want)
			f.Close()
			whole = whole && limited.N > 0
		}
		return nil
	})
	return n, whole && err == nil, err
}

// procEndpoints is the endpoint as /proc/net/tcp and tcp6 write it: each 32 bits
// of the address as a number of the host's byte order, in hexadecimal.
func procEndpoints(to netip.AddrPort) map[string]string {
	word := func(b []byte) string { return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b)) }
	port := fmt.Sprintf(":%04X", to.Port())
	ip := to.Addr().Unmap()
	mapped := ip.As16()
	six := ""
	for i := 0; i < 16; i += 4 {
		six += word(mapped[i : i+4])
	}
	tables := map[string]string{"tcp6": six + port}
	if ip.Is4() {
		four := ip.As4()
		tables["tcp"] = word(four[:]) + port
	}
	return tables
}

func countHeld(table io.Reader, remote string) (n int) {
	s := bufio.NewScanner(table)
	for s.Scan() {
		// sl, local, remote, state
		f := strings.SplitN(strings.TrimLeft(s.Text(), " "), " ", 5)
		if len(f) == 5 && f[2] == remote && strings.Contains(held, " "+f[3]+" ") {
			n++
		}
	}
	return n
}
