// Package zk asks ZooKeeper servers for their version and state with four-letter
// words, and recognises ZooKeeper servers among local processes.
//
// It must never hurt what it looks at. Only the words and AdminServer pages
// below can leave it, all of them read-only and cheap. A word goes out as
// exactly four bytes, because a ZooKeeper server reads four, and a newline left
// unread turns its close() into a reset: the diagnosis would make the very
// thing that it looks for. Answers are foreign bytes: bounded, escaped, never
// trusted.
//
// The package decides nothing about causes; internal/diagnose does.
package zk

// Word is one of the four-letter words that this package can send. The list is
// closed: the field is private, and a Word made elsewhere is the zero Word,
// which is never sent. Dangerous words (kill, srst, crst, stmk, wchc, wchp)
// have no Word.
type Word struct {
	index uint8
}

// The words. srvr is answered whatever the server's whitelist says
// (ZooKeeper's FourLetterCommands adds it by itself); stat adds the list of clients;
// ruok says only that the process runs; envi tells the version even where the
// server is not serving; mntr adds counters; conf tells maxClientCnxns; isro
// whether the server is read-only.
var (
	Srvr = Word{1}
	Stat = Word{2}
	Ruok = Word{3}
	Envi = Word{4}
	Mntr = Word{5}
	Conf = Word{6}
	Isro = Word{7}
)

var words = [...]string{"", "srvr", "stat", "ruok", "envi", "mntr", "conf", "isro"}

// Words gives every word, in the order in which a person's request asks them.
func Words() []Word { return []Word{Srvr, Stat, Ruok, Envi, Mntr, Conf, Isro} }

// String gives the four letters, or nothing for the zero Word.
func (w Word) String() string {
	if int(w.index) >= len(words) {
		return ""
	}
	return words[w.index]
}
