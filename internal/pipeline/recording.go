package pipeline

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"unsafe"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// A recording is a text file, one line a frame: eight hexadecimal digits of
// the CRC-32C of the JSON object that follows after a space. The first frame
// describes the layout of the raw records, so that later versions read old
// recordings, and carries the kernel's names. The last one is the summary; a
// file without it is truncated.

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
	Storm   *event.Storm   `json:"storm,omitempty"`
	Summary *event.Summary `json:"summary,omitempty"`
}

// process is event.Process under a name of its own, so that the recording's
// form is not tied to the printed one.
type process event.Process

// Recorder writes a recording.
type Recorder struct {
	file    *os.File
	w       *bufio.Writer
	started bool
	err     error
}

// NewRecorder creates the file, mode 0600. It refuses a file that exists, and
// so never writes through a link and never destroys an older recording.
func NewRecorder(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("record to %q: the file exists (or is a link); choose a new name or remove it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	return recorderOn(f), nil
}

func recorderOn(f *os.File) *Recorder {
	return &Recorder{file: f, w: bufio.NewWriterSize(f, 64<<10)}
}

// abandon removes the file of a session that never began, so that the same
// command can be given again with what it lacked.
func (rec *Recorder) abandon() {
	if rec != nil && !rec.started {
		rec.file.Close()
		_ = os.Remove(rec.file.Name())
	}
}

func (rec *Recorder) start(h Header) error {
	rec.started = true
	rec.write(h)
	rec.flush()
	return rec.err
}

func (rec *Recorder) reset(res *Resolution, clock probe.Clock) {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&res.Raw)), unsafe.Sizeof(res.Raw))
	rec.write(frame{
		Raw: raw, ClockNS: clock.Offset, Joined: res.Joined, Owner: (*process)(res.Owner), Source: res.Source,
		Proven: res.Proven, ZooKeeper: res.ZooKeeper, story: storyOf(res),
	})
}

func (rec *Recorder) storm(st *event.Storm) { rec.write(frame{Storm: st}) }

func (rec *Recorder) write(v any) {
	if rec.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintf(rec.w, "%08x %s\n", crc32.Checksum(b, castagnoli), b)
	}
	if err != nil {
		rec.err = fmt.Errorf("write recording %q: %w", rec.file.Name(), err)
	}
}

func (rec *Recorder) flush() {
	if rec.err == nil {
		if err := rec.w.Flush(); err != nil {
			rec.err = fmt.Errorf("write recording %q: %w", rec.file.Name(), err)
		}
	}
}

// finish writes the last frame. It returns the first error of the recording:
// tracing went on without it, but what was asked was not done.
func (rec *Recorder) finish(sum event.Summary) error {
	rec.write(frame{Summary: &sum})
	rec.flush()
	if err := rec.file.Close(); err != nil && rec.err == nil {
		rec.err = fmt.Errorf("close recording: %w", err)
	}
	return rec.err
}

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
