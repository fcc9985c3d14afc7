package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// series are the kernels that Debian supports, and "7": the newest stable one.
// Their patch versions change every few weeks, so the newest is looked up and
// none is pinned. Experimental's release candidates are left out.
var series = []struct {
	name   string
	suites []string
	arches []string
}{
	{"5.10", []string{"bullseye"}, []string{"amd64", "arm64"}},
	{"6.1", []string{"bookworm"}, []string{"amd64"}},
	{"6.12", []string{"trixie"}, []string{"amd64", "arm64"}},
	{"7", []string{"trixie-backports", "sid"}, []string{"amd64"}},
}

// kernel is one of the matrix, unpacked.
type kernel struct {
	series, arch string
	release      string // uname -r
	version      string // of the package
	dir          string
}

func (k kernel) String() string { return k.series + "-" + k.arch }

// image and modules are where packages put them: since 7.2 the image is beside
// the modules, and with merged /usr those are below usr/.
func (k kernel) modules() (string, error) {
	return oneOf(filepath.Join(k.dir, "usr/lib/modules", k.release), filepath.Join(k.dir, "lib/modules", k.release))
}

func (k kernel) image() (string, error) {
	return oneOf(filepath.Join(k.dir, "boot/vmlinuz-"+k.release), filepath.Join(k.dir, "usr/lib/modules", k.release, "vmlinuz"), filepath.Join(k.dir, "lib/modules", k.release, "vmlinuz"))
}

func oneOf(paths ...string) (string, error) {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the kernel's package has none of %s", strings.Join(paths, ", "))
}

// candidate is a kernel that a suite offers.
type candidate struct {
	suite, release string
	packages       []string // what must be unpacked; the first gives the version
}

// offers finds the kernels of a series among names of packages. The cloud
// flavour has all that the lab needs and a third of the size. Image packages hold
// everything, until from 7.2 on the image is in linux-binary, its modules in
// linux-modules, and its configuration and lists in linux-base.
func offers(names []string, series, suite, arch string) (all []candidate) {
	image := regexp.MustCompile(`^linux-(image|binary)-(` + regexp.QuoteMeta(series) + `\.\S*)-cloud-` + arch + `(-unsigned)?$`)
	for _, name := range names {
		m := image.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		release := m[2] + "-cloud-" + arch
		modules := "linux-modules-" + release
		has := slices.Contains(names, modules)
		switch {
		case m[1] == "binary" && has:
			c := candidate{suite, release, []string{name, modules}}
			if base := "linux-base-" + release; slices.Contains(names, base) {
				c.packages = append(c.packages, base)
			}
			all = append(all, c)
		case m[1] == "image" && !has && !slices.Contains(names, "linux-binary-"+release):
			all = append(all, candidate{suite, release, []string{name}})
		}
	}
	return all
}

// newestFirst sorts by release; of two packages of the same, the one without
// Secure Boot's signature comes first.
func newestFirst(all []candidate) {
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(compareReleases(b.release, a.release), cmp.Compare(len(b.packages[0]), len(a.packages[0])))
	})
}

var digits = regexp.MustCompile(`\d+|\D+`)

// compareReleases compares numbers as numbers: 6.12.90 is before 6.12.118.
func compareReleases(a, b string) int {
	return slices.CompareFunc(digits.FindAllString(a, -1), digits.FindAllString(b, -1), func(x, y string) int {
		m, errX := strconv.Atoi(x)
		n, errY := strconv.Atoi(y)
		if errX == nil && errY == nil {
			return cmp.Compare(m, n)
		}
		return cmp.Compare(x, y)
	})
}

// store keeps kernels outside the work tree, by series, architecture and version.
type store struct {
	dir string
	log io.Writer
}

// cached gives the newest kernel that is there.
func (s store) cached(series, arch string) (kernel, error) {
	marks, err := filepath.Glob(filepath.Join(s.dir, "kernels", series+"-"+arch, "*", "complete"))
	if err != nil {
		return kernel{}, err
	}
	if len(marks) == 0 {
		return kernel{}, fmt.Errorf("no kernel %s for %s in %s: fetch it (vm kernels -kernels %s -arch %s)", series, arch, s.dir, series, arch)
	}
	mark := slices.MaxFunc(marks, compareReleases)
	b, err := os.ReadFile(mark)
	if err != nil {
		return kernel{}, err
	}
	release, version, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	return kernel{series, arch, release, version, filepath.Dir(mark)}, nil
}

