package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/event"
)

const dialEnv = "RSTWHY_TEST_DIAL"

// TestContainerChild is no test: it is the process in the container. It
// connects to the first address, which must work, and at each line of its input
// to the second, which is refused.
func TestContainerChild(t *testing.T) {
	open, closed, ok := strings.Cut(os.Getenv(dialEnv), " ")
	if !ok {
		t.Skip("only as a child of TestTraceContainer")
	}
	c, err := net.Dial("tcp", open)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Println("connected")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		if c, err := net.Dial("tcp", closed); err == nil {
			c.Close()
		}
		fmt.Println("refused")
	}
}

// containerCgroup makes a cgroup as Docker's systemd driver does. Where cgroup v2
// is not writable, the test is skipped.
func containerCgroup(t *testing.T) (dir, id string) {
	t.Helper()
	mount := ""
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		if unix.Statfs(at, &fs) == nil && fs.Type == unix.CGROUP2_SUPER_MAGIC {
			mount = at
		}
	}
	if mount == "" {
		t.Skip("no cgroup v2 here")
	}
	id = fmt.Sprintf("%016x", os.Getpid()) + strings.Repeat("0123456789abcdef", 3)
	dir = filepath.Join(mount, "docker-"+id+".scope")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("cannot make a cgroup: ", err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // gone already where the test went well
	return dir, id
}

// child starts this test binary inside the cgroup.
type child struct {
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startChild(t *testing.T, cgroup, open, closed string) *child {
	t.Helper()
	group, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer group.Close()
	c := &child{cmd: exec.Command(os.Args[0], "-test.run", "^TestContainerChild$", "-test.v")}
	c.cmd.Env = append(os.Environ(), dialEnv+"="+open+" "+closed)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd()), Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *child) expect(t *testing.T, want string) {
	t.Helper()
	for {
		line, err := c.out.ReadString('\n')
		if err != nil {
			t.Fatalf("the child did not say %q: %v", want, err)
		}
		if strings.TrimSpace(line) == want {
			return
		}
	}
}

// TestTraceContainer: a process in a container is refused a connection; then it
// is killed, its container goes, and the peer's late data draws a reset.
func TestTraceContainer(t *testing.T) {
	if testing.Short() {
		t.Skip("traces the kernel: left out by -short")
	}
	zkNeedRoot(t)
	bin, addr := cliBin(t), cliAddr()
	cgroup, id := containerCgroup(t)
	closed := closedPort(t, addr)
	l, err := net.Listen("tcp", net.JoinHostPort(addr, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refused, answered, late, lateIn := "received connect-refused", "sent closed-port", "sent late", "received late"
	all := []string{answered, late, lateIn, refused}
	in, out := []string{late, refused}, []string{answered, lateIn}
	unit := "docker-" + id + ".scope"
	cases := []struct {
		args []string
		want []string
	}{
		{nil, all},
		{[]string{"--container", id}, in},
		{[]string{"--container", "!" + id[:12]}, out},
		{[]string{"--unit", unit, "--cause", "!connect-refused"}, []string{late}},
		{[]string{"--netns", "pid:" + fmt.Sprint(os.Getpid()), "--cause", "connect-refused"}, []string{refused}},
		{[]string{"--netns", "!/proc/self/ns/net"}, nil},
		// These run on the recording only.
		{[]string{"--container", id}, in},
		{[]string{"--container", strings.ToUpper(id)}, in},
		{[]string{"--container", id[:12], "--container", "none"}, in},
		{[]string{"--container", id[:3]}, nil},
		{[]string{"--container", "!" + id[:12]}, out},
		{[]string{"--unit", unit}, in},
		{[]string{"--unit", "!" + unit}, out},
		{[]string{"--pod", "none"}, nil},
		{[]string{"--pod", "!none"}, all},
		{[]string{"--netns", fmt.Sprint(ownNetNS(t))}, all},
		{[]string{"--netns", "!" + fmt.Sprint(ownNetNS(t))}, nil},
		{[]string{"--cause", "!connect-refused,!closed-port"}, []string{late, lateIn}},
		{[]string{"--verdict", "zookeeper-1702"}, nil},
		{[]string{"--comm", "!none"}, all},
		{nil, all},
	}
	const live = 6
	recording := filepath.Join(t.TempDir(), "a.rec")
	runs := make([]*cliRun, live)
	for i, c := range cases[:live] {
		runs[i] = cliCommand(bin, append([]string{"trace", "-o", "json", "--addr", addr}, c.args...)...)
		if i == 0 {
			runs[i].cmd.Args = append(runs[i].cmd.Args, "--record", recording)
		}
		runs[i].start(t)
	}
	containerStory(t, startChild(t, cgroup, l.Addr().String(), net.JoinHostPort(addr, fmt.Sprint(closed))), l, cgroup)
	for _, r := range runs {
		r.stop(t, os.Interrupt)
	}
	for i, c := range cases {
		what := "trace " + strings.Join(c.args, " ")
		r := cliCommand(bin, append([]string{"trace", "-o", "json", "--replay", recording}, c.args...)...)
		if i < live {
			r = runs[i]
		} else if status := r.run(t); status != exitOK {
			t.Fatalf("%s, of the recording: status %d\n%s", what, status, &r.stderr)
		}
		resets, _ := r.lines(t)
		checkContainer(t, what, resets, id, c.want)
	}
}

// containerStory plays it.
func containerStory(t *testing.T, c *child, l net.Listener, cgroup string) {
	t.Helper()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c.expect(t, "connected")
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		t.Fatal(err)
	}
	c.expect(t, "refused")
	time.Sleep(300 * time.Millisecond) // so that the tracers have heard of it, busy as the machine may be
	c.kill()
	for range 100 {
		if err = os.Remove(cgroup); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond) // the cgroup is busy until its last task is reaped
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
}

func checkContainer(t *testing.T, what string, resets []event.Reset, id string, want []string) {
	t.Helper()
	var got []string
	for _, r := range resets {
		name := string(r.Direction) + " " + r.Cause
		if r.Cause != "connect-refused" && r.Cause != "closed-port" {
			name = string(r.Direction) + " late"
		}
		got = append(got, name)
		inside := name == "received connect-refused" || name == "sent late"
		switch {
		case inside && r.Owner == nil:
			t.Errorf("%s: %s (%s) has no owner", what, name, r.Cause)
		case inside && (r.Owner.ContainerID != id || r.Owner.ContainerRuntime != "docker" || r.Owner.Unit != "docker-"+id+".scope"):
			t.Errorf("%s: the owner of %s is %+v", what, name, *r.Owner)
		case !inside && r.Owner != nil && r.Owner.ContainerID == id:
			t.Errorf("%s: %s is said to be the container's: %+v", what, name, *r.Owner)
		}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s printed %q, want %q", what, got, want)
	}
}
