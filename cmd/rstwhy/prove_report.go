package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"rstwhy/internal/diagnose"
	"rstwhy/internal/event"
	"rstwhy/internal/lab"
	"rstwhy/internal/probe"
	"rstwhy/internal/sink"
)

// proveResult is the result of a row.
type proveResult string

const (
	provePass    proveResult = "pass"
	proveFail    proveResult = "fail"
	proveNotHere proveResult = "not-provable"
	proveLate    proveResult = "not-finished" // the host was too slow
	proveUnseen  proveResult = "not-visible"  // this kernel shows nothing of it
)

// proveReport is what check --prove prints as JSON.
type proveReport struct {
	Type       string       `json:"type"` // always "prove"
	Schema     int          `json:"schema"`
	Host       string       `json:"host"`
	Kernel     string       `json:"kernel"`
	DurationMS int64        `json:"duration_ms"`
	OK         bool         `json:"ok"`      // nothing failed, and everything was finished
	Storm      bool         `json:"storm"`   // others made so many resets meanwhile that not each was told one by one
	Counted    int          `json:"counted"` // of the expected resets, those told as counts only
	Rows       []proveRow   `json:"rows"`
	Limits     []checkLimit `json:"limits"` // what this kernel does not tell
}

// proveRow is one cause.
type proveRow struct {
	Direction event.Direction `json:"direction"`
	Cause     string          `json:"cause"`
	Expected  int             `json:"expected"` // resets of this cause that were made
	Seen      int             `json:"seen"`     // of these, told
	Right     int             `json:"right"`    // of these, right in everything
	Result    proveResult     `json:"result"`
	Why       []string        `json:"why"`
}

func (p *proof) report() *proveReport {
	rep := &proveReport{Type: "prove", Schema: event.Schema, Host: hostName(), OK: true, Rows: []proveRow{}, Limits: []checkLimit{}}
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		rep.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	if len(p.storms) > 0 { // further packets of a reset may be among those that were only counted
		for i := range p.truths {
			p.truths[i].Packets = 0
		}
	}
	truths, unseen := p.truths, []lab.Truth(nil)
	if p.limit(probe.LimitSilent) != nil {
		truths, unseen = lab.Visible(truths)
	}
	j := lab.Compare(truths, p.resets, p.lab.Has)
	findings, counted := lab.ToldAsStorms(j.Findings, p.storms)
	rows := map[string]*proveRow{}
	row := func(d event.Direction, cause string) *proveRow {
		k := string(d) + " " + cause
		if rows[k] == nil {
			rows[k] = &proveRow{Direction: d, Cause: cause, Why: []string{}}
		}
		return rows[k]
	}
	for _, s := range j.ByCause {
		d, cause, _ := strings.Cut(s.Name, " ")
		r := row(event.Direction(d), cause)
		r.Expected, r.Seen, r.Right = s.Truths, s.Told, s.Right
		r.Result = provePass
	}
	for _, f := range findings {
		r := (*proveRow)(nil)
		switch {
		case f.Truth != nil:
			r = row(f.Truth.Direction, f.Truth.Causes()[0])
		default:
			r = row(f.Reset.Direction, f.Reset.Cause)
		}
		r.Why = append(r.Why, fmt.Sprintf("%s: %s", cmp.Or(f.Scenario, "no scenario"), f.What))
		// What became of a request is asked of the kernel, 20 times a second and
		// for 200 ms: on a busy host "unknown" is the truth.
		if f.Field == lab.EffectField && f.Reset != nil && f.Reset.Effect != nil && *f.Reset.Effect == event.EffectUnknown {
			continue
		}
		if len(p.late) > 0 && notKnown(&f) && r.Result != proveFail {
			r.Result = proveLate
			continue
		}
		// Not all of a row: then the way that stands in does not work.
		if p.limit(probe.LimitUntold) != nil && f.Untold() && r.Right > 0 {
			continue
		}
		r.Result = proveFail
	}
	for _, t := range unseen {
		if r := row(t.Direction, t.Causes()[0]); r.Result == "" {
			r.Result, r.Why = proveUnseen, []string{p.limit(probe.LimitSilent).Lost}
		}
	}
	if sure, of := lab.Sure(p.truths, p.resets); of > 0 && sure == 0 {
		r := row(event.Received, diagnose.ResetNotSentHere)
		r.Why = append(r.Why, "none was told as such")
		if r.Result = proveFail; len(p.late) > 0 { // others, on which it may depend, were cut off
			r.Result = proveLate
		}
	}
	rep.Storm, rep.Counted = len(p.storms) > 0, counted
	for _, l := range p.limits {
		rep.Limits = append(rep.Limits, checkLimit{l.ID, l.Lost})
	}
	p.addUnprovable(row)
	for _, id := range slices.Sorted(maps.Keys(p.failed)) {
		r := row("", "scenario "+id)
		r.Result, r.Why = proveFail, append(r.Why, p.failed[id])
	}
	for _, id := range slices.Sorted(maps.Keys(p.late)) {
		if r := row("", "scenario "+id); r.Result == "" {
			r.Result = proveLate
			r.Why = append(r.Why, p.late[id])
		}
	}
	if p.over > 0 {
		r := row("", "records")
		r.Result, r.Why = proveFail, []string{fmt.Sprintf("others made %d resets meanwhile, too many to compare: run it again", p.over)}
	}
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		rep.OK = rep.OK && rows[k].Result != proveFail && rows[k].Result != proveLate
		rep.Rows = append(rep.Rows, *rows[k])
	}
	return rep
}

