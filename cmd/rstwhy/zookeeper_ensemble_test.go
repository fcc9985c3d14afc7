package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"rstwhy/internal/lab"
)

// TestZooKeeperEnsemble runs ensembles of three under client load, kills the
// leader, restarts each member, moves a session, and looks whether every reset
// of it all is explained.
func TestZooKeeperEnsemble(t *testing.T) {
	if testing.Short() {
		t.Skip("fetches and runs real ZooKeeper servers: left out by -short")
	}
	zkNeedRoot(t)
	var ensembles []*zkEnsemble
	for _, release := range zkGenerations() {
		ensembles = append(ensembles, newZKEnsemble(t, release))
	}
	tr := startZKTrace(t, buildTracer(t), zkMemberPort(1), zkMemberPort(2), zkMemberPort(3))
	runs := make([][]zkCaseRun, len(ensembles))
	var wg sync.WaitGroup
	for i, e := range ensembles {
		wg.Go(func() { runs[i] = e.run(t, tr) })
	}
	wg.Wait()
	time.Sleep(time.Second)
	summary := tr.stop(t)
	if !summary.Account.Balanced() || summary.Account.Lost != 0 {
		t.Errorf("resets lost, or an account that does not balance: %+v", summary.Account)
	}
	all := append(runs[0], runs[1]...)
	zkJudge(t, all)
	section := zkEnsembleSection(all)
	t.Logf("\n%s", section)
	zkWriteRecords(t, all, ".ensemble")
	zkCheckExplained(t, all)
	zkWriteSection(t, section)
}

// zkEnsemble is three members: two on the server's host, one on the client's,
// so that what the members say to one another crosses the link, too.
type zkEnsemble struct {
	*zkLab
	configs [3]lab.ZKConfig
	members [3]*lab.ZKProcess
}

// zkMemberPort is the client port of a member; it talks to the others on
// 2888 and 3888, each with a digit of its own.
func zkMemberPort(n int) uint16 { return uint16(10260 + n) }

func zkMemberPorts(n int) (quorum, election uint16) { return uint16(2887 + n), uint16(3887 + n) }

func newZKEnsemble(t *testing.T, release lab.ZKRelease) *zkEnsemble {
	t.Helper()
	e := &zkEnsemble{zkLab: &zkLab{zkSite: newZKHosts(t, release)}}
	e.prepare(t)
	hosts := [3]netip.Addr{zkHost, zkHost, zkClientHost}
	var lines strings.Builder
	for i, host := range hosts {
		quorum, election := zkMemberPorts(i + 1)
		fmt.Fprintf(&lines, "server.%d=%s:%d:%d\n", i+1, host, quorum, election)
	}
	for i, host := range hosts {
		e.configs[i] = lab.ZKConfig{NS: e.server, Addr: netip.AddrPortFrom(host, zkMemberPort(i+1)),
			Dir: t.TempDir(), MaxConns: 60, MyID: i + 1, Lines: lines.String()}
		if host == zkClientHost {
			e.configs[i].NS = e.client
		}
	}
	if err := e.startAll(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range e.members {
			m.Stop()
		}
	})
	return e
}

func (e *zkEnsemble) startAll() error {
	for i := range e.members {
		if err := e.startMember(i); err != nil {
			return err
		}
	}
	return e.awaitServing(0, 1, 2)
}

func (e *zkEnsemble) startMember(i int) (err error) {
	e.members[i], err = e.release.Start(context.Background(), e.jars, e.configs[i])
	return err
}

