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
	Outcome event.Outcome `json:"outcome"` // of the word that told the version; else of srvr
	Detail  string        `json:"detail"`
	Words   []zkWord      `json:"words"` // in the order asked; those after a failed connection are not asked
	Remark  string        `json:"remark"`
}

type zkWord struct {
	Word string `json:"word"`
	zk.Answer
}

func (r *zkReport) conclude() {
	if len(r.Words) == 0 {
		return
	}
	best := r.Words[0].Answer
	if i := slices.IndexFunc(r.Words, func(w zkWord) bool { return w.Version != "" }); i >= 0 {
		best = r.Words[i].Answer
	}
	r.Version, r.Vendor, r.Outcome, r.Detail = best.Version, best.VendorBuild, best.Outcome, best.Detail
	for _, w := range r.Words {
		if r.Mode == "" {
			r.Mode = w.Mode
		}
		// envi tells the version of a server that is not serving; its state
		// is what matters then.
		if w.Outcome == event.OutcomeNotServing {
			r.Outcome, r.Detail = w.Outcome, w.Detail
		}
	}
	r.Remark = r.remark()
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
		return "ask the plain client port, if there is one; rstwhy does not speak TLS to ZooKeeper"
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
	for _, w := range r.Words {
		fmt.Fprintf(&b, "  %-5s %-16s %s\n", w.Word, w.Outcome, facts(w))
	}
	if len(r.Words) == 0 && r.Detail != "" {
		fmt.Fprintf(&b, "  %s\n", r.Detail)
	}
	if r.Remark != "" {
		fmt.Fprintf(&b, "  note  %s\n", r.Remark)
	}
	_, err := out.Write(b.Bytes())
	return err
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

// facts are the measurements of one answer, or why there is none.
func facts(w zkWord) string {
	if w.Outcome != event.OutcomeOK || w.Word == zk.Ruok.String() {
		return w.Detail
	}
	var f []string
	if w.Connections.Known {
		f = append(f, fmt.Sprintf("%d connections", w.Connections.N))
	}
	if w.Outstanding.Known {
		f = append(f, fmt.Sprintf("%d outstanding", w.Outstanding.N))
	}
	if l := w.Latency; l != nil {
		f = append(f, fmt.Sprintf("latency %g/%g/%g ms", l.MinMS, l.AvgMS, l.MaxMS))
	}
	if w.Zxid != "" {
		f = append(f, "zxid "+w.Zxid)
	}
	if w.Java != "" {
		f = append(f, "java "+w.Java)
	}
	return strings.Join(f, ", ")
}

// quote makes a foreign string safe for a terminal and bounds it.
func quote(s string, n int) string {
	q := strconv.Quote(s[:min(len(s), n)])
	return q[1 : len(q)-1]
}
