package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/zk"
)

// zkReport is what one server told.
type zkReport struct {
	Type    string        `json:"type"`         // always "zookeeper"
	Schema  int           `json:"schema"`       // version of this format
	Host    string        `json:"host"`         // the machine that asked
	Target  string        `json:"target"`       // as given on the command line
	Address string        `json:"address"`      // the address that was asked; empty where the name has none
	Port    uint16        `json:"port"`         //
	Version string        `json:"version"`      // from the first word that told it
	Vendor  bool          `json:"vendor_build"` // no Apache release: may carry backported fixes
	Mode    string        `json:"mode"`
	Outcome event.Outcome `json:"outcome"` // of the word that told the version; else of the first one
	Detail  string        `json:"detail"`
	Words   []zkWord      `json:"words"` // in the order asked; those after a failed connection are not asked
	Remark  string        `json:"remark"`

	Connections    event.Number   `json:"connections"`     // open connections of all clients, the question's own among them; this and what follows: null where unknown
	MaxConnections event.Number   `json:"max_connections"` // maxClientCnxns: the connections that one client address may have, 0 for any number
	LatencyMS      *event.Latency `json:"latency_ms"`      // since the server's statistics began
	Outstanding    event.Number   `json:"outstanding"`     // requests queued in the server
	Zxid           *string        `json:"zxid"`            // last transaction id, hexadecimal
	ReadOnly       *bool          `json:"read_only"`       // whether the server is in read-only mode
	Rejected       event.Number   `json:"rejected"`        // connections that it turned away since it started, from 3.6 on
	Java           *string        `json:"java"`            // its java.version
	TLS            bool           `json:"tls"`             // the words went inside TLS, or were to: see outcome
	AdminPort      uint16         `json:"admin_port"`      // of the AdminServer that was asked; 0: none was
	Pages          []zkPage       `json:"pages"`           // of the AdminServer, in the order asked
}

type zkPage struct {
	Page string `json:"page"`
	zk.Answer
}

type zkWord struct {
	Word string `json:"word"`
	zk.Answer
}

func (r *zkReport) conclude() {
	if len(r.Words) == 0 {
		return
	}
	answers := make([]zk.Answer, 0, len(r.Words)+len(r.Pages))
	for _, w := range r.Words {
		answers = append(answers, w.Answer)
	}
	best := answers[0]
	if i := slices.IndexFunc(answers, func(a zk.Answer) bool { return a.Version != "" }); i >= 0 {
		best = answers[i]
	}
	r.Outcome, r.Detail = best.Outcome, best.Detail
	for _, p := range r.Pages {
		answers = append(answers, p.Answer)
	}
	for _, a := range answers {
		r.add(a)
		// envi tells the version of a server that is not serving; its state
		// is what matters then.
		if a.Outcome == event.OutcomeNotServing {
			r.Outcome, r.Detail = a.Outcome, a.Detail
		}
	}
	r.Remark = r.remark()
	if r.AdminPort == 0 && slices.ContainsFunc(answers, func(a zk.Answer) bool { return a.Outcome == event.OutcomeNotWhitelisted }) {
		r.Remark += "; --admin asks the AdminServer for what the whitelist refuses"
	}
}

// add takes what no earlier answer told.
func (r *zkReport) add(a zk.Answer) {
	if r.Version == "" {
		r.Version, r.Vendor = a.Version, a.VendorBuild
	}
	if r.Mode == "" {
		r.Mode = a.Mode
	}
	for _, n := range []struct {
		to   *event.Number
		from event.Number
	}{{&r.Connections, a.Connections}, {&r.MaxConnections, a.PerAddress}, {&r.Outstanding, a.Outstanding}, {&r.Rejected, a.Rejected}} {
		if !n.to.Known {
			*n.to = n.from
		}
	}
	if l := a.Latency; l != nil && r.LatencyMS == nil {
		r.LatencyMS = &event.Latency{Min: l.MinMS, Avg: l.AvgMS, Max: l.MaxMS}
	}
	if a.Zxid != "" && r.Zxid == nil {
		r.Zxid = &a.Zxid
	}
	if a.Java != "" && r.Java == nil {
		r.Java = &a.Java
	}
	if r.ReadOnly == nil {
		r.ReadOnly = a.ReadOnly
	}
}

