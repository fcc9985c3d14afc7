package pipeline

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"time"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// A recording is a text file, one line a frame: eight hexadecimal digits of
// the CRC-32C of the JSON object that follows after a space. The first frame
// describes the layout of the raw records, so that later versions read old
// recordings, and carries the kernel's names. The last one is the summary or,
// where the recording goes on in another file, a mark that says so; a file
// without either is truncated.

// recordingFormat is the version of the frames, not of the raw layout.
const recordingFormat = 1

// lineMax bounds a frame when reading: a recording is a foreign file.
const lineMax = 1 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is the first frame.
type Header struct {
	Recording int           `json:"rstwhy_recording"` // recordingFormat
	Host      string        `json:"host"`
	Layout    []probe.Field `json:"layout"` // of struct reset_event
	Names     probe.Names   `json:"names"`
	Clock     probe.Clock   `json:"clock"`
	Filter    probe.Filter  `json:"filter"`
	Select    Select        `json:"select"`
	ZKPorts   []uint16      `json:"zk_ports"`
	Count     uint64        `json:"count,omitempty"`
	// A long recording has several files. Each is a recording of its own; these
	// tell which belong together, and what came before.
	Session   string    `json:"session,omitempty"`   // the same in all files of a session
	Part      int       `json:"part,omitempty"`      // 0, 1, 2 ...
	Began     time.Time `json:"began"`               // this part, UTC
	Delivered uint64    `json:"delivered,omitempty"` // resets told one by one in the parts before
}

func header(opts Options, names probe.Names, clock probe.Clock) Header {
	return Header{
		Recording: recordingFormat, Host: opts.Host, Layout: probe.Layout(), Names: names, Clock: clock,
		Filter: opts.Filter, Select: opts.Select, ZKPorts: opts.ZKPorts, Count: opts.Count,
	}
}

// frame is any frame after the first.
type frame struct {
	Raw       []byte            `json:"raw,omitempty"` // struct reset_event as the kernel wrote it
	ClockNS   int64             `json:"clock_offset_ns,omitempty"`
	Joined    bool              `json:"joined,omitempty"`
	Owner     *process          `json:"owner,omitempty"`
	Source    event.OwnerSource `json:"owner_source,omitempty"`
	Proven    bool              `json:"owner_proven,omitempty"`
	ZooKeeper *event.ZooKeeper  `json:"zookeeper,omitempty"`
	story
	LeftOut   *leftOut       `json:"left_out,omitempty"` // since the frame before
	Storm     *event.Storm   `json:"storm,omitempty"`
	Summary   *event.Summary `json:"summary,omitempty"`
	Continued *continued     `json:"continued,omitempty"`
}

// continued ends a file whose recording goes on in the next one.
type continued struct {
	Time time.Time `json:"time"` // UTC
	Part int       `json:"part"` // the next one
}

// process is event.Process under a name of its own, so that the recording's
// form is not tied to the printed one.
type process event.Process

// ErrRecording says that a file is no recording, or a damaged one.
var ErrRecording = errors.New("not a whole recording")

type recordingReader struct {
	r    *bufio.Reader
	line int
}

// next reads one frame into v; io.EOF at a clean end of a line.
func (d *recordingReader) next(v any) error {
	d.line++
	var b []byte
	for {
		part, err := d.r.ReadSlice('\n')
		b = append(b, part...)
		if len(b) > lineMax {
			return fmt.Errorf("%w: line %d is longer than %d bytes", ErrRecording, d.line, lineMax)
		}
		if err == nil {
			break
		}
		if errors.Is(err, io.EOF) && len(b) == 0 {
			return io.EOF
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: line %d is cut off", ErrRecording, d.line)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("read line %d: %w", d.line, err)
		}
	}
	if len(b) < 10 || b[8] != ' ' {
		return fmt.Errorf("%w: line %d does not begin with a check sum", ErrRecording, d.line)
	}
	want, err := strconv.ParseUint(string(b[:8]), 16, 32)
	if err != nil || uint32(want) != crc32.Checksum(b[9:len(b)-1], castagnoli) {
		return fmt.Errorf("%w: the check sum of line %d is wrong", ErrRecording, d.line)
	}
	if err := json.Unmarshal(b[9:len(b)-1], v); err != nil {
		return fmt.Errorf("%w: line %d: %w", ErrRecording, d.line, err)
	}
	return nil
}
