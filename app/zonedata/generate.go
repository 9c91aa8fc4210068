//go:build ignore

// Generate writes zoneinfo.zip, the zone data that are built into riverbeat,
// from a folder of compiled zones with its tzdata.zi. It has the form of Go's
// own lib/time/zoneinfo.zip, stored and not compressed, with the release in a
// file +VERSION, so ZONEINFO can name it too. The same folder gives the same
// bytes. On Debian, which has new releases within days:
//
//	apt-get update && cd "$(mktemp -d)" && apt-get download tzdata && dpkg -x tzdata_*.deb .
//	go run generate.go -from "$PWD/usr/share/zoneinfo"       # in app/zonedata
//
// Since Debian 13 the old names (US/Pacific) are in the package tzdata-legacy:
// download and unpack both. Then add the release's date, which is in the NEWS
// (usr/share/doc/tzdata/changelog.gz), to the table in version.go.
package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	log.SetFlags(0)
	from := flag.String("from", "/usr/share/zoneinfo", "folder of compiled zones with a tzdata.zi")
	to := flag.String("to", "zoneinfo.zip", "file to write")
	flag.Parse()
	if err := generate(*from, *to); err != nil {
		log.Fatal(err)
	}
}

// A zone's name; posix/ and right/ repeat the zones, the rest are tables.
var zoneName = regexp.MustCompile(`^[A-Z][\w+-]*(/[A-Z][\w+-]*){0,2}$`)

func generate(from, to string) error {
	files := map[string][]byte{}
	rules, err := os.ReadFile(filepath.Join(from, "tzdata.zi"))
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`^# version (\d{4}[a-z]+)\n`).FindSubmatch(rules)
	if found == nil {
		return errors.New("tzdata.zi doesn't begin with its version")
	}
	files["+VERSION"] = append(found[1], '\n')
	err = fs.WalkDir(os.DirFS(from), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !zoneName.MatchString(name) {
			return err
		}
		data, err := os.ReadFile(filepath.Join(from, name)) // follows links
		if err != nil || !bytes.HasPrefix(data, []byte("TZif")) {
			return err
		}
		if files[name], err = slim(name, data); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(rules)) {
		if link := strings.Fields(line); len(link) == 3 && link[0] == "L" && files[link[2]] == nil {
			return fmt.Errorf("%s is missing: is the package tzdata-legacy unpacked too?", link[2])
		}
	}

	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		size := uint64(len(files[name]))
		w, err := archive.CreateRaw(&zip.FileHeader{
			Name: name, Method: zip.Store, CRC32: crc32.ChecksumIEEE(files[name]),
			CompressedSize64: size, UncompressedSize64: size,
		})
		if err != nil {
			return err
		}
		if _, err := w.Write(files[name]); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	log.Printf("%s: %d zones of %s, %d KB", to, len(files)-1, found[1], out.Len()>>10)
	return os.WriteFile(to, out.Bytes(), 0o644)
}

// slim leaves out what no reader of today needs: the block with 32-bit times,
// and at the end of the table the changes that follow from the rule behind it.
// `zic -b slim` would do it too, but that of Debian 12 leaves out too much
// (Ojinaga in 2022, Gaza from 2073 on). So each zone is read as it was and as it
// is now, and what differs at any instant isn't left out.
func slim(name string, data []byte) ([]byte, error) {
	full, err := time.LoadLocationFromTZData(name, data)
	if err != nil {
		return nil, err
	}
	z, err := parse(data)
	if err != nil {
		return nil, err
	}
	small := z.bytes(len(z.times))
	for n := len(z.times) - 1; n > 0; n-- {
		fewer := z.bytes(n)
		loc, err := time.LoadLocationFromTZData(name, fewer)
		if err != nil || !same(full, loc, z.times[n-1:]) {
			break
		}
		small = fewer
	}
	loc, err := time.LoadLocationFromTZData(name, small)
	if err != nil {
		return nil, err
	}
	if len(z.times) > 0 && !same(full, loc, z.times) {
		return nil, errors.New("reads differently when made smaller")
	}
	return small, nil
}

// same compares two zones where either of them changes, from the first of full's
// changes to a year after the last: from there on both follow the same rule.
func same(full, loc *time.Location, changes []int64) bool {
	at := make([]time.Time, 0, 2*len(changes))
	for _, change := range changes {
		at = append(at, time.Unix(change, 0))
	}
	end := at[len(at)-1].AddDate(1, 0, 0)
	for _, zone := range []*time.Location{full, loc} {
		for t := at[0]; t.Before(end); {
			_, next := t.In(zone).ZoneBounds()
			if next.IsZero() {
				break
			}
			if !next.After(t) { // on the last day of some leap years
				next = t.Add(24 * time.Hour)
			}
			at, t = append(at, next), next
		}
	}
	for _, t := range at {
		for _, t := range []time.Time{t.Add(-time.Second), t} {
			a, b := t.In(full), t.In(loc)
			nameA, offsetA := a.Zone()
			nameB, offsetB := b.Zone()
			if nameA != nameB || offsetA != offsetB || a.IsDST() != b.IsDST() {
				return false
			}
		}
	}
	return true
}

// zone is the 64-bit part of a TZif file (RFC 9636).
type zone struct {
	version byte
	times   []int64 // when the clock changes
	indexes []byte  // to which type
	types   []byte  // 6 bytes each
	chars   []byte  // their abbreviations
	footer  []byte  // the rule after the last change
}

const headerSize = 44

func parse(data []byte) (*zone, error) {
	counts := func(header []byte) (c [6]int) {
		for i := range c {
			c[i] = int(binary.BigEndian.Uint32(header[20+4*i:]))
		}
		return c
	}
	if len(data) < headerSize || data[4] < '2' {
		return nil, errors.New("has no 64-bit times")
	}
	c := counts(data)
	skip := headerSize + c[3]*5 + c[4]*6 + c[5] + c[2]*8 + c[1] + c[0]
	if len(data) < skip+headerSize {
		return nil, errors.New("is cut off")
	}
	z := &zone{version: data[4]}
	c = counts(data[skip:])
	data = data[skip+headerSize:]
	if c[2] != 0 {
		return nil, errors.New("counts leap seconds")
	}
	if len(data) < c[3]*9+c[4]*6+c[5]+c[1]+c[0]+2 {
		return nil, errors.New("is cut off")
	}
	take := func(n int) (part []byte) { part, data = data[:n:n], data[n:]; return part }
	times := take(8 * c[3])
	for i := range c[3] {
		z.times = append(z.times, int64(binary.BigEndian.Uint64(times[8*i:])))
	}
	z.indexes, z.types, z.chars = take(c[3]), take(6*c[4]), take(c[5])
	take(c[1] + c[0]) // standard or wall, UT or local: for POSIX rules without dates
	z.footer = data
	return z, nil
}

// bytes is the file with the first n changes.
func (z *zone) bytes(n int) []byte {
	header := func(out []byte, times, types, chars int) []byte {
		out = append(out, "TZif"...)
		out = append(out, z.version)
		out = append(out, make([]byte, 15)...)
		for _, count := range []int{0, 0, 0, times, types, chars} {
			out = binary.BigEndian.AppendUint32(out, uint32(count))
		}
		return out
	}
	// The 32-bit block: one type, as there must be one.
	out := append(header(nil, 0, 1, 1), make([]byte, 6+1)...)
	out = header(out, n, len(z.types)/6, len(z.chars))
	for _, at := range z.times[:n] {
		out = binary.BigEndian.AppendUint64(out, uint64(at))
	}
	return slices.Concat(out, z.indexes[:n], z.types, z.chars, z.footer)
}
