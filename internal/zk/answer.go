package zk

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"rstwhy/internal/event"
)

const (
	maxVersion = 96  // longest seen is 51: 3.5.3-beta-<40 hex>
	maxDetail  = 160 // what a person reads of a foreign answer
	maxLine    = 4096
	maxLines   = 64 // srvr has 9, envi about 20; the client list of stat is skipped
)

// Latency is the server's request latency since its statistics were reset.
type Latency struct {
	MinMS float64 `json:"min_ms"`
	AvgMS float64 `json:"avg_ms"` // an integer up to 3.5, a decimal from 3.6 on
	MaxMS float64 `json:"max_ms"`
}

// Answer is what one word told. Strings are bounded and hold no control
// characters.
type Answer struct {
	Outcome     event.Outcome `json:"outcome"`                // for ruok, ok means that the server said imok
	Detail      string        `json:"detail,omitempty"`       // one clause for people: why this outcome
	Version     string        `json:"version,omitempty"`      // version and build as the server wrote it, without the date
	Major       int           `json:"major"`                  // Apache version; zero where unknown and for ClickHouse Keeper
	Minor       int           `json:"minor"`                  //
	Patch       int           `json:"patch"`                  //
	VendorBuild bool          `json:"vendor_build"`           // the build is no Apache release: it may carry backported fixes
	Mode        string        `json:"mode,omitempty"`         // standalone, leader, follower, observer, read-only
	Java        string        `json:"java,omitempty"`         // java.version, from envi
	Zxid        string        `json:"zxid,omitempty"`         // last transaction id, hexadecimal
	Latency     *Latency      `json:"latency,omitempty"`      // null where the server did not tell
	Connections event.Number  `json:"connections,omitzero"`   // client connections, this one included
	Outstanding event.Number  `json:"outstanding,omitzero"`   // requests queued in the server
	Received    event.Number  `json:"received,omitzero"`      // packets received
	Sent        event.Number  `json:"sent,omitzero"`          // packets sent
	Nodes       event.Number  `json:"nodes,omitzero"`         // znodes
	Bytes       int           `json:"answer_bytes,omitempty"` // length of the answer

	unknownWord bool // closed in order without a byte, as for a word that the server does not know
}

// Release is the Apache version without the build, or nothing where unknown.
func (a Answer) Release() string {
	if a.Major == 0 {
		return ""
	}
	return strconv.Itoa(a.Major) + "." + strconv.Itoa(a.Minor) + "." + strconv.Itoa(a.Patch)
}

const (
	notWhitelisted = " is not executed because it is not in the whitelist."
	notServing     = "This ZooKeeper instance is not currently serving requests"
	readOnly       = "READ-ONLY mode; serving only read-only clients"
	keeperVersion  = "ClickHouse Keeper version: "
)

var (
	// The revision and the date changed their form with nearly every release
	// and vendor, so neither is parsed beyond the comma.
	versionText = regexp.MustCompile(`^(\d{1,4})\.(\d{1,6})\.(\d{1,6})(\S*), built on`)
	// Builds of Apache releases: a Subversion revision, a git hash (with two
	// dashes in 3.6), or -1 where the build knew no revision (3.4.8).
	apacheBuild = regexp.MustCompile(`^(-(alpha|beta|rc\d+))?(--1|-\d{5,8}|--?[0-9a-f]{40})$`)
	modeText    = regexp.MustCompile(`^[a-z-]{1,24}$`)
	zxidText    = regexp.MustCompile(`^0x[0-9a-f]{1,16}$`)
	javaText    = regexp.MustCompile(`^[0-9A-Za-z._+-]{1,64}$`)
)

// ParseAnswer reads the answer to a word. It never fails: what is not
// ZooKeeper's text becomes an outcome. An empty answer is a server that closed
// without a byte (OutcomeReset).
func ParseAnswer(w Word, text []byte) Answer {
	a := Answer{Bytes: len(text)}
	if len(text) == 0 {
		a.Outcome, a.Detail = event.OutcomeReset, "closed without a byte of answer"
		a.unknownWord = true
		return a
	}
	first := line(text)
	switch {
	case strings.HasSuffix(first, notWhitelisted) && strings.HasPrefix(first, w.String()):
		a.Outcome, a.Detail = event.OutcomeNotWhitelisted, "the server's whitelist refuses "+w.String()+" (so it is 3.4.10 or later)"
	case strings.HasPrefix(first, notServing):
		a.Outcome, a.Detail = event.OutcomeNotServing, "the server runs but serves no requests (no quorum, starting or stopping)"
	case strings.HasPrefix(first, keeperVersion):
		a.keeper(first[len(keeperVersion):])
		a.lines(text)
	case w == Ruok:
		a.imok(text)
	default:
		a.lines(text)
		a.judge(text)
	}
	return a
}

func (a *Answer) imok(text []byte) {
	if string(bytes.TrimRight(text, "\r\n")) == "imok" {
		a.Outcome, a.Detail = event.OutcomeOK, "imok"
		return
	}
	a.foreign(text)
}

