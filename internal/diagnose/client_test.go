package diagnose

import (
	"testing"

	"rstwhy/internal/event"
)

func TestClientState(t *testing.T) {
	waits, early := new(event.HandshakeWaits), new(event.HandshakeEarly)
	for _, tt := range []struct {
		name   string
		client *event.Client
		want   int
	}{
		{"nothing known", nil, clientNotKnown},
		{"before the fix", &event.Client{Transport: "nio", Version: "3.4.5"}, clientIsAffected},
		{"with the fix", &event.Client{Transport: "nio", Version: "3.4.6"}, clientIsFixed},
		{"backported", &event.Client{Transport: "nio", Version: "3.4.5-x", Handshake: waits}, clientIsFixed},
		{"its code has no fix", &event.Client{Transport: "nio", Version: "3.4.6-x", Handshake: early}, clientIsAffected},
		{"no version, but the code", &event.Client{Transport: "nio", Handshake: waits}, clientIsFixed},
		{"a version, and no transport", &event.Client{Version: "3.9.3", Handshake: waits}, clientNotKnown},
		{"Netty of any version", &event.Client{Transport: "netty", Version: "3.9.6"}, clientIsAffected},
		{"another library", &event.Client{Transport: "go"}, clientIsFixed},
	} {
		if got := clientState(&event.Reset{ZooKeeper: &event.ZooKeeper{Client: tt.client}}); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}
