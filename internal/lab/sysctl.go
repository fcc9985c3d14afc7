package lab

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// numbers gives what the socket sends and expects next, through repair mode.
func (w *worker) numbers(c *command, _ []int) (reply, error) {
	set := func(option, v int) error { return unix.SetsockoptInt(c.FD, unix.IPPROTO_TCP, option, v) }
	if err := set(unix.TCP_REPAIR, 1); err != nil {
		return reply{}, err
	}
	var n [2]int
	for i, queue := range []int{2, 1} { // TCP_SEND_QUEUE, TCP_RECV_QUEUE
		err := set(unix.TCP_REPAIR_QUEUE, queue)
		if err == nil {
			n[i], err = unix.GetsockoptInt(c.FD, unix.IPPROTO_TCP, unix.TCP_QUEUE_SEQ)
		}
		if err != nil {
			return reply{}, err
		}
	}
	return reply{Str: fmt.Sprint(uint32(n[0]), " ", uint32(n[1]))}, set(unix.TCP_REPAIR, -1)
}

// writeSysctl sets "path value" below /proc/sys/net of the worker's network
// namespace; in the initial one it refuses.
func writeSysctl(c *command) error {
	path, value, _ := strings.Cut(c.Str, " ")
	if err := ownNetwork("sysctl " + path); err != nil {
		return err
	}
	return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0)
}

// ownNetwork refuses where the worker is in the network namespace of the process
// that started it.
func ownNetwork(what string) error {
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return err
	}
	parent, err := os.Readlink("/proc/" + strconv.Itoa(os.Getppid()) + "/ns/net")
	if err != nil {
		return err
	}
	if here == parent {
		return fmt.Errorf("%s: the lab changes nothing outside a network namespace of its own", what)
	}
	return nil
}