// fetch makes sure that the newest kernel of a series is there. Where the mirror
// does not answer, one that is there already will do, and that is said.
func (s store) fetch(ctx context.Context, name string, suites []string, arch string) (kernel, error) {
	release, err := s.lock(ctx)
	if err != nil {
		return kernel{}, err
	}
	defer release()
	k, err := s.fetchNewest(ctx, name, suites, arch)
	if err == nil || ctx.Err() != nil {
		return k, err
	}
	have, none := s.cached(name, arch)
	if none != nil {
		return kernel{}, fmt.Errorf("kernel %s for %s: %w", name, arch, err)
	}
	fmt.Fprintf(s.log, "vm: taking %s, which is there: a newer one could not be looked for: %v\n", have.release, err)
	return have, nil
}

func (s store) fetchNewest(ctx context.Context, name string, suites []string, arch string) (kernel, error) {
	var all []candidate
	states := map[string]*aptState{}
	for _, suite := range suites {
		a, err := openApt(ctx, filepath.Join(s.dir, "apt"), suite, arch)
		if err != nil {
			return kernel{}, err
		}
		states[suite] = a
		names, err := a.run(ctx, "", "apt-cache", "pkgnames", "linux-")
		if err != nil {
			return kernel{}, err
		}
		all = append(all, offers(strings.Fields(names), name, suite, arch)...)
	}
	if len(all) == 0 {
		return kernel{}, fmt.Errorf("no package of it is in Debian %s", strings.Join(suites, " and "))
	}
	newestFirst(all)
	// An old suite's lists name packages that its archive has let go.
	var first error
	for i, c := range all {
		k, err := s.unpack(ctx, states[c.suite], name, c)
		if i > 0 && err == nil {
			fmt.Fprintf(s.log, "vm: took %s: of the newer ones none of %d packages can be fetched, the first: %v\n", k.release, i, first)
		}
		if err == nil || ctx.Err() != nil {
			return k, err
		}
		first = cmp.Or(first, err)
	}
	return kernel{}, first
}

// unpack downloads a kernel that is not there yet, and removes what it replaces.
func (s store) unpack(ctx context.Context, a *aptState, name string, c candidate) (kernel, error) {
	shown, err := a.run(ctx, "", "apt-cache", "show", "--no-all-versions", c.packages[0])
	if err != nil {
		return kernel{}, err
	}
	version := field(shown, "Version")
	if version == "" {
		return kernel{}, fmt.Errorf("apt-cache shows no version of %s", c.packages[0])
	}
	above := filepath.Join(s.dir, "kernels", name+"-"+a.arch)
	k := kernel{name, a.arch, c.release, version, filepath.Join(above, c.release+"_"+strings.ReplaceAll(version, "/", "_"))}
	if _, err := os.Stat(filepath.Join(k.dir, "complete")); err == nil {
		return k, nil
	}
	old, _ := filepath.Glob(filepath.Join(above, "*"))
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return kernel{}, err
	}
	if err := s.download(ctx, a, c, k); err != nil {
		return kernel{}, errors.Join(err, os.RemoveAll(k.dir))
	}
	fmt.Fprintf(s.log, "vm: fetched %s %s from Debian %s\n", c.packages[0], version, c.suite)
	for _, dir := range old {
		if dir != k.dir {
			if err := os.RemoveAll(dir); err != nil {
				return kernel{}, err
			}
		}
	}
	return k, os.WriteFile(filepath.Join(k.dir, "complete"), []byte(k.release+" "+k.version+"\n"), 0o644)
}

func (s store) download(ctx context.Context, a *aptState, c candidate, k kernel) error {
	debs, err := os.MkdirTemp(s.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(debs)
	if _, err := a.run(ctx, debs, "apt-get", append([]string{"download", "-qq"}, c.packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, err := command(ctx, debs, "dpkg-deb", "-x", f, k.dir); err != nil {
			return err
		}
	}
	if _, err := k.image(); err != nil {
		return err
	}
	dir, err := k.modules()
	if err != nil {
		return err
	}
	_, err = readModules(dir)
	return err
}

// field is the first value of a field of a control file.
func field(control, name string) string {
	for line := range strings.Lines(control) {
		if v, ok := strings.CutPrefix(line, name+": "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
