package proctree

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// self opens this very process, whose root and files the test knows.
func self(t *testing.T) *Tree {
	t.Helper()
	tree, err := Open(uint32(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tree.Close)
	return tree
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("a", []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo("pipe", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/proc/self/root"+dir+"/a", "magic"); err != nil {
		t.Fatal(err)
	}
	tree := self(t)
	for _, tt := range []struct{ name, want string }{
		{filepath.Join(dir, "a"), ""},
		{"a", ""},
		{"link", ""},
		{"../" + filepath.Base(dir) + "/a", ""},
		{"pipe", "not a regular file"},
		{".", "not a regular file"},
		{"/dev/null", "not a regular file"},
		{"/proc/version", "of type 0x9fa0, of which nothing is read"},
		{"/sys/kernel/notes", "of which nothing is read"},
		{"magic", "too many levels of symbolic links"},
		{"gone", "no such file"},
		{"", "name of 0 bytes"},
		{strings.Repeat("x", MaxPath+1), "name of 4097 bytes"},
	} {
		text, err := tree.ReadFile(tt.name, 4)
		switch {
		case tt.want == "" && (err != nil || string(text) != "text"):
			t.Errorf("%q: %q %v", tt.name, text, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%q: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := tree.ReadFile("a", 3); err == nil || !strings.Contains(err.Error(), "4 bytes are more than 3") {
		t.Errorf("too big a file: %v", err)
	}
	names, err := tree.ReadDir(".", 10)
	slices.Sort(names)
	if err != nil || !slices.Equal(names, []string{"a", "link", "magic", "pipe"}) {
		t.Errorf("directory: %q %v", names, err)
	}
	isLink := func(name string) bool { return name == "link" || name == "magic" }
	if names, err := tree.FindNames(".", 10, 1, isLink); err != nil || len(names) != 1 || !isLink(names[0]) {
		t.Errorf("names found: %q %v", names, err)
	}
	if names, err := tree.FindNames(".", 0, 9, isLink); err != nil || len(names) != 0 {
		t.Errorf("names among none: %q %v", names, err)
	}
	if names, err := tree.ReadDir("/proc", 2); err == nil {
		t.Errorf("a directory of the kernel's: %q", names)
	}
	if names, err := tree.ReadDir(".", 2); err != nil || len(names) != 2 {
		t.Errorf("directory, bounded: %q %v", names, err)
	}
}

// A file that says that it may have something later does not make the reader
// wait: reading it is tried once.
func TestReadAt(t *testing.T) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[1])
	f := &File{fd: p[0]}
	defer f.Close()
	if n, err := f.ReadAt(make([]byte, 1), 0); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a pipe: %d bytes, %v", n, err)
	}
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	g, err := self(t).OpenFile(name)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	b := make([]byte, 8)
	if n, err := g.ReadAt(b, 1); n != 3 || !errors.Is(err, io.EOF) || string(b[:n]) != "ext" {
		t.Errorf("%q %v", b[:n], err)
	}
}

func TestDescriptors(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.jar")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("zip"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()

	tree := self(t)
	open, whole := tree.Descriptors(10000)
	want := Descriptor{strconv.Itoa(int(f.Fd())), name + " (deleted)"}
	if !slices.Contains(open, want) || !whole {
		t.Errorf("%v is not among %v (all: %v)", want, open, whole)
	}
	if open, whole := tree.Descriptors(2); len(open) != 2 || whole {
		t.Errorf("bounded: %v, all: %v", open, whole)
	}
	file, err := tree.OpenDescriptor(want.Number)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, file.Size))
	if err != nil || string(text) != "zip" || file.Owner != uint32(os.Geteuid()) {
		t.Errorf("deleted file: %q %v, owner %d", text, err, file.Owner)
	}
	for number, want := range map[string]string{
		strconv.Itoa(int(r.Fd())): "not a regular file",
		"../exe":                  "not a number",
		"-1":                      "not a number",
	} {
		if _, err := tree.OpenDescriptor(number); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("descriptor %s: error %v, want %q", number, err, want)
		}
	}
}

func TestProcess(t *testing.T) {
	tree := self(t)
	argv, err := tree.Cmdline()
	if err != nil || !slices.Equal(argv, os.Args) {
		t.Errorf("command line %q %v", argv, err)
	}
	threads, whole := tree.Threads(1000)
	if len(threads) == 0 || !whole {
		t.Fatalf("threads %q, all: %v", threads, whole)
	}
	if some, whole := tree.Threads(len(threads) - 1); len(some) > len(threads)-1 || whole && len(threads) > 1 {
		t.Errorf("bounded: %d threads of %d, all: %v", len(some), len(threads), whole)
	}
	i := slices.IndexFunc(threads, func(th Thread) bool { return th.ID == strconv.Itoa(os.Getpid()) })
	if i < 0 {
		t.Fatalf("the main thread is not among %v", threads)
	}
	// The main thread is as old as the process, which has not been for long.
	if age, err := tree.Age(threads[i]); err != nil || age < 0 || age > 10*time.Minute {
		t.Errorf("age of the main thread %v %v", age, err)
	}
	if age, err := tree.Age(Thread{ID: "0"}); err == nil {
		t.Errorf("age of no thread: %v", age)
	}
	if uid, err := tree.UID(); err != nil || uid != uint32(os.Geteuid()) {
		t.Errorf("uid %d %v", uid, err)
	}
	if pid, err := tree.NSPid(); err != nil || pid == 0 {
		t.Errorf("pid in its namespace %d %v", pid, err)
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := strconv.ParseUint(strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[19], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if !tree.StartedAt(ticks*nsPerTick+123) || tree.StartedAt((ticks+1)*nsPerTick) {
		t.Error("start time")
	}
	exe, err := tree.OpenExe()
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	if st, err := os.Stat(os.Args[0]); err != nil || st.Size() != exe.Size {
		t.Errorf("executable of %d bytes, want %v %v", exe.Size, st, err)
	}
	maps := tree.Mappings(4, func(name string) bool { return name == tree.Exe() })
	if len(maps) != 1 {
		t.Fatalf("mappings of the executable: %v", maps)
	}
	m, err := tree.OpenMapping(maps[0])
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Size != exe.Size {
		t.Errorf("mapping of %d bytes, want %d", m.Size, exe.Size)
	}
}

func TestNoProcess(t *testing.T) {
	if _, err := Open(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