// awaitServing waits until the members have a mode: leader or follower.
func (e *zkEnsemble) awaitServing(members ...int) error {
	deadline := time.Now().Add(60 * time.Second)
	for _, i := range members {
		for e.mode(i) == "" {
			if time.Now().After(deadline) {
				return fmt.Errorf("member %d of the ensemble of %s does not serve", i+1, e.release.Suite)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// mode asks a member on its own host, where no link can show a reset.
func (e *zkEnsemble) mode(i int) string {
	answer, err := lab.ZKWord(e.configs[i].NS, e.configs[i].Addr, "srvr")
	if err != nil {
		return ""
	}
	_, rest, _ := bytes.Cut(answer, []byte("Mode: "))
	mode, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(mode)
}

func (e *zkEnsemble) leader() (int, error) {
	for i := range e.members {
		if e.mode(i) == "leader" {
			return i, nil
		}
	}
	return 0, errors.New("no leader")
}

func (e *zkEnsemble) connectString() string {
	var all []string
	for _, c := range e.configs {
		all = append(all, c.Addr.String())
	}
	return strings.Join(all, ",")
}

// run does one thing after the other, with clients at work all the time.
func (e *zkEnsemble) run(t *testing.T, tr *zkTrace) (runs []zkCaseRun) {
	for _, kind := range []string{"nio", "python"} {
		if err := e.ask(kind, "open "+e.connectString()+" 6000"); err != nil {
			t.Error(err)
			return nil
		}
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { e.load(stop) })
	defer load.Wait()
	defer close(stop)
	for _, c := range []zkCase{
		{name: "session moved with requests behind it, Java NIO client", sign: "S9", tries: 5, server: "zookeeper-session-moved|zookeeper-late-client-data",
			run: func(*zkLab) error { return e.moveSession() }},
		{name: "leader killed", sign: "S12 C4", near: "zookeeper-1702",
			run: func(*zkLab) error { return e.killLeader() }},
		{name: "rolling restart", sign: "S12 C4", near: "zookeeper-1702",
			run: func(*zkLab) error { return e.rollingRestart() }},
	} {
		run := zkCaseRun{zkCase: c, release: e.release.Version}
		for len(run.server)+len(run.client) == 0 && run.tries < max(1, c.tries) {
			run.tries++
			begin := time.Now()
			if err := c.run(e.zkLab); err != nil {
				t.Errorf("%s, %s: %v", e.release.Suite, c.name, err)
			}
			time.Sleep(800 * time.Millisecond)
			run.server, run.client = tr.after(e.server, begin), tr.after(e.client, begin)
			run.wire += e.rstsSince(begin)
		}
		runs = append(runs, run)
	}
	return runs
}

// load keeps two clients asking. A line that a client cannot take is no loss.
func (e *zkEnsemble) load(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
			_ = e.clients["nio"].Say("gets 20 /zookeeper")
			_ = e.clients["python"].Say("gets 20 /zookeeper")
		}
	}
}

// moveSession renews a session at another member, and goes on asking the first.
func (e *zkEnsemble) moveSession() error {
	a, err := e.newClient("nio")
	if err != nil {
		return err
	}
	defer a.Kill()
	b, err := e.newClient("nio")
	if err != nil {
		return err
	}
	defer b.Kill()
	// Over the link, where a request can be on its way.
	for _, c := range []string{fmt.Sprintf("open %s 6000", e.configs[0].Addr), "get /"} {
		if _, err := a.Ask(c); err != nil {
			return err
		}
	}
	session, err := a.Ask("session")
	if err != nil {
		return err
	}
	if _, err := b.Ask(fmt.Sprintf("renew %s 6000 %s 0", e.configs[1].Addr, session)); err != nil {
		return err
	}
	if _, err := b.Ask("get /"); err != nil {
		return err
	}
	if _, err := a.Ask("sets 500 / 10"); err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond)
	_, _ = lab.ZKWord(e.client, e.configs[0].Addr, "srvr") // as in awaitRST
	time.Sleep(100 * time.Millisecond)
	return nil
}

func (e *zkEnsemble) killLeader() error {
	i, err := e.leader()
	if err != nil {
		return err
	}
	e.members[i].Kill()
	if err := e.awaitServing((i+1)%3, (i+2)%3); err != nil {
		return err
	}
	time.Sleep(time.Second)
	if err := e.startMember(i); err != nil {
		return err
	}
	return e.awaitServing(i)
}

func (e *zkEnsemble) rollingRestart() error {
	for i := range e.members {
		e.members[i].Stop()
		time.Sleep(time.Second)
		if err := e.startMember(i); err != nil {
			return err
		}
		if err := e.awaitServing(0, 1, 2); err != nil {
			return err
		}
	}
	return nil
}
