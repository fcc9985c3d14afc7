package main

import (
	"time"

	"golang.org/x/sys/unix"

	"rstwhy/internal/lab"
)

// zkWorking concern sessions that are set up, and probes.
// zkStalled: the client may have read all that lay there, and sent a ping,
// before the server's reset reached it: then nothing on its host tells of a stall.
const zkStalled = "zookeeper-client-stalled|zookeeper-network-or-server|zookeeper-old-server|zookeeper-reset-after-close|no verdict"

var zkWorking = []zkCase{
	{
		name: "1.2 MB request, Go client", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.goSession(zkPort, 1_200_000, 0) },
	},
	{
		name: "2 MB request, Java NIO client", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "set / 2000000", "close") },
	},
	{
		name: "2 MB request, kazoo", sign: "S7", server: "zookeeper-oversize-request", client: "zookeeper-oversize-request", tries: 3,
		run: func(l *zkLab) error { return l.ask("python", zkOpen(zkPort), "set /zookeeper 2000000", "close") },
	},
	{
		name: "100 kB request, Java NIO client", near: "zookeeper-oversize-request", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.ask("nio", zkOpen(zkPort), "set / 100000", "set / 0", "close") },
	},
	{
		name: "authentication refused with requests behind it, Java NIO client", sign: "S8", tries: 5, server: "zookeeper-session-moved|zookeeper-late-client-data",
		client: "zookeeper-network-or-server|zookeeper-old-server|zookeeper-reset-after-close|no verdict",
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPort), "get /", "auth nosuch x 200", "wait 500", "close")
		},
	},
	{
		name: "authentication accepted, Java NIO client", near: "zookeeper-session-moved", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error {
			return l.ask("nio", zkOpen(zkPort), "get /", "auth digest u:p 200", "get /", "close")
		},
	},
	{
		name: "server killed with unread requests, Java NIO client", sign: "S10", tries: 2, server: "zookeeper-server-killed", client: "zookeeper-server-killed|zookeeper-server-restarted",
		run: func(l *zkLab) error { return l.endServer(unix.SIGKILL, true) },
	},
	{
		name: "server stopped and started, idle Java NIO client", sign: "S12 C4", near: "zookeeper-server-killed", client: "zookeeper-server-restarted|zookeeper-dead-port|no reset",
		run: func(l *zkLab) error { return l.endServer(unix.SIGTERM, false) },
	},
	{
		name: "dead port, Java NIO client", sign: "S12 C4", client: "zookeeper-dead-port",
		run: func(l *zkLab) error { return l.attempts("nio", zkPortDead, 2*time.Second) },
	},
	{
		name: "Java NIO client killed with unread data", sign: "C5", client: "zookeeper-client-killed",
		run: func(l *zkLab) error { return l.stop("nio", unix.SIGKILL) },
	},
	{
		name: "kazoo killed with unread data", sign: "C5", client: "zookeeper-client-killed",
		run: func(l *zkLab) error { return l.stop("python", unix.SIGKILL) },
	},
	{
		name: "idle Java NIO client killed", near: "zookeeper-client-killed", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.killIdle("nio") },
	},
	{
		name: "Java NIO client stalled longer than its session", sign: "C6", tries: 2, client: zkStalled,
		run: func(l *zkLab) error { return l.stop("nio", unix.SIGCONT) },
	},
	{
		name: "Netty client stalled longer than its session", sign: "C6", tries: 2, client: zkStalled,
		run: func(l *zkLab) error { return l.stop("netty", unix.SIGCONT) },
	},
	{
		name: "kazoo stalled longer than its session", sign: "C6", tries: 1, client: zkStalled,
		run: func(l *zkLab) error { return l.stop("python", unix.SIGCONT) },
	},
	{
		name: "Java NIO client stalled for a moment", near: "zookeeper-client-stalled", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.pause("nio") },
	},
	{
		name: "C client closes", sign: "C7", client: "zookeeper-c-client-close|zookeeper-late-server-data", tries: 3,
		run: func(l *zkLab) error { return l.cSession(zkPort, 0) },
	},
	{
		name: "word, closed before the answer", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early", client: "zookeeper-probe-closed-early",
		run: func(l *zkLab) error { return l.word("printf srvr", "true") },
	},
	{
		name: "word, closed with the answer unread", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early|no verdict", client: "zookeeper-probe-closed-early",
		run: func(l *zkLab) error { return l.word("printf srvr", "sleep 0.1") },
	},
	{
		name: "word, answer read, closed with SO_LINGER 0", sign: "C8", tries: 3, server: "zookeeper-probe-closed-early|zookeeper-health-check", client: "zookeeper-probe-closed-early|zookeeper-health-check",
		run: func(l *zkLab) error { return l.abort([]byte("ruok"), 4) },
	},
	{
		name: "TCP check that closes with SO_LINGER 0", sign: "C9", server: "zookeeper-health-check", client: "zookeeper-health-check",
		run: func(l *zkLab) error { return l.abort(nil, 0) },
	},
	{
		name: "TCP check that closes in order", near: "zookeeper-health-check", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.word("true", "true") },
	},
	{
		name: "answer over the client's own jute.maxbuffer, Java NIO client", sign: "C10", tries: 2, client: "zookeeper-oversize-answer",
		run: func(l *zkLab) error { return l.ownLimit() },
	},
	{
		name: "server's answer after the client's close", sign: "S13 C7b", tries: 8, client: "zookeeper-late-server-data",
		run: func(l *zkLab) error { return l.late(0) },
	},
	{
		name: "close after the answer", near: "zookeeper-late-server-data", server: zkNoReset, client: zkNoReset,
		run: func(l *zkLab) error { return l.late(1) },
	},
	{
		name: "REJECT rule in front of the port, Java NIO client", sign: "C4", client: "zookeeper-dead-port",
		run: func(l *zkLab) error {
			return l.rejected(zkPortDead, func() error { return l.attempts("nio", zkPortDead, 1500*time.Millisecond) })
		},
	},
	{
		name: "REJECT rule comes up during a session", sign: "C11", client: "zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error {
			c, err := l.session(zkAddr(zkPort))
			if err != nil {
				return err
			}
			defer l.process.close(c)
			return l.rejected(zkPort, func() error { return zkIgnoreReset(l.process.send(c, lab.ZKGetData(1), 1)) })
		},
	},
	{
		name: "RST made by a middlebox", sign: "C11", server: "zookeeper-network-or-server|zookeeper-client-reset|no verdict", client: "zookeeper-network-or-server|zookeeper-old-server",
		run: func(l *zkLab) error { return l.middlebox() },
	},
}
