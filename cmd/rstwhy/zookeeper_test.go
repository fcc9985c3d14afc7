package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/lab"
)

// TestZooKeeper runs real ZooKeeper servers of two generations and checks what
// rstwhy says of the resets that they send.
func TestZooKeeper(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches and runs real ZooKeeper servers: left out by -short")
	}
	zkNeedRoot(t)
	var sites []*zkSite
	for _, release := range zkGenerations() {
		s := newZKSite(t, release)
		s.start(t, zkPortAlone, lab.ZKConfig{MaxConns: 60, NoQuorum: true})
		sites = append(sites, s)
	}
	for _, s := range sites {
		t.Run("correct clients/"+s.release.Suite, func(t *testing.T) { s.testCorrectClients(t) })
	}
	bin := buildTracer(t)
	t.Run("trace", func(t *testing.T) { zkTestTrace(t, bin, sites) })
	for _, s := range sites {
		t.Run("zk/"+s.release.Suite, func(t *testing.T) { s.testAsk(t, bin) })
	}
}

func zkNeedRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" || os.Getenv("RSTWHY_ROOT") == "1" {
		t.Fatal("needs root: it makes network namespaces and traces the kernel")
	}
	t.Skip("needs root: it makes network namespaces and traces the kernel (make test)")
}

// testCorrectClients is the control: what differs from a stimulus only by the
// client's mistake brings no reset. An unknown session id without operations
// behind it, and a four-letter word without a newline.
func (s *zkSite) testCorrectClients(t *testing.T) {
	for _, correct := range []zkStimulus{
		{name: "expired session", port: zkPort, send: lab.ZKPipelined(0)},
		{name: "four-letter word", port: zkPort, send: []byte("srvr")},
	} {
		for range zkRounds {
			c, err := lab.ZKDial(s.client, zkAddr(correct.port))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(correct.send); err != nil {
				t.Fatal(err)
			}
			answer, err := c.Drain()
			if err != nil || len(answer) == 0 {
				t.Errorf("%s: answer of %d bytes, %v", correct.name, len(answer), err)
			}
			if n := s.awaitRST(zkAttempt{client: c.Local, server: c.Remote}, correct); n > 0 {
				t.Errorf("%s: %d RSTs to a correct client", correct.name, n)
			}
			c.Close()
		}
	}
}

// zkTestTrace runs one tracer over all sites: their servers have the same
// addresses and ports, and differ by network namespace only.
func zkTestTrace(t *testing.T, bin string, sites []*zkSite) {
	begin := time.Now()
	tr := startZKTrace(t, bin, zkPort, zkPortAlone, zkPortLimited, zkPortDead)
	causes := make([]map[string]string, len(sites))
	for i, s := range sites {
		// The other servers are older than the tracer, this one is younger.
		s.start(t, zkPortLimited, lab.ZKConfig{MaxConns: 2})
		t.Run(s.release.Suite, func(t *testing.T) { causes[i] = s.testTrace(t, tr) })
	}
	t.Run("Java client", func(t *testing.T) { sites[0].testJavaClient(t, tr, sites[len(sites)-1]) })
	for _, s := range sites {
		t.Run("killed client/"+s.release.Suite, func(t *testing.T) { s.testKilledClient(t, tr) })
	}
	time.Sleep(time.Second) // the last records are held for their owner
	summary := tr.stop(t)

	zkCompareCauses(t, sites, causes)
	var probes uint64
	for _, s := range sites {
		probes += s.checkOwnProbes(t, tr, begin)
	}
	zkCheckSummary(t, summary, tr, probes)
	if t.Failed() {
		t.Logf("log of rstwhy:\n%s", &tr.stderr)
	}
}

