package zk

import (
	"slices"
	"strings"
	"time"

	"rstwhy/internal/jar"
	"rstwhy/internal/proctree"
)

// threads are what the names of a JVM's threads tell.
type threads struct {
	send   bool   // ZooKeeper's client connects or is connected
	older  bool   // and has done so for a while, so that a thread of Netty would be there
	netty  string // a thread of ZooKeeper's own Netty
	other  bool   // one of a Netty, which may be ZooKeeper's before it named its threads
	server bool   // a ZooKeeper server runs here too
	whole  bool   // every thread was looked at
}

// settled is how old a SendThread must be before a missing thread of Netty says
// something: it starts that one with its first connection.
const settled = 2 * time.Second

func threadsOf(t *proctree.Tree) threads {
	all, whole := t.Threads(maxThreads)
	names := make([]string, 0, len(all))
	older := false
	for _, th := range all {
		names = append(names, th.Name)
		if IsSendThread(th.Name) && !older {
			age, err := t.Age(th)
			older = err == nil && age >= settled
		}
	}
	r := readThreads(names)
	r.whole, r.older = whole, older
	return r
}

// readThreads reads names as the kernel keeps them, cut to 15 bytes; some JDKs
// cut them in the middle and put two dots there.
func readThreads(names []string) threads {
	var r threads
	has := func(n string, prefixes ...string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(n, p) })
	}
	for _, n := range names {
		switch {
		case IsSendThread(n):
			r.send = true
		case has(n, "zkNetty"):
			r.netty = n
		case has(n, "nioEventL", "nioEven..", "epollEv", "New I/O"):
			r.other = true
		case has(n, "NIOServerCxn", "NIOServ..", "ProcessThread(s", "Process..", "SyncThread:"):
			r.server = true
		}
	}
	return r
}

// IsSendThread tells whether a thread is the one of ZooKeeper's Java client that
// connects and, with NIO, sends. Its name is that of the thread that made the
// client, "-SendThread(" and the server; a long one hides that.
func IsSendThread(comm string) bool {
	return strings.Contains(comm, "-SendThread") || strings.HasPrefix(comm, "main-Se..")
}

const socketProperty = "-Dzookeeper.clientCnxnSocket="

// transport decides between the Java client's two ways to the network. Netty's
// threads live as long as the client that uses them; so where a client runs
// and none of them is there, it is NIO.
func transport(libraries []jar.Library, t threads, options string) (kind, why string) {
	hasNetty := len(libraries) == 0
	for _, l := range libraries {
		hasNetty = hasNetty || l.Netty
	}
	property := ""
	for line := range strings.SplitSeq(options, "\n") {
		if v, ok := strings.CutPrefix(line, socketProperty); ok {
			property = strings.TrimSpace(v)
		}
	}
	absent := t.send && t.older && t.whole && t.netty == "" && !t.other
	switch {
	case !hasNetty:
		return transportNIO, "it has no other"
	case t.send && t.netty != "" && !t.server:
		return transportNetty, "thread " + t.netty
	case strings.HasSuffix(property, "ClientCnxnSocketNetty") && !absent:
		return transportNetty, socketProperty + "..."
	case absent:
		return transportNIO, "no thread of Netty beside its SendThread"
	case strings.HasSuffix(property, "ClientCnxnSocketNIO"):
		return transportNIO, socketProperty + "..."
	}
	return "", ""
}

// The transports, as event.Client names them.
const (
	transportNIO    = "nio"
	transportNetty  = "netty"
	transportC      = "c"
	transportGo     = "go"
	transportPython = "python"
)
