package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReproducible makes the release again, elsewhere and as somebody else: in
// another directory, time zone, language and umask. The program is made a third
// time with an empty build cache, since what the compiler wrote once would hide
// that it depends on the directory.
func TestReproducible(t *testing.T) {
	one := release(t)
	two, err := clone("a/second and longer name")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := []string{"TZ=Pacific/Auckland", "LC_ALL=C.UTF-8", "LANG=C.UTF-8", "SOURCE_DATE_EPOCH=1"}
	if err := two.make("umask 077", elsewhere, "release"); err != nil {
		t.Fatal(err)
	}
	a, b := files(t, one.dist()), files(t, two.dist())
	if diff := cmp.Diff(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b))); diff != "" {
		t.Fatalf("the releases have other files (-first +second):\n%s", diff)
	}
	for name := range a {
		if !bytes.Equal(a[name], b[name]) {
			t.Errorf("%s differs between two releases of one commit", name)
		}
	}
	if err := two.make("umask 022", []string{"GOCACHE=" + t.TempDir()}, "build"); err != nil {
		t.Fatal(err)
	}
	built, err := os.ReadFile(filepath.Join(string(two), "bin", "rstwhy"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(built, a[filepath.Base(one.binary(runtime.GOARCH))]) {
		t.Error("make build with an empty cache makes another program than make release")
	}
}

func files(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDist: what is there, and the sums over all of it.
func TestDist(t *testing.T) {
	d := release(t)
	var want []string
	for arch := range architectures {
		want = append(want, d.binary(arch), d.binary(arch)+".tar.gz", d.binary(arch)+".cdx.json", d.rpm(arch),
			d.dist("rstwhy_"+pkgVersion+"-1_"+arch+".deb"))
	}
	want = append(want, d.dist("rstwhy.service"), d.dist("completions", "rstwhy.bash"), d.dist("completions", "_rstwhy"),
		d.dist("completions", "rstwhy.fish"), d.dist("man", "rstwhy.8"), d.dist("man", "rstwhy-trace.8"))
	sums, err := os.ReadFile(d.dist("SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range want {
		name, _ := filepath.Rel(d.dist(), path)
		if !strings.Contains(string(sums), "  "+name+"\n") {
			t.Errorf("SHA256SUMS does not list %s:\n%s", name, sums)
		}
	}
	if n := strings.Count(string(sums), "\n"); n != len(files(t, d.dist()))-1 {
		t.Errorf("SHA256SUMS lists %d files of %d", n, len(files(t, d.dist()))-1)
	}
	c := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
	c.Dir = d.dist()
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("sha256sum --check: %v\n%s", err, out)
	}
}

// TestStatic: no interpreter and no library, for the right machine.
func TestStatic(t *testing.T) {
	d := release(t)
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for arch := range architectures {
		f, err := elf.Open(d.binary(arch))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machines[arch] {
			t.Errorf("%s: the program is for %s", arch, f.Machine)
		}
		for _, p := range f.Progs {
			if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
				t.Errorf("%s: the program has %s, so it is not static", arch, p.Type)
			}
		}
	}
}

// TestVersion: the program tells the commit that it was made of.
func TestVersion(t *testing.T) {
	d := release(t)
	head, err := exec.Command("git", "-c", "safe.directory=*", "-C", string(d), "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(d.binary(runtime.GOARCH), "version", "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version, Commit, Arch string
		CommitDate            string `json:"commit_date"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != tag || got.Commit != strings.TrimSpace(string(head)) || got.CommitDate != commitDate || got.Arch != runtime.GOARCH {
		t.Errorf("got %+v, want %s, %s, %s", got, tag, head, commitDate)
	}
}

// TestTexts: man pages and completions are those of the program in the release.
func TestTexts(t *testing.T) {
	d := release(t)
	bin, dir := d.binary(runtime.GOARCH), t.TempDir()
	c := exec.Command(bin, "man", dir)
	c.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=1767323045") // commitDate
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("rstwhy man: %v\n%s", err, out)
	}
	if diff := cmp.Diff(files(t, dir), files(t, d.dist("man"))); diff != "" {
		t.Errorf("man pages (-made now +in dist):\n%s", diff)
	}
	for shell, name := range map[string]string{"bash": "rstwhy.bash", "zsh": "_rstwhy", "fish": "rstwhy.fish"} {
		want, err := exec.Command(bin, "completion", shell).Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(d.dist("completions", name))
		if err != nil || !bytes.Equal(got, want) || len(got) == 0 {
			t.Errorf("%s differs from what rstwhy completion %s writes (%v)", name, shell, err)
		}
	}
}

// TestTarball: all in one directory, of root, of the commit's time, with the
// program of dist.
func TestTarball(t *testing.T) {
	d := release(t)
	for arch := range architectures {
		f, err := os.Open(d.binary(arch) + ".tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		top, got := filepath.Base(d.binary(arch)), map[string][]byte{}
		for r := tar.NewReader(z); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if h.Uid != 0 || h.Gid != 0 || h.Mode&0o022 != 0 || h.ModTime.UTC().Format("2006-01-02T15:04:05Z") != commitDate {
				t.Errorf("%s: owner %d:%d, mode %o, time %s", h.Name, h.Uid, h.Gid, h.Mode, h.ModTime.UTC())
			}
			name, ok := strings.CutPrefix(h.Name, top+"/")
			if !ok {
				t.Errorf("%s is not below %s", h.Name, top)
			}
			if got[name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		program, err := os.ReadFile(d.binary(arch))
		if err != nil || !bytes.Equal(got["rstwhy"], program) {
			t.Errorf("%s: the program in the tar.gz is not that of dist (%v)", arch, err)
		}
		for _, name := range []string{"README.md", "CHANGELOG.md", "LICENSE", "LICENSE.BSD-2-Clause", "copyright",
			"THIRD-PARTY-LICENSES", "rstwhy.service", "man/rstwhy.8", "completions/_rstwhy"} {
			if len(got[name]) == 0 {
				t.Errorf("%s: the tar.gz has no %s", arch, name)
			}
		}
	}
}

// TestComponents: the SBOM and the licences name each module that is linked in,
// as the program itself lists them.
func TestComponents(t *testing.T) {
	d := release(t)
	licences, err := os.ReadFile(filepath.Join(string(d), "bin/stage/common/doc/THIRD-PARTY-LICENSES"))
	if err != nil {
		t.Fatal(err)
	}
	for arch := range architectures {
		sbom, err := os.ReadFile(d.binary(arch) + ".cdx.json")
		if err != nil {
			t.Fatal(err)
		}
		var bom struct {
			BOMFormat  string
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(sbom, &bom); err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, c := range bom.Components {
			have[c.Name+" "+c.Version] = true
		}
		info, err := exec.Command("go", "version", "-m", d.binary(arch)).Output()
		if err != nil {
			t.Fatal(err)
		}
		modules := 0
		for line := range strings.Lines(string(info)) {
			f := strings.Fields(line)
			if len(f) < 3 || f[0] != "dep" {
				continue
			}
			modules++
			if module := f[1] + " " + f[2]; !have[module] {
				t.Errorf("%s: the SBOM does not name %s", arch, module)
			} else if !strings.Contains(string(licences), "===== "+module+"\n") {
				t.Errorf("%s: no licence of %s", arch, module)
			}
		}
		if modules < 5 || bom.BOMFormat != "CycloneDX" || !have["std "+runtime.Version()] {
			t.Errorf("%s: %d modules in the program; the SBOM is %q and has %v", arch, modules, bom.BOMFormat, have)
		}
	}
}
