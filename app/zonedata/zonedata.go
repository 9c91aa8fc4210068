// Package zonedata is the rules of the world's time zones, never older than they
// must be. Governments change them at a few weeks' notice, while a program, an
// image and a machine each carry a copy that ages at its own pace. Newest reads
// the newest of them.
package zonedata

import (
	"archive/zip"
	"bufio"
	"bytes"
	_ "embed" // the built-in data
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

//go:generate go run generate.go

//go:embed zoneinfo.zip
var embedded []byte

// Data is one set of zone rules: where it is from and of which version. All of
// it is read when it is made, so that the version is that of every rule even when
// the files change meanwhile, and no name that a user sends reaches the file
// system. It never changes and is safe for concurrent use.
type Data struct {
	version  string
	released time.Time
	source   string
	zones    map[string]*time.Location
	names    []string
}

// Version is the IANA release, such as "2026f", or "" when it is unknown. What
// Newest gives has a version.
func (d *Data) Version() string { return d.version }

// Released is when the version was released, as far as it is known: exactly for
// the versions of the last years. For others it is when the newest file of the
// data was written, kept within the version's year and not before the newest
// earlier version that is known; without such a time, the beginning of that span.
// For data of an unknown version it is the newest file's time, or zero.
func (d *Data) Released() time.Time { return d.released }

// Source says where the data are from: "ZONEINFO /path", "system
// /usr/share/zoneinfo" or "embedded".
func (d *Data) Source() string { return d.source }

// Names are the names of all zones, sorted. The caller owns the slice.
func (d *Data) Names() []string { return slices.Clone(d.names) }

// Load gives the zone of the name, the same *time.Location each time; that of
// "UTC" is time.UTC. Unlike time.LoadLocation it refuses "" and "Local", which
// would mean another zone on another machine, and a spelling in other letters
// than IANA's, which works on some file systems only. The error completes a
// sentence that begins with a field's name, and names the zone that was probably
// meant.
func (d *Data) Load(name string) (*time.Location, error) {
	if zone, ok := d.zones[name]; ok {
		return zone, nil
	}
	if name == "" || name == "Local" {
		return nil, fmt.Errorf(`must be an IANA time zone such as "Europe/Berlin" or "UTC", not %q`, name)
	}
	if len(name) > maxName {
		return nil, fmt.Errorf("is not an IANA time zone: %q and %d bytes more", name[:maxName], len(name)-maxName)
	}
	return nil, fmt.Errorf("is not an IANA time zone: %q%s", name, d.hint(name))
}

// Newest is the newest of three: the folder or zip file that zoneinfo names
// (what the variable ZONEINFO is set to; "" is none), the system's and the
// embedded one. Of two that are equally new it is the one named first, but for the
// system's, which has to be newer than the embedded one to be read at all. Data
// whose version is unknown count as the oldest. Names that the newest lacks, as
// systems may leave out the old ones such as US/Pacific, are taken from the
// embedded data.
//
// It is an error when zoneinfo is set and can't be read. A system's data that
// can't be read are passed over.
func Newest(zoneinfo string) (*Data, error) {
	return newest(zoneinfo, systemFolders())
}

// systemFolders are where systems keep their zone data.
func systemFolders() []string {
	folders := []string{"/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
	if runtime.GOOS == "darwin" {
		folders = append(folders, "/var/db/timezone/zoneinfo")
	}
	return folders
}

func newest(zoneinfo string, system []string) (*Data, error) {
	own, err := zip.NewReader(bytes.NewReader(embedded), int64(len(embedded)))
	if err != nil {
		return nil, fmt.Errorf("read the embedded time zone data: %w", err)
	}
	fallback, err := read("embedded", own)
	if err != nil {
		return nil, fmt.Errorf("read the embedded time zone data: %w", err)
	}
	best := fallback
	if zoneinfo != "" {
		named, err := readNamed(zoneinfo)
		if err != nil {
			return nil, fmt.Errorf("read the time zone data in %s: %w", zoneinfo, err)
		}
		if Compare(named.version, best.version) >= 0 {
			best = named
		}
	}
	for _, folder := range system {
		files := os.DirFS(folder)
		if Compare(versionOf(files), best.version) <= 0 {
			continue
		}
		if found, err := read("system "+folder, files); err == nil {
			best = found
		}
	}
	best.complete(fallback)
	return best, nil
}

// complete takes the zones that are missing from other data.
func (d *Data) complete(from *Data) {
	for name, zone := range from.zones {
		if d.zones[name] == nil {
			d.zones[name] = zone
		}
	}
	d.names = slices.Sorted(maps.Keys(d.zones))
}

func readNamed(path string) (*Data, error) {
	info, err := os.Stat(path) //nolint:gosec // G703: the path is the operator's own
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return read("ZONEINFO "+path, os.DirFS(path))
	}
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	return read("ZONEINFO "+path, archive)
}

const (
	maxName = 64       // bytes; IANA's longest has 32
	maxFile = 64 << 10 // bytes of a zone; the largest has 4 KB
)

// zoneName is what IANA's names look like. What doesn't isn't read, above all the
// folders posix and right: they repeat the zones, right with leap seconds.
var zoneName = regexp.MustCompile(`^[A-Z][A-Za-z0-9_+-]*(/[A-Z][A-Za-z0-9_+-]*){0,2}$`)

// read reads every zone of a folder or archive.
func read(source string, files fs.FS) (*Data, error) {
	d := &Data{version: versionOf(files), source: source, zones: map[string]*time.Location{}}
	contents, written := map[string][]byte{}, time.Time{}
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case name == ".":
			return err
		case !zoneName.MatchString(name) || len(name) > maxName:
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case err != nil || entry.IsDir():
			return err
		}
		data, modified, err := readZone(files, name)
		if err != nil || data == nil {
			return err
		}
		if modified.After(written) {
			written = modified
		}
		contents[name] = data
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(contents) == 0 {
		return nil, errors.New("there are no time zones in it")
	}
	for alias, target := range links(files) {
		if contents[alias] == nil && contents[target] != nil && zoneName.MatchString(alias) && len(alias) <= maxName {
			contents[alias] = contents[target]
		}
	}
	for name, data := range contents {
		if d.zones[name], err = time.LoadLocationFromTZData(name, data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	d.zones["UTC"] = time.UTC // the one that times are compared with, as time.LoadLocation has it
	d.names = slices.Sorted(maps.Keys(d.zones))
	d.released = released(d.version, written)
	return d, nil
}

// readZone gives nil when the file isn't a zone: other files lie beside them.
func readZone(files fs.FS, name string) ([]byte, time.Time, error) {
	// Opening a pipe would wait for its writer, so look first.
	info, err := fs.Stat(files, name)
	if errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere
		return nil, time.Time{}, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, time.Time{}, err
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("%s: %w", name, err)
	}
	if !bytes.HasPrefix(data, []byte("TZif")) {
		return nil, time.Time{}, nil
	}
	return data, info.ModTime(), nil
}

// links are the names that are others' aliases, by tzdata.zi: a system that
// leaves the old names' files out still says there what they stand for. It may be
// missing.
func links(files fs.FS) map[string]string {
	file, err := files.Open("tzdata.zi")
	if err != nil {
		return nil
	}
	defer file.Close()
	targets := map[string]string{}
	for lines := bufio.NewScanner(io.LimitReader(file, 1<<20)); lines.Scan(); {
		if link := strings.Fields(lines.Text()); len(link) == 3 && link[0] == "L" {
			targets[link[2]] = link[1]
		}
	}
	return targets
}
