package zk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"rstwhy/internal/event"
)

// The captured answers of real servers, every file: release/whitelist/word.
func TestParseAnswerOfRealServers(t *testing.T) {
	versions := map[string]string{
		"3.4.13": "3.4.13-6--1",
		"3.8.0":  "3.8.0-${mvngit.commit.id}", "3.9.3": "3.9.3-${mvngit.commit.id}",
		"3.9.3-netty": "3.9.3-${mvngit.commit.id}", "3.9.6": "3.9.6-${mvngit.commit.id}",
	}
	files, err := filepath.Glob("testdata/answers/*/*/*.txt")
	if err != nil || len(files) != 78 {
		t.Fatalf("found %d captured answers, want 78 (%v)", len(files), err)
	}
	for _, file := range files {
		parts := strings.Split(file, "/")
		release, state, name := parts[2], parts[3], strings.TrimSuffix(parts[4], ".txt")
		if name == "wchp" { // refused, and there is no Word for it: see TestParseAnswer
			continue
		}
		t.Run(release+"/"+state+"/"+name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			a := ParseAnswer(wordOf(t, name), text)
			want := event.OutcomeOK
			switch {
			case state == "default" && release != "3.4.13" && name != "srvr":
				want = event.OutcomeNotWhitelisted
			case state == "not-serving" && name != "ruok" && name != "envi":
				want = event.OutcomeNotServing
			}
			if a.Outcome != want {
				t.Errorf("outcome %q (%s), want %q", a.Outcome, a.Detail, want)
			}
			version := ""
			if want == event.OutcomeOK && name != "ruok" && name != "conf" && name != "isro" {
				version = versions[release]
			}
			if a.Version != version || (version != "" && !a.VendorBuild) {
				t.Errorf("version %q vendor %v, want %q, a vendor build", a.Version, a.VendorBuild, version)
			}
			if version != "" && a.Release() != strings.TrimSuffix(release, "-netty") {
				t.Errorf("release %q, want %q", a.Release(), release)
			}
			if want == event.OutcomeOK {
				wantState(t, name, a)
			}
		})
	}
}

// wantState checks what every captured answer says: standalone, two
// connections or fewer, nothing outstanding, the default limit.
func wantState(t *testing.T, word string, a Answer) {
	t.Helper()
	complete := true
	switch word {
	case "envi":
		complete = a.Java != ""
	case "conf":
		complete = a.PerAddress == event.Num(60)
	case "isro":
		complete = a.ReadOnly != nil && !*a.ReadOnly
	case "srvr", "stat":
		complete = a.Zxid == "0x1" && a.ReadOnly != nil && !*a.ReadOnly
	case "mntr":
		// 3.4 writes neither.
		old := a.Minor == 4
		complete = a.Rejected.Known != old && a.UptimeMS.Known != old
	}
	if word == "srvr" || word == "stat" || word == "mntr" {
		complete = complete && a.Mode == "standalone" && a.Latency != nil && a.Latency.MaxMS >= a.Latency.AvgMS && a.Latency.MaxMS >= 1 &&
			a.Connections.Known && a.Connections.N >= 1 && a.Connections.N <= 2 &&
			a.Outstanding == event.Num(0) && a.Nodes.Known && a.Received.Known && a.Sent.Known
	}
	if !complete {
		t.Errorf("incomplete: %+v", a)
	}
}

func wordOf(t *testing.T, name string) Word {
	t.Helper()
	for _, w := range Words() {
		if w.String() == name {
			return w
		}
	}
	t.Fatalf("no word %q", name)
	return Word{}
}

