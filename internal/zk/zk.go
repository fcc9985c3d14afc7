// Package zk asks ZooKeeper servers for their version with a four-letter word
// and recognises ZooKeeper servers among local processes.
//
// It must never hurt what it looks at. Only the four words below can leave it,
// all of them read-only and cheap; each goes out as exactly four bytes, because
// a ZooKeeper server reads four, and a newline left unread turns its close()
// into a reset: the diagnosis would make the very thing that it looks for.
// Answers are foreign bytes: bounded, escaped, never trusted.
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
// server is not serving.
var (
	Srvr = Word{1}
	Stat = Word{2}
	Ruok = Word{3}
	Envi = Word{4}
)

var words = [...]string{"", "srvr", "stat", "ruok", "envi"}

// Words gives every word, in the order in which a person's request asks them.
func Words() []Word { return []Word{Srvr, Stat, Ruok, Envi} }

// String gives the four letters, or nothing for the zero Word.
func (w Word) String() string {
	if int(w.index) >= len(words) {
		return ""
	}
	return words[w.index]
}