// zkCompareCauses: the same stimulus has the same cause on every release. That
// different stimuli have different verdicts, and the same on every release,
// was checked against zkStimuli.
func zkCompareCauses(t *testing.T, sites []*zkSite, causes []map[string]string) {
	t.Helper()
	for _, st := range zkStimuli {
		t.Logf("%s: cause %s on %s, %s on %s", st.name, causes[0][st.name], sites[0].release.Version,
			causes[1][st.name], sites[1].release.Version)
		if st.again {
			continue // the bytes that were there at the close differ
		}
		if causes[0][st.name] != causes[1][st.name] || causes[0][st.name] == "" {
			t.Errorf("%s: cause %q on %s and %q on %s", st.name, causes[0][st.name], sites[0].release.Version,
				causes[1][st.name], sites[1].release.Version)
		}
	}
}

func zkCheckSummary(t *testing.T, sum event.Summary, tr *zkTrace, probes uint64) {
	t.Helper()
	a := sum.Account
	t.Logf("account: %+v; resets of own probes on the wire: %d", a, probes)
	if !a.Balanced() {
		t.Errorf("account does not balance: %+v", a)
	}
	if a.Lost != 0 {
		t.Errorf("%d resets lost: %+v", a.Lost, a)
	}
	if a.Delivered != uint64(len(tr.resets)) {
		t.Errorf("%d resets delivered by the account, %d printed", a.Delivered, len(tr.resets))
	}
	if a.Filtered < probes {
		t.Errorf("%d hits filtered, fewer than the %d resets of own probes", a.Filtered, probes)
	}
	for _, release := range zkGenerations() {
		found := false
		for _, s := range sum.Servers {
			found = found || s.Port == zkPort && strings.HasPrefix(s.Version, release.Version)
		}
		if !found {
			t.Errorf("the summary does not name a server with version %s: %+v", release.Version, sum.Servers)
		}
	}
}

// testAsk runs `rstwhy zk` on the client's host: it tells the version, and
// leaves no reset at a server that listens.
func (s *zkSite) testAsk(t *testing.T, bin string) {
	// envi tells the version even without a quorum, where no whitelist refuses
	// it: before 3.5.3, by default.
	without, limit := 1, "(maxClientCnxns) it did not tell"
	if strings.HasPrefix(s.release.Version, "3.4.") {
		without, limit = 0, "one client address may have 60 (maxClientCnxns)"
	}
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"serving", []string{zkAddr(zkPort).String()}, 0, s.release.Version},
		{"limit", []string{zkAddr(zkPort).String()}, 0, limit},
		{"no TLS hello to a plaintext port", []string{"--tls", zkAddr(zkPort).String()}, 0, s.release.Version},
		{"serving, JSON", []string{"-o", "json", zkAddr(zkPort).String()}, 0, `"` + s.release.Version},
		{"not serving", []string{"-o", "json", zkAddr(zkPortAlone).String()}, without, string(event.OutcomeNotServing)},
		{"dead port", []string{"-o", "json", zkAddr(zkPortDead).String()}, 1, string(event.OutcomeRefused)},
		{"one of two", []string{zkAddr(zkPort).String(), zkAddr(zkPortDead).String()}, 1, s.release.Version},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, log strings.Builder
			before, _ := s.link.AllRSTs()
			cmd := exec.Command(bin, append([]string{"zk"}, c.args...)...)
			cmd.Stdout, cmd.Stderr = &out, &log
			if err := s.client.Do(cmd.Start); err != nil {
				t.Fatal(err)
			}
			err := cmd.Wait()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := cmd.ProcessState.ExitCode(); got != c.status || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit status %d, want %d and %q in the output:\n%s%s", got, c.status, c.want, &out, &log)
			}
			time.Sleep(50 * time.Millisecond)
			after, _ := s.link.AllRSTs()
			for _, r := range after[len(before):] {
				if r.Src.Port() != zkPortDead {
					t.Errorf("asking left a reset: %s to %s", r.Src, r.Dst)
				}
			}
		})
	}
}

// zkGenerations are the oldest and the newest release.
func zkGenerations() []lab.ZKRelease {
	return []lab.ZKRelease{lab.ZKReleases[0], lab.ZKReleases[len(lab.ZKReleases)-1]}
}