// notKnown tells that a finding is about something that rstwhy did not tell, and
// not about a falsehood. It has deadlines too, and a host that is too slow for
// the scenarios makes it miss them.
func notKnown(f *lab.Finding) bool {
	switch f.Field {
	case lab.Missing, lab.UnknownOwner:
		return true
	case lab.TwinField:
		return f.Reset.Twin == nil
	}
	return false
}

// addUnprovable adds the causes that nothing here could provoke, and why.
func (p *proof) addUnprovable(row func(event.Direction, string) *proveRow) {
	var lacks []string
	for _, id := range slices.Sorted(maps.Keys(p.left)) {
		lacks = append(lacks, id+": "+p.left[id])
	}
	for _, c := range diagnose.Causes() {
		if c.ID == diagnose.Unknown {
			continue
		}
		r := row(c.Direction, c.ID)
		if r.Result != "" {
			continue
		}
		r.Result = proveNotHere
		switch why := unprovable[c.ID]; {
		case why != "":
			r.Why = []string{why}
		case len(p.late) > 0:
			r.Result = proveLate
			r.Why = append(r.Why, "not provoked: its scenario is among those that were not finished, or cannot be run here")
		default:
			r.Why = slices.Clone(lacks)
		}
	}
	r := row("", "out of memory (ended_by oom)")
	r.Result, r.Why = proveNotHere, []string{"the kernel's out-of-memory killer is not provoked on your host"}
}

// err is what the command ends with; the report has said what it is about.
func (r *proveReport) err() error {
	has := func(want proveResult) bool {
		return slices.ContainsFunc(r.Rows, func(row proveRow) bool { return row.Result == want })
	}
	switch {
	case has(proveFail):
		return silently{errors.New("the proof failed")}
	case has(proveLate):
		return silently{errUnfinished}
	}
	return nil
}

func (r *proveReport) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.print(f, "json"); err != nil {
		return err
	}
	return f.Close()
}

func (r *proveReport) print(w io.Writer, output string) error {
	if output == "json" {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	var b []byte
	add := func(format string, args ...any) { b = fmt.Appendf(b, format+"\n", args...) }
	add("%-9s %-30s %8s %5s %5s  %s", "DIR", "CAUSE", "EXPECTED", "SEEN", "RIGHT", "RESULT")
	count := map[proveResult]int{}
	for _, row := range r.Rows {
		count[row.Result]++
		result := map[proveResult]string{provePass: "pass", proveFail: "FAIL", proveNotHere: "not provable here", proveLate: "not finished", proveUnseen: "not visible here"}[row.Result]
		add("%-9s %-30s %8d %5d %5d  %s", row.Direction, row.Cause, row.Expected, row.Seen, row.Right, result)
		for _, why := range row.Why {
			add("          %s", sink.Escape(why, 300))
		}
	}
	add("Kernel %s, %.1f s: %d passed, %d failed, %d not finished, %d not visible, %d not provable here.", sink.Escape(r.Kernel, 100), float64(r.DurationMS)/1000,
		count[provePass], count[proveFail], count[proveLate], count[proveUnseen], count[proveNotHere])
	if r.Storm {
		add("Others made a storm of resets meanwhile, and %d of these were told as counts only.", r.Counted)
	}
	if count[proveLate] > 0 {
		add("This host was too slow, or too busy, for what says \"not finished\": the proof is bounded in time. Of these nothing is known. Run it again in a quiet time; if it is neither slow nor busy, please report it with this table.")
	}
	switch {
	case count[proveFail] == 0 && count[proveLate] > 0:
		add("rstwhy told the truth wherever it says pass.")
	case !r.OK && r.Storm:
		add("Run it again in a quiet time before you believe what says FAIL.")
	case r.OK:
		add("rstwhy tells the truth about these resets on this kernel.")
		for _, l := range r.Limits {
			add("This kernel limits it: %s.", l.Lost)
		}
	default:
		add("rstwhy was wrong, or did not see, where it says FAIL: please report it with this table.")
	}
	_, err := w.Write(b)
	return err
}
