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
	maxLines   = 2048 // mntr has 430 in 3.9; the client list of stat does not count
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
	Outcome     event.Outcome `json:"outcome"`                   // for ruok, ok means that the server said imok
	Detail      string        `json:"detail,omitempty"`          // one clause for people: why this outcome
	Version     string        `json:"version,omitempty"`         // version and build as the server wrote it, without the date
	Major       int           `json:"major"`                     // Apache version; zero where unknown and for ClickHouse Keeper
	Minor       int           `json:"minor"`                     //
	Patch       int           `json:"patch"`                     //
	VendorBuild bool          `json:"vendor_build"`              // the build is no Apache release: it may carry backported fixes
	Mode        string        `json:"mode,omitempty"`            // standalone, leader, follower, observer, read-only
	Java        string        `json:"java,omitempty"`            // java.version, from envi
	Zxid        string        `json:"zxid,omitempty"`            // last transaction id, hexadecimal
	Latency     *Latency      `json:"latency,omitempty"`         // null where the server did not tell
	Connections event.Number  `json:"connections,omitzero"`      // client connections, this one included
	Outstanding event.Number  `json:"outstanding,omitzero"`      // requests queued in the server
	Received    event.Number  `json:"received,omitzero"`         // packets received
	Sent        event.Number  `json:"sent,omitzero"`             // packets sent
	Nodes       event.Number  `json:"nodes,omitzero"`            // znodes
	PerAddress  event.Number  `json:"max_client_cnxns,omitzero"` // connections that one client address may have; 0: any number
	Rejected    event.Number  `json:"rejected,omitzero"`         // connections turned away since the start, from 3.6 on
	UptimeMS    event.Number  `json:"uptime_ms,omitzero"`        // how long the server runs, from 3.6 on
	ReadOnly    *bool         `json:"read_only,omitempty"`       // null where the server did not tell
	Bytes       int           `json:"answer_bytes,omitempty"`    // length of the answer

	insideTLS   bool // TLS was agreed on, and the word went inside it
	unknownWord bool // closed in order without a byte, as for a word that the server does not know
}

// UnknownWord tells that the server closed in order without a byte, as one does
// that does not know the word.
func (a Answer) UnknownWord() bool { return a.unknownWord }

// InsideTLS tells that the word went inside TLS, whatever came of it.
func (a Answer) InsideTLS() bool { return a.insideTLS }

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

	notServingDetail = "the server runs but serves no requests (no quorum, starting or stopping)"
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
		a.Outcome, a.Detail = event.OutcomeNotServing, notServingDetail
	case strings.HasPrefix(first, keeperVersion):
		a.keeper(first[len(keeperVersion):])
		a.lines(text)
	default:
		a.read(w, text)
	}
	return a
}

// read takes an answer as the word's own form has it.
func (a *Answer) read(w Word, text []byte) {
	switch w {
	case Ruok:
		a.imok(text)
		return
	case Isro:
		a.isro(text)
		return
	case Conf:
		a.conf(text)
		return
	case Mntr:
		a.mntr(text)
	case Envi:
		a.envi(text)
	default:
		a.lines(text)
	}
	switch {
	case a.Outcome != "": // ClickHouse Keeper
	case a.Version != "":
		a.Outcome = event.OutcomeOK
	default:
		a.foreign(text)
	}
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
