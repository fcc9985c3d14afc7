package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// Stimuli in which a process is stopped or killed.

// flooded gives a new client with a session of two seconds that has been
// stopped while big answers come.
func (l *zkLab) flooded(kind string) (p *lab.ZKProcess, err error) {
	if err := l.ask("nio", zkOpen(zkPort), "create /big 0", "set /big 500000", "close"); err != nil {
		return nil, err
	}
	for range 3 { // it may have read everything before it was stopped
		if p, err = l.newClient(kind); err != nil {
			return nil, err
		}
		if err = l.flood(p); err == nil {
			return p, nil
		}
		p.Kill()
	}
	return nil, err
}

func (l *zkLab) flood(p *lab.ZKProcess) error {
	for _, c := range []string{fmt.Sprintf("open %s 2000", zkAddr(zkPort)), "get /zookeeper"} {
		if _, err := p.Ask(c); err != nil {
			return err
		}
	}
	if err := p.Say("gets 40 /big"); err != nil {
		return err
	}
	if err := zkAwaitQueue(p.PID(), zkPort, 1); err != nil {
		return err
	}
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	return zkAwaitQueue(p.PID(), zkPort, 50_000)
}

// stop stops a client while answers come, and kills it or lets it go on after
// its session has ended.
func (l *zkLab) stop(kind string, sig syscall.Signal) error {
	p, err := l.flooded(kind)
	if err != nil {
		return err
	}
	defer p.Kill()
	if sig == unix.SIGCONT {
		time.Sleep(4 * time.Second)
		if err := p.Signal(sig); err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		_, err := p.Ask("close")
		return err
	}
	p.Kill()
	return nil
}

// killIdle kills a client that has read everything.
func (l *zkLab) killIdle(kind string) error {
	p, err := l.newClient(kind)
	if err != nil {
		return err
	}
	defer p.Kill()
	for _, c := range []string{zkOpen(zkPort), "get /zookeeper"} {
		if _, err := p.Ask(c); err != nil {
			return err
		}
	}
	return nil
}

// pause stops a client for less than its session.
func (l *zkLab) pause(kind string) error {
	if err := l.ask(kind, zkOpen(zkPort), "get /", "gets 20 /"); err != nil {
		return err
	}
	p := l.clients[kind]
	if err := p.Signal(unix.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(500 * time.Millisecond)
	if err := p.Signal(unix.SIGCONT); err != nil {
		return err
	}
	return l.ask(kind, "get /", "close")
}

// endServer ends a server with a client on it, and starts it again.
func (l *zkLab) endServer(sig syscall.Signal, busy bool) error {
	config := lab.ZKConfig{NS: l.server, Addr: zkAddr(zkPortVictim), Dir: l.dirs(), MaxConns: 60}
	victim, err := l.release.Start(context.Background(), l.jars, config)
	if err != nil {
		return err
	}
	defer func() { victim.Stop() }()
	if err := l.ask("nio", zkOpen(zkPortVictim), "get /"); err != nil {
		return err
	}
	if busy {
		if err := victim.Signal(unix.SIGSTOP); err != nil {
			return err
		}
		if err := l.ask("nio", "gets 200 /"); err != nil {
			return err
		}
		if err := zkAwaitQueue(victim.PID(), zkPortVictim, 20); err != nil {
			return err
		}
	}
	if sig == unix.SIGKILL {
		victim.Kill()
	} else {
		victim.Stop()
	}
	time.Sleep(1500 * time.Millisecond)
	if !busy {
		config.Dir = l.dirs()
		if victim, err = l.release.Start(context.Background(), l.jars, config); err != nil {
			return err
		}
		time.Sleep(1500 * time.Millisecond)
	}
	return l.ask("nio", "close")
}

// ownLimit has a client read more than its own limit.
func (l *zkLab) ownLimit() error {
	if err := l.ask("nio", zkOpen(zkPort), "create /big 0", "set /big 500000", "close"); err != nil {
		return err
	}
	p, err := l.newClient("nio", "-Djute.maxbuffer=100000")
	if err != nil {
		return err
	}
	defer p.Kill()
	for _, c := range []string{zkOpen(zkPort), "get /zookeeper", "gets 3 /big", "wait 1000", "close"} {
		if _, err := p.Ask(c); err != nil {
			return err
		}
	}
	return nil
}
