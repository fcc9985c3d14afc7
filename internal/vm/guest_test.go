package main

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"rstwhy/internal/lab"
)

func TestReadOutput(t *testing.T) {
	nonce := newNonce()
	other := newNonce()
	if nonce == other || len(nonce) != 2*nonceBytes {
		t.Fatalf("nonces %s and %s", nonce, other)
	}
	for _, tt := range []struct {
		name, in, want string
		status         int
		err            error
	}{
		{"status", "hello\nworld" + exitMarker(nonce, 3), "hello\nworld", 3, nil},
		{"nothing printed", exitMarker(nonce, 0), "", 0, nil},
		{"somebody else's marker", exitMarker(other, 0) + "x", exitMarker(other, 0) + "x", 0, errNoStatus},
		{"somebody else's, then ours", exitMarker(other, 0) + exitMarker(nonce, 7), exitMarker(other, 0), 7, nil},
		{"a marker cut off", "x" + strings.TrimSuffix(exitMarker(nonce, 12), "2\n"), "x" + strings.TrimSuffix(exitMarker(nonce, 12), "2\n"), 0, errNoStatus},
		{"the kernel died", "half a li", "half a li", 0, errNoStatus},
		{"long", strings.Repeat("0123456789\n", 9999) + exitMarker(nonce, 0), strings.Repeat("0123456789\n", 9999), 0, nil},
	} {
		for way, reader := range map[string]func(io.Reader) io.Reader{"at once": func(r io.Reader) io.Reader { return r }, "a byte at a time": iotest.OneByteReader} {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				var out bytes.Buffer
				status, err := readOutput(reader(strings.NewReader(tt.in)), &out, nonce)
				if status != tt.status || !errors.Is(err, tt.err) || err != nil && tt.err == nil || out.String() != tt.want {
					t.Errorf("status %d, %v, output %.80q; want %d, %v, %.80q", status, err, out.String(), tt.status, tt.err, tt.want)
				}
			})
		}
	}
}

func TestParseModinfo(t *testing.T) {
	section := "license=GPL\x00softdep=pre: crc32c aes-generic post: late\x00depends=nf_tables,nf-conntrack\x00intree=Y\x00name=nft_ct\x00"
	want := modinfo{depends: []string{"nf_tables", "nf_conntrack"}, before: []string{"crc32c", "aes_generic"}}
	if d := cmp.Diff(want, parseModinfo([]byte(section)), cmp.AllowUnexported(modinfo{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff(modinfo{}, parseModinfo([]byte("depends=\x00name=dummy\x00")), cmp.AllowUnexported(modinfo{})); d != "" {
		t.Errorf("no dependency (-want +got):\n%s", d)
	}
}

func TestOffers(t *testing.T) {
	names := strings.Fields(`linux-image-6.1.0-9-cloud-amd64 linux-image-6.1.0-56-cloud-amd64-unsigned linux-image-6.1.0-56-cloud-amd64
		linux-image-6.1.0-56-cloud-amd64-dbg linux-image-6.1.0-56-amd64 linux-image-6.12.90+deb13-cloud-amd64 linux-image-cloud-amd64
		linux-image-7.3.4+deb13-cloud-amd64 linux-binary-7.3.4+deb13-cloud-amd64 linux-modules-7.3.4+deb13-cloud-amd64 linux-base-7.3.4+deb13-cloud-amd64
		linux-image-7.0.9+deb13-cloud-amd64 linux-binary-7.0.9+deb13-cloud-amd64`)
	for series, want := range map[string][]string{
		"6.1":  {"linux-image-6.1.0-56-cloud-amd64-unsigned"},
		"6.12": {"linux-image-6.12.90+deb13-cloud-amd64"},
		"7":    {"linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64", "linux-base-7.3.4+deb13-cloud-amd64"},
	} {
		all := offers(names, series, "s", "amd64")
		if len(all) == 0 {
			t.Errorf("%s: nothing", series)
			continue
		}
		if newestFirst(all); !cmp.Equal(all[0].packages, want) {
			t.Errorf("%s: %v, want %v", series, all[0].packages, want)
		}
	}
	if all := offers(names, "5.10", "s", "amd64"); len(all) > 0 {
		t.Errorf("5.10: %v", all)
	}
}

func TestMirrors(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"deb822", "Types: deb\nURIs: http://a.example/debian\nSuites: s\n\nTypes: deb\nURIs: http://a.example/debian-security\n",
			"deb [signed-by=" + lab.Keyring + " arch=arm64] http://a.example/debian bullseye main\ndeb [signed-by=" + lab.Keyring + " arch=arm64] http://a.example/debian-security bullseye-security main\n"},
		{"one line", "deb [signed-by=/k] http://b.example/debian/ s main\n", "deb [signed-by=" + lab.Keyring + " arch=arm64] http://b.example/debian/ bullseye main\n"},
		{"vendors", "deb http://c.example/apt s main\nURIs: http://c.example/ubuntu\ndeb http://d.example/debian s main\n", "deb [signed-by=" + lab.Keyring + " arch=arm64] http://d.example/debian bullseye main\n"},
	} {
		var m lab.Mirrors
		m.Read(tt.text)
		if got := sources(m, "bullseye", "arm64"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	m := lab.Mirrors{Main: "http://a.example/debian", Security: "http://a.example/debian-security"}
	for _, suite := range []string{"sid", "trixie-backports"} {
		if strings.Contains(sources(m, suite, "amd64"), "security") {
			t.Errorf("%s has no security archive", suite)
		}
	}
}
