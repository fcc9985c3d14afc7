// Package hsperf reads the performance counters that a HotSpot JVM keeps in a
// file, by default /tmp/hsperfdata_USER/PID: what it runs, and when its last
// garbage collections were. The JVM is neither stopped nor asked.
//
// The form is that of src/hotspot/share/runtime/perfMemory.hpp. The file is
// foreign: its sizes are checked, and nothing in it is believed beyond what it
// says of its own process.
package hsperf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rstwhy/internal/proctree"
)

const (
	maxFile       = 1 << 20 // 32 KiB unless -XX:PerfDataMemorySize says otherwise
	maxText       = 64 << 10
	maxEntries    = 1 << 14
	maxCollectors = 8
	maxName       = 64        // of a collector, which is kept
	maxPasswd     = 256 << 10 // of /etc/passwd
	maxUsers      = 256       // directories of users that are looked into
	maxNames      = 1 << 16   // names in /tmp, where the user's own is not known
)

var errFormat = errors.New("not the counters of a JVM, or broken ones")

// ErrNone says that a process has no such file: it is no JVM, or runs with
// -XX:-UsePerfData or another -Djava.io.tmpdir.
var ErrNone = errors.New("no counters of a JVM")

// Counters are what a JVM tells of itself.
type Counters struct {
	Command   string // main class or jar, with its arguments
	Version   string // java.property.java.version
	Arguments string // the JVM's own options, also those from JAVA_TOOL_OPTIONS and files

	Begin      time.Time // when it began to make the virtual machine, by the clock of then
	Frequency  int64     // ticks a second
	Ticks      int64     // since Begin, as of 50 ms ago at most while the JVM runs
	Collectors []Collector
}

// Collector is one of the JVM's garbage collectors.
type Collector struct {
	Name        string
	Invocations int64
	Entry, Exit int64 // ticks at which the last collection began and ended
}

// Read finds and reads the counters of a process.
func Read(t *proctree.Tree) (Counters, error) {
	pid, err := t.NSPid()
	if err != nil {
		return Counters{}, err
	}
	uid, err := t.UID()
	if err != nil {
		return Counters{}, err
	}
	file := strconv.FormatUint(uint64(pid), 10)
	// The JVM names the directory by its user. Where that is not in
	// /etc/passwd, as with LDAP, it is looked for.
	if user := userName(t, uid); user != "" {
		if b, err := read(t, tmp+prefix+user, file, uid); err == nil {
			return Parse(b)
		}
	}
	names, err := t.FindNames(tmp, maxNames, maxUsers, func(name string) bool {
		return strings.HasPrefix(name, prefix) && t.Owns(tmp+name, uid)
	})
	if err != nil {
		return Counters{}, fmt.Errorf("%w: %w", ErrNone, err)
	}
	for _, name := range names {
		if b, err := read(t, tmp+name, file, uid); err == nil {
			return Parse(b)
		}
	}
	return Counters{}, ErrNone
}

const tmp, prefix = "/tmp/", "hsperfdata_"

// userName is what the process's own system calls the user; empty where it
// does not tell.
func userName(t *proctree.Tree, uid uint32) string {
	text, err := t.ReadFile("/etc/passwd", maxPasswd)
	if err != nil {
		return ""
	}
	want := strconv.FormatUint(uint64(uid), 10)
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(line, ":", 4)
		if len(fields) == 4 && fields[2] == want && len(fields[0]) <= maxName && !strings.Contains(fields[0], "/") {
			return fields[0]
		}
	}
	return ""
}

// read gives a file that the user made, and nobody else.
func read(t *proctree.Tree, dir, name string, uid uint32) ([]byte, error) {
	f, err := t.OpenOwned(dir, name, uid)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Size > maxFile {
		return nil, errFormat
	}
	b := make([]byte, f.Size)
	n, err := f.ReadAt(b, 0)
	if err != nil {
		return nil, fmt.Errorf("read the counters of a JVM: %w", err)
	}
	return b[:n], nil
}

