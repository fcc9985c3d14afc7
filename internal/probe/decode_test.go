package probe

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testCloser() CloserEvent {
	return CloserEvent{Kind: uint32(KindCloser), Exiting: 1, TimeNs: 5, Cookie: 6, Owner: testOwner()}
}

func TestDecode(t *testing.T) {
	reset, closer := fullReset(), testCloser()
	process := closer
	process.Kind = uint32(KindProcess)
	for _, tt := range []struct {
		name string
		raw  []byte
		want Record
	}{
		{"reset", wireBytes(&reset), Record{Kind: KindReset, Reset: reset}},
		{"closer", wireBytes(&closer), Record{Kind: KindCloser, Closer: closer}},
		{"process", wireBytes(&process), Record{Kind: KindProcess, Closer: process}},
		{"longer than known", append(wireBytes(&reset), 1, 2, 3), Record{Kind: KindReset, Reset: reset}},
	} {
		var got Record
		if err := Decode(tt.raw, &got); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got != tt.want {
			t.Errorf("%s: decoded %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	reset, closer := fullReset(), testCloser()
	noDirection, both := fullReset(), fullReset()
	noDirection.Direction, both.Direction = 0, 3
	bad := map[string][]byte{
		"nothing": nil, "3 bytes": {1, 0, 0}, "kind 0": make([]byte, 512),
		"kind 4":       binary.LittleEndian.AppendUint32(nil, 4),
		"no direction": wireBytes(&noDirection), "unknown direction": wireBytes(&both),
	}
	for name, raw := range bad {
		if err := Decode(raw, new(Record)); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: error %v, want ErrRecord", name, err)
		}
	}
	for _, whole := range [][]byte{wireBytes(&reset), wireBytes(&closer)} {
		for n := range whole {
			if err := Decode(whole[:n], new(Record)); !errors.Is(err, ErrRecord) {
				t.Fatalf("kind %d cut to %d of %d bytes: error %v, want ErrRecord", whole[0], n, len(whole), err)
			}
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	reset, closer := fullReset(), testCloser()
	raws := [][]byte{wireBytes(&reset), wireBytes(&closer), wireBytes(&reset)[:100], nil}
	rec := new(Record)
	n := testing.AllocsPerRun(100, func() {
		for _, raw := range raws {
			_ = Decode(raw, rec)
		}
	})
	if n != 0 {
		t.Errorf("decoding allocates %v times", n)
	}
}

func FuzzDecode(f *testing.F) {
	reset, listen, tw, bare, received, closer := fullReset(), listenReset(), timewaitReset(), bareReset(), receivedReset(), testCloser()
	for _, raw := range [][]byte{
		wireBytes(&reset), wireBytes(&listen), wireBytes(&tw), wireBytes(&bare), wireBytes(&received), wireBytes(&closer), {}, {1, 0, 0, 0},
	} {
		f.Add(raw)
	}
	names := testNames()
	f.Fuzz(func(t *testing.T, raw []byte) {
		var a, b Record
		err := Decode(raw, &a)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("error %v, want ErrRecord", err)
			}
			return
		}
		if a.Kind != KindReset {
			Process(&a.Closer.Owner)
			return
		}
		if err := Decode(wireBytes(&a.Reset), &b); err != nil || a != b {
			t.Fatalf("decoding what was decoded gives another record: %v", err)
		}
		r, err := names.Reset(&a.Reset, Clock{})
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("error %v, want ErrRecord", err)
			}
			return
		}
		if again, _ := names.Reset(&a.Reset, Clock{}); cmp.Diff(r, again, cmpAddr) != "" {
			t.Fatal("one record, two readings")
		}
		for what, n := range map[string]int64{
			"unread": r.Evidence.UnreadBytes.N, "sent": r.Evidence.SentBytes.N, "acked": r.Evidence.AckedBytes.N,
			"received": r.Evidence.ReceivedBytes.N, "unsent": r.Evidence.UnsentBytes.N,
		} {
			if n < 0 {
				t.Fatalf("%s bytes: %d", what, n)
			}
		}
	})
}