// keeper notes ClickHouse's own server. It shares no code with Apache
// ZooKeeper, so its numbers never fill Major, Minor and Patch.
func (a *Answer) keeper(version string) {
	v, _, _ := strings.Cut(version, ", built on")
	v, _, _ = strings.Cut(strings.TrimSpace(v), " ")
	a.Outcome, a.Version = event.OutcomeKeeper, printable(v, maxVersion)
	a.Detail = "ClickHouse Keeper, not Apache ZooKeeper"
}

func (a *Answer) judge(text []byte) {
	switch {
	case a.Version != "":
		a.Outcome = event.OutcomeOK
	default:
		a.foreign(text)
	}
}

// foreign describes an answer that no ZooKeeper gives.
func (a *Answer) foreign(text []byte) {
	*a = Answer{Outcome: event.OutcomeNotZooKeeper, Bytes: a.Bytes}
	switch {
	case bytes.HasPrefix(text, []byte("HTTP/")):
		a.Detail = "an HTTP server answers here: " + quoted(text)
	case bytes.HasPrefix(text, []byte("SSH-")):
		a.Detail = "an SSH server answers here: " + quoted(text)
	// A TLS alert: content type 21, major version 3 (RFC 8446, section 5.1).
	case len(text) >= 2 && text[0] == 0x15 && text[1] == 0x03:
		a.Outcome, a.Detail = event.OutcomeTLSOnly, "answered with a TLS alert"
	default:
		a.Detail = "something else answers here: " + quoted(text)
	}
}

// lines reads the key: value lines of srvr and stat and the key=value lines of
// envi. The client list of stat, which other people's addresses fill, is
// skipped: each of its lines begins with a space.
func (a *Answer) lines(text []byte) {
	for seen := 0; len(text) > 0 && seen < maxLines; {
		l := line(text)
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			text = text[i+1:]
		} else {
			text = nil
		}
		if strings.HasPrefix(l, " ") {
			continue
		}
		seen++
		if l == readOnly {
			a.Mode = "read-only"
			continue
		}
		if key, value, ok := strings.Cut(l, ": "); ok {
			a.stat(key, strings.TrimSpace(value))
		} else if key, value, ok := strings.Cut(l, "="); ok {
			a.environment(key, value)
		}
	}
}

func (a *Answer) stat(key, value string) {
	switch {
	case strings.EqualFold(key, "Zookeeper version"):
		a.version(value)
	case key == "Latency min/avg/max":
		a.Latency = latency(value)
	case key == "Received":
		a.Received = number(value)
	case key == "Sent":
		a.Sent = number(value)
	case key == "Connections":
		a.Connections = number(value)
	case key == "Outstanding":
		a.Outstanding = number(value)
	case key == "Node count":
		a.Nodes = number(value)
	case key == "Zxid" && zxidText.MatchString(value):
		a.Zxid = value
	case key == "Mode" && a.Mode == "" && modeText.MatchString(value):
		a.Mode = value
	}
}

func (a *Answer) environment(key, value string) {
	switch key {
	case "zookeeper.version":
		a.version(value)
	case "java.version":
		if javaText.MatchString(value) {
			a.Java = value
		}
	}
}

// version takes the first version line only, so that nothing later in the
// answer can replace it.
func (a *Answer) version(value string) {
	m := versionText.FindStringSubmatch(value)
	if m == nil || a.Version != "" {
		return
	}
	a.Major, _ = strconv.Atoi(m[1])
	a.Minor, _ = strconv.Atoi(m[2])
	a.Patch, _ = strconv.Atoi(m[3])
	a.VendorBuild = !apacheBuild.MatchString(m[4])
	a.Version = printable(m[1]+"."+m[2]+"."+m[3]+m[4], maxVersion)
}

func latency(value string) *Latency {
	parts := strings.Split(value, "/")
	if len(parts) != 3 {
		return nil
	}
	var l Latency
	for i, p := range []*float64{&l.MinMS, &l.AvgMS, &l.MaxMS} {
		f, err := strconv.ParseFloat(parts[i], 64)
		if err != nil || !(f >= 0 && f < 1e15) {
			return nil
		}
		*p = f
	}
	return &l
}

func number(value string) event.Number {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return event.Number{}
	}
	return event.Num(n)
}

// line is the first line of the text, bounded, without its line end.
func line(text []byte) string {
	if i := bytes.IndexByte(text, '\n'); i >= 0 {
		text = text[:i]
	}
	return string(bytes.TrimRight(text[:min(len(text), maxLine)], "\r"))
}

// printable escapes everything that a terminal could obey (control characters,
// bidirectional marks, invalid UTF-8) and bounds the result to n bytes.
func printable(s string, n int) string {
	cut := len(s) > n
	if cut {
		s = s[:n]
	}
	q := strconv.Quote(s)
	q = strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
	if cut || len(q) > n {
		const more = "..."
		q = strings.ToValidUTF8(q[:min(len(q), n-len(more))], "") + more
	}
	return q
}

// quoted is the first line of an answer as a quoted, bounded string.
func quoted(text []byte) string {
	return `"` + printable(line(text), maxDetail-64) + `"`
}
