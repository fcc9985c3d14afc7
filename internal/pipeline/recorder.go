package pipeline

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"rstwhy/internal/event"
	"rstwhy/internal/probe"
)

// RecordMin is the least size of a recording's file: its header, which holds the
// kernel's names, takes some kilobytes, and a frame at most 1 MiB.
const RecordMin = 2 * lineMax

// markMax is room for the frame that ends a file whose recording goes on.
const markMax = 256

// RecordOptions say where a recording goes and how large it may become.
type RecordOptions struct {
	Path  string // of the first file; the next ones are Path.1, Path.2 ...
	Size  int64  // bytes of a file, at least RecordMin; 0: no bound, and one file
	Files int    // files that are kept, 1 or more; the oldest go
}

// Recorder writes a recording.
type Recorder struct {
	opts           RecordOptions
	file           *os.File
	w              *bufio.Writer
	head           Header
	size           int64   // bytes of the file, those in the buffer included
	older          []piece // finished files that are kept
	removed        int     // files that had to make room
	started        bool
	err            error
	told           bool    // err was told
	left, leftTold leftOut // up to now, and by the frames
}

// piece is a finished file, and how to know it again.
type piece struct {
	path     string
	size     int64
	dev, ino uint64
}

// NewRecorder creates the first file, mode 0600. It refuses a file that exists,
// and so never writes through a link and never destroys an older recording;
// likewise where one of the names that may follow is taken, so that no file of
// another recording is taken for a part of this one.
func NewRecorder(opts RecordOptions) (*Recorder, error) {
	if opts.Size != 0 && (opts.Size < RecordMin || opts.Files < 1) {
		return nil, fmt.Errorf("record: %d files of %d bytes are too few or too small; use at least 1 of %d", opts.Files, opts.Size, RecordMin)
	}
	if opts.Size != 0 {
		taken, err := partOf(opts.Path)
		if err != nil {
			return nil, fmt.Errorf("record to %q: %w", opts.Path, err)
		}
		if taken != "" {
			return nil, fmt.Errorf("record to %q: its next file would be in one row with %q, which exists; choose a new name or remove it", opts.Path, taken)
		}
	}
	f, err := createNew(opts.Path)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("record to %q: the file exists (or is a link); choose a new name or remove it", opts.Path)
	}
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	rec := recorderOn(f)
	rec.opts = opts
	return rec, nil
}

func createNew(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
}

// partOf finds a file named as a later part of a recording.
func partOf(path string) (string, error) {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrPermission) {
		return "", nil // who may write there need not be allowed to list it
	}
	if err != nil {
		return "", err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if len(name) <= len(base)+1 || name[:len(base)] != base || name[len(base)] != '.' {
			continue
		}
		if _, err := strconv.ParseUint(name[len(base)+1:], 10, 31); err == nil {
			return filepath.Join(dir, name), nil
		}
	}
	return "", nil
}

func recorderOn(f *os.File) *Recorder {
	return &Recorder{file: f, w: bufio.NewWriterSize(f, 64<<10)}
}

// abandon removes the file of a session that never began, so that the same
// command can be given again with what it lacked.
func (rec *Recorder) abandon() {
	if rec == nil || rec.started {
		return
	}
	if p, err := rec.piece(); err == nil {
		_ = p.remove()
	}
	rec.file.Close()
}

func (rec *Recorder) start(h Header) error {
	rec.started = true
	h.Session, h.Began = rand.Text(), time.Now().UTC()
	rec.head = h
	rec.write(h)
	rec.flush()
	return rec.err
}

// reset writes a record, of which so many were delivered before.
func (rec *Recorder) reset(res *Resolution, clock probe.Clock, delivered uint64) {
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&res.Raw)), unsafe.Sizeof(res.Raw))
	rec.frame(&frame{
		Raw: raw, ClockNS: clock.Offset, Joined: res.Joined, Owner: (*process)(res.Owner), Source: res.Source,
		Proven: res.Proven, ZooKeeper: res.ZooKeeper, story: storyOf(res),
	}, delivered)
}

func (rec *Recorder) storm(st *event.Storm, delivered uint64) {
	rec.frame(&frame{Storm: st}, delivered)
}