// Parse reads the content of the file.
func Parse(b []byte) (Counters, error) {
	if len(b) < 32 || binary.BigEndian.Uint32(b) != 0xcafec0c0 || b[5] != 2 {
		return Counters{}, errFormat // version 1 is that of Java 1.4
	}
	var order binary.ByteOrder = binary.BigEndian
	if b[4] == 1 {
		order = binary.LittleEndian
	}
	if b[7] == 0 {
		return Counters{}, fmt.Errorf("%w: not written to the end yet", errFormat)
	}
	c := Counters{}
	numbers := map[string]int64{}
	names := map[string]string{}
	at, count := int64(order.Uint32(b[24:])), min(order.Uint32(b[28:]), maxEntries)
	for range count {
		if at < 0 || at+20 > int64(len(b)) {
			return Counters{}, errFormat
		}
		e := b[at:]
		length := int64(order.Uint32(e))
		if length < 20 || length > int64(len(e)) {
			return Counters{}, errFormat
		}
		e = e[:length]
		at += length
		name, data := int64(order.Uint32(e[4:])), int64(order.Uint32(e[16:]))
		if name > length || data > length {
			return Counters{}, errFormat
		}
		key := text(e[name:])
		switch {
		case e[12] == 'J' && length-data >= 8:
			if interesting(key) {
				numbers[key] = int64(order.Uint64(e[data:]))
			}
		case e[12] == 'B':
			// Others count elements; of a text they are its bytes.
			value := text(e[data:min(length, data+int64(min(order.Uint32(e[8:]), maxText)))])
			switch key {
			case "sun.rt.javaCommand":
				c.Command = value
			case "java.property.java.version":
				c.Version = value
			case "java.rt.vmArgs":
				c.Arguments = value
			default:
				if interesting(key) {
					names[key] = value
				}
			}
		}
	}
	c.Frequency, c.Ticks = numbers["sun.os.hrt.frequency"], numbers["sun.os.hrt.ticks"]
	if ms := numbers["sun.rt.createVmBeginTime"]; ms > 0 && ms < 1<<43 {
		c.Begin = time.UnixMilli(ms).UTC()
	}
	for i := range maxCollectors {
		prefix := "sun.gc.collector." + strconv.Itoa(i) + "."
		if name := names[prefix+"name"]; name != "" && len(name) <= maxName {
			c.Collectors = append(c.Collectors, Collector{
				Name: name, Invocations: numbers[prefix+"invocations"],
				Entry: numbers[prefix+"lastEntryTime"], Exit: numbers[prefix+"lastExitTime"],
			})
		}
	}
	return c, nil
}

// interesting bounds what is kept of the counters.
func interesting(key string) bool {
	switch key {
	case "sun.os.hrt.frequency", "sun.os.hrt.ticks", "sun.rt.createVmBeginTime":
		return true
	}
	rest, ok := strings.CutPrefix(key, "sun.gc.collector.")
	if !ok || len(rest) < 3 || rest[0] < '0' || rest[0] > '7' || rest[1] != '.' {
		return false
	}
	switch rest[2:] {
	case "name", "invocations", "lastEntryTime", "lastExitTime":
		return true
	}
	return false
}

// text is what stands before the first NUL.
func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	if len(b) > maxText {
		b = b[:maxText]
	}
	return string(b)
}

// Pause is a collection during which no Java thread ran.
type Pause struct {
	Collector string
	Start     time.Time
	Duration  time.Duration // until End, or until the counters were read
	Running   bool          // it had not ended then
}

// End is when the pause was over, or the counters were read.
func (p Pause) End() time.Time { return p.Start.Add(p.Duration) }

// stopsAll are the collectors of older JDKs that stop all threads; newer ones
// say "pauses". Those of which only parts do (CMS, Shenandoah) are left out.
var stopsAll = map[string]bool{
	"Copy": true, "MSC": true, "PCopy": true, "ParNew": true,
	"PSScavenge": true, "PSMarkSweep": true, "PSParallelCompact": true,
	"G1 incremental collections": true, "G1 stop-the-world full collections": true, "G1 stop-the-world phases": true,
}

// slack is how far the JVM's clock, which is sampled every 50 ms, may seem to
// be from ours.
const slack = 500 * time.Millisecond

// Pauses gives the last pause of each collector, as read at now. It is empty
// where the two clocks cannot be brought together: the JVM was stopped as a
// whole, the machine slept, or the time of day was set since the JVM started.
func (c Counters) Pauses(now time.Time) []Pause {
	if c.Frequency < 1000 || c.Begin.IsZero() || c.Ticks <= 0 {
		return nil
	}
	if off := now.Sub(c.Begin) - c.span(c.Ticks); off < -slack || off > slack {
		return nil
	}
	var all []Pause
	for _, g := range c.Collectors {
		if g.Invocations <= 0 && g.Entry <= 0 || !stopsAll[g.Name] && !strings.HasSuffix(g.Name, " pauses") {
			continue
		}
		p := Pause{Collector: g.Name, Start: c.Begin.Add(c.span(g.Entry))}
		switch {
		case g.Exit >= g.Entry:
			p.Duration = c.span(g.Exit - g.Entry)
		default:
			p.Running, p.Duration = true, now.Sub(p.Start)
		}
		if g.Entry < 0 || p.Duration < 0 || p.End().After(now.Add(slack)) {
			continue
		}
		all = append(all, p)
	}
	return all
}

// span turns ticks into time, without leaving what a time can hold.
func (c Counters) span(ticks int64) time.Duration {
	seconds, rest := ticks/c.Frequency, ticks%c.Frequency
	if seconds > 1<<32 || seconds < -1<<32 {
		return 1 << 62
	}
	return time.Duration(seconds)*time.Second + time.Duration(float64(rest)/float64(c.Frequency)*1e9)
}
