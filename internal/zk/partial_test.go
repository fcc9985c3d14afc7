package zk

import (
	"os"
	"testing"

	"rstwhy/internal/event"
)

// TestPartial: half an answer does not make a server something else.
func TestPartial(t *testing.T) {
	for text, want := range map[string]event.Outcome{
		"Zookeep":                   event.OutcomeTimeout,
		"Zookeeper version: 3.4.13": event.OutcomeTimeout,
		"This ZooKeeper inst":       event.OutcomeTimeout,
		"zk_version\t3.9":           event.OutcomeTimeout,
		"clientPort=2181\ndata":     event.OutcomeTimeout,
		"Environment:\nhost.name":   event.OutcomeTimeout,
		"220 mail.example.com":      event.OutcomeNotZooKeeper,
		"HTTP/1.1 400 Bad Request":  event.OutcomeNotZooKeeper,
	} {
		if a := partial(ParseAnswer(Srvr, []byte(text)), []byte(text), os.ErrDeadlineExceeded); a.Outcome != want {
			t.Errorf("%q: %s, want %s", text, a.Outcome, want)
		}
	}
}