func TestParseAnswer(t *testing.T) {
	long := strings.Repeat("A", 1<<20)
	tests := []struct {
		name, text string
		word       Word
		outcome    event.Outcome
		version    string
		vendor     bool
		mode       string
	}{
		{"3.4.6", "Zookeeper version: 3.4.6-1569965, built on 02/20/2014 09:09 GMT\nMode: follower\n", Srvr, event.OutcomeOK, "3.4.6-1569965", false, "follower"},
		{"3.4.8 without revision", "Zookeeper version: 3.4.8--1, built on 02/06/2016 03:18 GMT\n", Srvr, event.OutcomeOK, "3.4.8--1", false, ""},
		{"3.4.14", "Zookeeper version: 3.4.14-4c25d480e66aadd371de8bd2fd8da255ac140bcf, built on 03/06/2019 16:18 GMT\n", Srvr, event.OutcomeOK, "3.4.14-4c25d480e66aadd371de8bd2fd8da255ac140bcf", false, ""},
		{"HDInsight", "Zookeeper version: 3.4.6-8--1, built on 12/05/2019 12:55 GMT\n", Srvr, event.OutcomeOK, "3.4.6-8--1", true, ""},
		{"3.5.1 alpha", "Zookeeper version: 3.5.1-alpha-1693007, built on 07/28/2015 07:19 GMT\n", Srvr, event.OutcomeOK, "3.5.1-alpha-1693007", false, ""},
		{"3.5.3 beta", "Zookeeper version: 3.5.3-beta-8ce24f9e675cbefffb8f21a47e06b42864475a60, built on 04/03/2017 16:19 GMT\n", Srvr, event.OutcomeOK, "3.5.3-beta-8ce24f9e675cbefffb8f21a47e06b42864475a60", false, ""},
		{"3.6.3 two dashes", "Zookeeper version: 3.6.3--6401e4ad2087061bc6b9f80dec2d69f2e3c8660a, built on 04/08/2021 16:35 GMT\nMode: observer\n", Srvr, event.OutcomeOK, "3.6.3--6401e4ad2087061bc6b9f80dec2d69f2e3c8660a", false, "observer"},
		{"3.8.0", "Zookeeper version: 3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f, built on 2022-02-25 08:49 UTC\r\nMode: leader\r\n", Srvr, event.OutcomeOK, "3.8.0-5a02a05eddb59aee6ac762f7ea82e92a68eb9c0f", false, "leader"},
		{"cdh", "Zookeeper version: 3.4.5-cdh5.16.2--1, built on 06/03/2019 10:40 GMT\n", Srvr, event.OutcomeOK, "3.4.5-cdh5.16.2--1", true, ""},
		{"read-only", "Zookeeper version: 3.9.3--1, built on x\n" + readOnly + "\nMode: read-only\n", Srvr, event.OutcomeOK, "3.9.3--1", false, "read-only"},
		{"truncated version line", "Zookeeper version: 3.4.13-6-", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"second version line is ignored", "Zookeeper version: 3.4.6-1569965, built on x\nZookeeper version: 9.9.9-1, built on x\n", Srvr, event.OutcomeOK, "3.4.6-1569965", false, ""},
		{"client list cannot give a mode", "Zookeeper version: 3.4.6-1569965, built on x\nClients:\n Mode: leader\n\nMode: follower\n", Stat, event.OutcomeOK, "3.4.6-1569965", false, "follower"},
		{"Keeper", "ClickHouse Keeper version: v23.3.2.37-stable-5b2a9b8b3cd9, built on x\nMode: leader\n", Srvr, event.OutcomeKeeper, "v23.3.2.37-stable-5b2a9b8b3cd9", false, "leader"},
		{"whitelist names another word", "wchp is not executed because it is not in the whitelist.\n", Stat, event.OutcomeNotZooKeeper, "", false, ""},
		{"imok for another word", "imok", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"ruok answered otherwise", "imok\nimok", Ruok, event.OutcomeNotZooKeeper, "", false, ""},
		{"Keeper's mntr", "zk_version\tv21.11.1.1-prestable-7a4a0b0edef0\nzk_avg_latency\t0\nzk_server_state\tleader\n", Mntr, event.OutcomeKeeper, "v21.11.1.1-prestable-7a4a0b0edef0", false, "leader"},
		{"Keeper's conf", "server_id=1\ntcp_port=2181\nfour_letter_word_allow_list=*\n", Conf, event.OutcomeKeeper, "", false, ""},
		{"Keeper's envi", "Environment\nclickhouse.keeper.version=v21.11.1.1-prestable-7a4a\nhost.name=h\n", Envi, event.OutcomeKeeper, "v21.11.1.1-prestable-7a4a", false, ""},
		{"mntr of 3.4.6", "zk_version\t3.4.6-1569965, built on 02/20/2014 09:09 GMT\nzk_server_state\tfollower\n", Mntr, event.OutcomeOK, "3.4.6-1569965", false, "follower"},
		{"conf of something else", "tickTime=2000\n", Conf, event.OutcomeNotZooKeeper, "", false, ""},
		{"isro read-only", "ro", Isro, event.OutcomeOK, "", false, ""},
		{"isro not serving", "null", Isro, event.OutcomeNotServing, "", false, ""},
		{"isro otherwise", "rwx", Isro, event.OutcomeNotZooKeeper, "", false, ""},
		{"srvr where mntr was asked", "Zookeeper version: 3.4.6-1569965, built on x\n", Mntr, event.OutcomeNotZooKeeper, "", false, ""},
		{"nothing", "", Srvr, event.OutcomeReset, "", false, ""},
		{"http", "HTTP/1.1 400 Bad Request\r\n\r\n", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"jetty", "HTTP/1.1 400 Illegal character CNTL=0x0\r\nServer: Jetty(9.4.50)\r\n", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"ssh", "SSH-2.0-OpenSSH_9.2\r\n", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"tls alert", "\x15\x03\x01\x00\x02\x02\x46", Srvr, event.OutcomeTLSOnly, "", false, ""},
		{"one endless line", long, Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"endless version", "Zookeeper version: 3.4.6-" + long + ", built on x\n", Srvr, event.OutcomeNotZooKeeper, "", false, ""},
		{"terminal escape in the version", "Zookeeper version: 3.4.6-\x1b]0;x\x07\xff, built on x\n", Srvr, event.OutcomeOK, `3.4.6-\x1b]0;x\a\xff`, true, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := ParseAnswer(tt.word, []byte(tt.text))
			if a.Outcome != tt.outcome || a.Version != tt.version || a.VendorBuild != tt.vendor || a.Mode != tt.mode {
				t.Errorf("got %q %q vendor %v mode %q (%s)", a.Outcome, a.Version, a.VendorBuild, a.Mode, a.Detail)
			}
			wantHarmless(t, tt.word, a)
		})
	}
}

