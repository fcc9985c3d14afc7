package lab

import (
	"encoding/hex"
	"testing"
)

// The first bytes are the recogniser of a ZooKeeper session; a server that
// does not see them closes for another reason than the lab claims.
func TestZKConnectRequest(t *testing.T) {
	got := hex.EncodeToString(ZKConnectRequest(0x0102030405060708))
	want := "0000002d" + "00000000" + "0000000000000000" + "00007530" + "0102030405060708" +
		"00000010" + "00000000000000000000000000000000" + "00"
	if got != want {
		t.Errorf("ConnectRequest is\n%s, want\n%s", got, want)
	}
	if got, want := hex.EncodeToString(ZKGetData(7)), "0000000e"+"00000007"+"00000004"+"00000001"+"2f"+"00"; got != want {
		t.Errorf("getData is %s, want %s", got, want)
	}
	if n, want := len(ZKPipelined(10)), 49+10*18; n != want {
		t.Errorf("pipelined request of %d bytes, want %d", n, want)
	}
}

func TestZKMirrorIn(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"deb822", "Types: deb\n# URIs: http://old.invalid/debian\nURIs: http://mirror.invalid/debian\nSuites: stable\n", "http://mirror.invalid/debian"},
		{"deb822, security first", "URIs: http://mirror.invalid/debian-security\n\nURIs: http://mirror.invalid/debian/\n", "http://mirror.invalid/debian/"},
		{"one line with options", "deb [arch=amd64 signed-by=/k.gpg] https://mirror.invalid/debian stable main\n", "https://mirror.invalid/debian"},
		{"commented out", "#deb http://mirror.invalid/debian stable main\n# deb http://mirror.invalid/debian stable main\n", ""},
		{"sources only", "deb-src http://mirror.invalid/debian stable main\n", ""},
		{"another distribution", "deb http://mirror.invalid/ubuntu noble main\n", ""},
	} {
		var m Mirrors
		if m.Read(c.text); m.Main != c.want {
			t.Errorf("%s: mirror %q, want %q", c.name, m.Main, c.want)
		}
	}
}