// remark says what the version means, and what it does not.
func (r *zkReport) remark() string {
	const library = "the server's version proves nothing about ZOOKEEPER-1702: that defect is in the client library " +
		"(Java NIO up to 3.4.5, the Netty client of any version); look at the client's"
	switch {
	case r.Outcome == event.OutcomeNotServing:
		return "a server that is not serving drops every connection attempt, often with a reset; look at its quorum first"
	case r.Outcome == event.OutcomeKeeper:
		return "not Apache ZooKeeper: no ZOOKEEPER defect number applies to this server"
	case r.Version != "" && r.Vendor:
		return library + "; a vendor build may carry fixes that its number does not show"
	case r.Version != "":
		return library
	case r.Outcome == event.OutcomeReset:
		return "closed before an answer: over maxClientCnxns for this address, or no ZooKeeper"
	case r.Outcome == event.OutcomeTLSOnly:
		return "perhaps a port for TLS, by its silence: ask with --tls, or ask the plain client port; --admin asks the AdminServer"
	case r.Outcome == zk.OutcomeTLSFailed:
		return "the authority is --tls-ca, the name in the certificate --tls-server-name, your own certificate --tls-cert and --tls-key"
	}
	return ""
}

func (r *zkReport) writeJSON(out io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = out.Write(append(b, '\n'))
	return err
}

func (r *zkReport) writeText(out io.Writer) error {
	var b bytes.Buffer
	where := quote(r.Target, 120)
	if r.Address != "" {
		where = netip.AddrPortFrom(netip.MustParseAddr(r.Address), r.Port).String()
		if given := quote(r.Target, 120); given != where {
			where = given + " (" + where + ")"
		}
	}
	fmt.Fprintf(&b, "%s  %s\n", where, r.headline())
	for _, f := range r.facts() {
		fmt.Fprintf(&b, "  %-13s %s\n", f[0], f[1])
	}
	row := func(name string, a zk.Answer) {
		detail := a.Detail
		if a.Java != "" {
			detail = "java " + a.Java
		}
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("  %-13s %-16s %s", name, a.Outcome, detail), " "))
	}
	for _, w := range r.Words {
		row(w.Word, w.Answer)
	}
	for _, p := range r.Pages {
		row(p.Page, p.Answer)
	}
	if len(r.Words) == 0 && r.Detail != "" {
		fmt.Fprintf(&b, "  %s\n", r.Detail)
	}
	if r.Remark != "" {
		fmt.Fprintf(&b, "  %-13s %s\n", "note", r.Remark)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// facts are the measurements, whichever answer told them.
func (r *zkReport) facts() (f [][2]string) {
	add := func(name, format string, args ...any) { f = append(f, [2]string{name, fmt.Sprintf(format, args...)}) }
	limit := "how many one client address may have (maxClientCnxns) it did not tell"
	switch {
	case r.MaxConnections.Known && r.MaxConnections.N == 0:
		limit = "one client address may have any number (maxClientCnxns=0)"
	case r.MaxConnections.Known:
		limit = fmt.Sprintf("one client address may have %d (maxClientCnxns)", r.MaxConnections.N)
	}
	switch {
	case r.Connections.Known:
		add("connections", "%d of all clients; %s", r.Connections.N, limit)
	case r.MaxConnections.Known:
		add("connections", "%s", limit)
	}
	if r.Rejected.Known && r.Rejected.N > 0 {
		add("rejected", "%d connections since it started", r.Rejected.N)
	}
	if l := r.LatencyMS; l != nil {
		add("latency", "%g/%g/%g ms (min/avg/max)", l.Min, l.Avg, l.Max)
	}
	if r.Outstanding.Known {
		add("outstanding", "%d requests", r.Outstanding.N)
	}
	if r.Zxid != nil {
		add("last zxid", "%s", *r.Zxid)
	}
	if r.ReadOnly != nil {
		add("read-only", "%s", map[bool]string{true: "yes", false: "no"}[*r.ReadOnly])
	}
	if r.inTLS() {
		add("TLS", "the words went inside TLS")
	}
	if r.AdminPort != 0 && len(r.Pages) > 0 {
		add("AdminServer", "asked on port %d", r.AdminPort)
	}
	return f
}

func (r *zkReport) headline() string {
	if r.Version == "" {
		return "version unknown: " + string(r.Outcome)
	}
	s := "ZooKeeper " + r.Version
	if r.Outcome == event.OutcomeKeeper {
		s = "ClickHouse Keeper " + r.Version
	} else if r.Vendor {
		s += " (vendor build)"
	}
	if r.Mode != "" {
		s += ", " + r.Mode
	}
	if r.Outcome == event.OutcomeNotServing {
		s += ", not serving"
	}
	return s
}

// quote makes a foreign string safe for a terminal and bounds it.
func quote(s string, n int) string {
	q := strconv.Quote(s[:min(len(s), n)])
	return q[1 : len(q)-1]
}