// wantHarmless checks that nothing of an answer can reach a terminal unescaped
// or unbounded.
func wantHarmless(t *testing.T, w Word, a Answer) {
	t.Helper()
	if a.Outcome == "" {
		t.Error("no outcome")
	}
	told := a.Outcome == event.OutcomeOK || a.Outcome == event.OutcomeKeeper
	if w != Conf && w != Isro && told != (a.Version != "" || a.Detail == "imok") || !told && a.Version != "" {
		t.Errorf("outcome %q with version %q", a.Outcome, a.Version)
	}
	for _, n := range []event.Number{a.Connections, a.Outstanding, a.Received, a.Sent, a.Nodes, a.PerAddress, a.Rejected, a.UptimeMS} {
		if n.N < 0 {
			t.Errorf("negative: %+v", a)
		}
	}
	if a.Outcome == event.OutcomeKeeper && a.Major != 0 {
		t.Error("a Keeper has an Apache version")
	}
	for _, s := range []string{a.Version, a.Detail, a.Mode, a.Java, a.Zxid} {
		if len(s) > 256 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool {
			return r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069)
		}) {
			t.Errorf("harmful string %q", s)
		}
	}
}

// Each word with every captured answer, its own and the others'.
func FuzzAnswerSrvr(f *testing.F) { fuzzAnswer(f, Srvr) }
func FuzzAnswerStat(f *testing.F) { fuzzAnswer(f, Stat) }
func FuzzAnswerRuok(f *testing.F) { fuzzAnswer(f, Ruok) }
func FuzzAnswerEnvi(f *testing.F) { fuzzAnswer(f, Envi) }
func FuzzAnswerMntr(f *testing.F) { fuzzAnswer(f, Mntr) }
func FuzzAnswerConf(f *testing.F) { fuzzAnswer(f, Conf) }
func FuzzAnswerIsro(f *testing.F) { fuzzAnswer(f, Isro) }

func fuzzAnswer(f *testing.F, w Word) {
	files, _ := filepath.Glob("testdata/answers/*/*/*.txt")
	if len(files) == 0 {
		f.Fatal("no captured answers")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, text := range []string{
		"", "\x00", "Zookeeper version: 3.4.6-\x1b[2J\u202e, built on x\nMode: \x1b\n", "zk_version\tv\x07\nzk_avg_latency\tNaN\nzk_min_latency\t-1\nzk_max_latency\t1e999\n",
		"tickTime=99999999999999999999\nserverId=-1\nmaxClientCnxns=-1\n", "\x15\x03\x01", "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("a=b\n", 4096), strings.Repeat(" \n", 4096),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { wantHarmless(t, w, ParseAnswer(w, text)) })
}