// frame writes a frame, in the next file where this one has no room for it.
func (rec *Recorder) frame(f *frame, delivered uint64) {
	if rec.err != nil {
		return
	}
	f.LeftOut = rec.take()
	line, err := encode(f)
	if err != nil {
		rec.fail(err)
		return
	}
	if rec.opts.Size > 0 && rec.size+int64(len(line)) > rec.opts.Size-markMax {
		if err := rec.rotate(delivered); err != nil {
			rec.fail(err)
			return
		}
	}
	rec.put(line)
}

// rotate ends the file and begins the next one, after the oldest one has made
// room: at no time do the files take more than Files times Size bytes.
func (rec *Recorder) rotate(delivered uint64) error {
	next := rec.head
	next.Part, next.Began, next.Delivered = rec.head.Part+1, time.Now().UTC(), delivered
	rec.write(frame{Continued: &continued{Time: next.Began, Part: next.Part}})
	rec.flush()
	if rec.err != nil {
		return rec.err
	}
	done, err := rec.piece()
	if err != nil {
		return err
	}
	if err := rec.file.Close(); err != nil {
		return err
	}
	rec.older = append(rec.older, done)
	for len(rec.older) >= max(rec.opts.Files, 1) {
		if err := rec.older[0].remove(); err != nil {
			return err
		}
		rec.older = rec.older[1:]
		rec.removed++
	}
	file, err := createNew(fmt.Sprintf("%s.%d", rec.opts.Path, next.Part))
	if err != nil {
		return err
	}
	rec.file = file
	rec.w.Reset(file)
	rec.head, rec.size = next, 0
	rec.write(next)
	return rec.err
}

func (rec *Recorder) piece() (piece, error) {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(rec.file.Fd()), &st); err != nil {
		return piece{}, fmt.Errorf("stat %q: %w", rec.file.Name(), err)
	}
	return piece{path: rec.file.Name(), size: st.Size, dev: st.Dev, ino: st.Ino}, nil
}

// remove takes the file away unless it is another one by now.
func (p piece) remove() error {
	var st syscall.Stat_t
	if err := syscall.Lstat(p.path, &st); err != nil {
		if errors.Is(err, syscall.ENOENT) {
			return nil // somebody took it away already
		}
		return fmt.Errorf("stat %q: %w", p.path, err)
	}
	if st.Dev != p.dev || st.Ino != p.ino || st.Size != p.size {
		return nil // the name is another's now
	}
	return os.Remove(p.path)
}

func encode(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(make([]byte, 0, len(b)+10), "%08x %s\n", crc32.Checksum(b, castagnoli), b), nil
}

// write appends a line, whatever room there is.
func (rec *Recorder) write(v any) {
	if rec.err != nil {
		return
	}
	line, err := encode(v)
	if err != nil {
		rec.fail(err)
		return
	}
	rec.put(line)
}

func (rec *Recorder) put(line []byte) {
	rec.size += int64(len(line))
	if _, err := rec.w.Write(line); err != nil {
		rec.fail(err)
	}
}

func (rec *Recorder) flush() {
	if rec.err == nil {
		if err := rec.w.Flush(); err != nil {
			rec.fail(err)
		}
	}
}

// fail ends the recording: what a file holds up to now stays readable, and a
// gap in it would not be seen.
func (rec *Recorder) fail(err error) {
	if rec.err == nil {
		rec.err = fmt.Errorf("write recording %q: %w; the recording ends here", rec.file.Name(), err)
	}
}

// failed gives the error that ended the recording, once.
func (rec *Recorder) failed() error {
	if rec == nil || rec.told {
		return nil
	}
	rec.told = rec.err != nil
	return rec.err
}

// finish writes the last frame. It returns the first error of the recording:
// tracing went on without it, but what was asked was not done.
func (rec *Recorder) finish(sum event.Summary, delivered uint64) error {
	// A replay makes the tables anew, from the records. With thousands of
	// rows they could be longer than a frame may be.
	sum.ByCause, sum.ByProcess, sum.ByRemote, sum.Verdicts, sum.Servers = nil, nil, nil, nil, nil
	sum.ByPair, sum.Clients = nil, nil
	rec.frame(&frame{Summary: &sum}, delivered)
	rec.flush()
	if err := rec.file.Close(); err != nil && rec.err == nil {
		rec.fail(err)
	}
	return rec.err
}
