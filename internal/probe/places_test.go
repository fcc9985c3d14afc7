package probe

import (
	"errors"
	"strings"
	"testing"
)

// kallsyms as 5.10 prints them, in the order of addresses or not.
const someSymbols = `ffffffff81800000 T tcp_v4_rcv
ffffffff81800cac T tcp4_proc_exit
ffffffff81700000 T nf_hook_slow
ffffffff81700001 d data_is_no_function
ffffffff817000f0 t nf_hook_next
ffffffff81600000 T kfree_skb	[in_no_module]
ffffffff81600100 T skb_tx_error
`

func TestPlacesEndWhereTheNextFunctionBegins(t *testing.T) {
	places, err := readPlaces(strings.NewReader(someSymbols))
	if err != nil {
		t.Fatal(err)
	}
	got := map[uint64]kernelDropPlace{}
	for _, p := range places {
		got[p.Start] = p
	}
	for start, want := range map[uint64]kernelDropPlace{
		0xffffffff81800000: {Size: 0xcac},
		0xffffffff81700000: {Size: 0xf0, Reason: netfilterDrop},
		0xffffffff81600000: {Size: 0x100, Reason: anywhereDrop},
	} {
		if p := got[start]; p.Size != want.Size || p.Reason != want.Reason {
			t.Errorf("place at %x: %d bytes, reason %d; want %d and %d", start, p.Size, p.Reason, want.Size, want.Reason)
		}
	}
}

func TestHiddenAddressesAreAnError(t *testing.T) {
	hidden := "0000000000000000 T tcp_v4_rcv\n0000000000000000 T nf_hook_slow\n"
	if _, err := readPlaces(strings.NewReader(hidden)); !errors.Is(err, errHiddenAddresses) {
		t.Errorf("addresses that the kernel hides: error %v", err)
	}
	if _, err := readPlaces(strings.NewReader("xyz T tcp_v4_rcv\n")); err == nil {
		t.Error("an address that is none: no error")
	}
}
