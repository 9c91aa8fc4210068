package zonedata

import (
	"archive/zip"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// own is the embedded data.
var own = sync.OnceValues(func() (*Data, error) { return newest("", nil) })

func embeddedData(t testing.TB) *Data {
	t.Helper()
	d, err := own()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheEmbeddedDataAreWholeAndDated(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	if d.Source() != "embedded" || version(d.Version()) != d.Version() || Compare(d.Version(), "2026f") < 0 {
		t.Errorf("they are %q of %q", d.Version(), d.Source())
	}
	if date, ok := releases[d.Version()]; !ok || !d.Released().Equal(date) {
		t.Errorf("the table of releases has no date for %s: add it", d.Version())
	}
	if len(embedded) > 500<<10 {
		t.Errorf("they take %d bytes, want less than 500 KB", len(embedded))
	}
	text, err := os.ReadFile("../../testdata/next/zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(string(text))
	slices.Sort(want)
	if diff := cmp.Diff(want, d.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

func TestEveryNameLoadsUnderItsOwnName(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	for _, name := range d.Names() {
		zone, err := d.Load(name)
		if err != nil || zone.String() != name {
			t.Errorf("Load(%q) is %v, %v", name, zone, err)
		}
		if again, _ := d.Load(name); again != zone {
			t.Errorf("Load(%q) gives another zone the second time", name)
		}
	}
	if utc, _ := d.Load("UTC"); utc != time.UTC {
		t.Error("UTC is not time.UTC")
	}
	names := d.Names()
	names[0] = "changed"
	if d.Names()[0] == "changed" {
		t.Error("Names hands out its own slice")
	}
}

// compareZones is the folder that a second process of the test, for which it is
// ZONEINFO, compares with what time.LoadLocation makes of it.
const compareZones = "COMPARE_ZONES"

func TestMain(m *testing.M) {
	if path := os.Getenv(compareZones); path != "" {
		if err := compareWithTime(path); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Package time reads ZONEINFO once a process, so the comparison needs its own.
func TestZonesBehaveAsThoseOfPackageTime(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "zoneinfo.zip")
	write(t, archive, embedded, time.Now())
	sources := []string{archive}
	if versionOf(os.DirFS("/usr/share/zoneinfo")) != "" {
		sources = append(sources, "/usr/share/zoneinfo")
	}
	for _, source := range sources {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), compareZones+"="+source, "ZONEINFO="+source)
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", source, err, out)
		}
	}
}

func compareWithTime(path string) error {
	d, err := readNamed(path)
	if err != nil {
		return err
	}
	var wrong []error
	for _, name := range d.Names() {
		ours, _ := d.Load(name)
		theirs, err := time.LoadLocation(name)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		if at := firstDifference(ours, theirs); !at.IsZero() {
			wrong = append(wrong, errors.New(name+" differs at "+at.String()))
		}
	}
	return errors.Join(wrong...)
}

// firstDifference goes along the changes of both until 2100, or is zero.
func firstDifference(a, b *time.Location) time.Time {
	at := time.Date(1800, 1, 1, 0, 0, 0, 0, time.UTC)
	for at.Year() < 2100 {
		for _, t := range []time.Time{at.Add(-time.Second), at} {
			nameA, offsetA := t.In(a).Zone()
			nameB, offsetB := t.In(b).Zone()
			if nameA != nameB || offsetA != offsetB || t.In(a).IsDST() != t.In(b).IsDST() {
				return t
			}
		}
		next := at.AddDate(1, 0, 0)
		for _, zone := range []*time.Location{a, b} {
			if _, end := at.In(zone).ZoneBounds(); end.After(at) && end.Before(next) {
				next = end
			}
		}
		at = next.UTC()
	}
	return time.Time{}
}

func TestHostileNamesAreRefused(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	for _, name := range []string{
		"", "Local", "localtime", "../../etc/passwd", "/etc/passwd", "Europe/../../../etc/passwd", "Europe/..", "..", ".", "/", "//",
		"/usr/share/zoneinfo/Europe/Berlin", `Europe\Berlin`, `..\..\secret`, `\\host\share`, "Europe/Berlin\x00", "\x00", "Europe/Berlin\n",
		"posix/Europe/Berlin", "right/Europe/Berlin", "Europe", "Europe/", "/Europe/Berlin", "./Europe/Berlin", "Europe//Berlin",
		"tzdata.zi", "zone.tab", "posixrules", "leapseconds", "+VERSION", "iso3166.tab", "europe/berlin", "EUROPE/BERLIN", "utc", "Utc",
		":Europe/Berlin", "TZ=Europe/Berlin", "EST5", "CET-1CEST", "<+03>-3", "C:", "file:///etc/localtime", "\xff\xfe", "Europe/Bérlin",
		strings.Repeat("A", 1<<20), strings.Repeat("A/", 500), strings.Repeat("é", 40),
	} {
		zone, err := d.Load(name)
		if err == nil || zone != nil {
			t.Errorf("Load(%.40q) is %v, want it refused", name, zone)
			continue
		}
		text := err.Error()
		if !strings.Contains(text, "an IANA time zone") || len(text) > 500 || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Errorf("Load(%.40q): %.600q", name, text)
		}
	}
	if len(d.zones) != len(d.names) {
		t.Errorf("names that were refused are kept: %d zones of %d names", len(d.zones), len(d.names))
	}
}

func TestWhatIsLoadedIsAlwaysANameOfTheList(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	names := d.Names()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z/_.+ -]{0,70}[0-9]?`), rapid.SampledFrom(names)).Draw(t, "name")
		zone, err := d.Load(name)
		if _, found := slices.BinarySearch(names, name); found != (err == nil) || found != (zone != nil) || found && zone.String() != name {
			t.Fatalf("Load(%q) is %v, %v", name, zone, err)
		}
	})
}

func TestARefusalNamesTheZoneThatWasMeant(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	for _, test := range []struct{ name, meant string }{
		{"europe/berlin", "Europe/Berlin"},
		{"EUROPE/BERLIN", "Europe/Berlin"},
		{"utc", "UTC"},
		{"Gmt", "GMT"},
		{"America/New York", "America/New_York"},
		{"us/pacific", "US/Pacific"},

		{"Europe/Berln", "Europe/Berlin"},
		{"Eurpoe/Berlin", "Europe/Berlin"},
		{"Amreica/New_York", "America/New_York"},
		{"America/NewYork", "America/New_York"},
		{"Asia/Bku", "Asia/Baku"},
		{"Asia/Tokio", "Asia/Tokyo"},
		{"Europe/Kiew", "Europe/Kiev"},
		{"Turky", "Turkey"},

		{"Tokyo", "Asia/Tokyo"},
		{"tokio", "Asia/Tokyo"},
		{"new york", "America/New_York"},
		{"Europe/Tokyo", "Asia/Tokyo"},
		{"Eastern", "US/Eastern"},
		{"America/Buenos Aires", "America/Buenos_Aires"},
		{"Amerca/Louisville", "America/Louisville"},
		{"posix/Europe/Berlin", "Europe/Berlin"},
		{"right/Asia/Tokyo", "Asia/Tokyo"},
		{"/usr/share/zoneinfo/Europe/Berlin", "Europe/Berlin"},
		{":Europe/Berlin", "Europe/Berlin"},

		{"EST5", "EST"},
		{"PST", "PST8PDT"},
		{"CST", "CST6CDT"},
		{"Etc/GMT+9 ", ""},

		{"JST", "Asia/Tokyo"},
		{"jst", "Asia/Tokyo"},
		{"PDT", "America/Los_Angeles"},

		// POSIX's signs are the other way round; what is nearest by letters would be
		// 18 hours off.
		{"UTC+9", "Etc/GMT-9"},
		{"GMT+9", "Etc/GMT-9"},
		{"utc-03:00", "Etc/GMT+3"},
		{"+0900", "Etc/GMT-9"},
		{"UTC+14", "Etc/GMT-14"},
		{"UTC+15", ""},
		{"UTC+05:30", ""},
		{"UTC+0", "UTC"},
		{"+00:00", "UTC"},
		{"Etc/GMT+15", ""},

		{"IST", ""},
		{"BST", ""},
		{"CEST", ""},
		{"X", ""},
		{"Eastern Standard Time", ""},
		{"Mars/Olympus_Mons", ""},
		{"../../etc/passwd", ""},
	} {
		_, err := d.Load(test.name)
		if err == nil {
			t.Errorf("Load(%q) is accepted", test.name)
			continue
		}
		want := `is not an IANA time zone: "` + test.name + `"`
		if test.meant == "" && err.Error() != want {
			t.Errorf("Load(%q): %v, want no suggestion", test.name, err)
		}
		if test.meant != "" && !strings.Contains(strings.TrimPrefix(err.Error(), want), `"`+test.meant+`"`) {
			t.Errorf("Load(%q): %v, want %q suggested", test.name, err, test.meant)
		}
	}
	if _, err := d.Load("UTC+9"); err.Error() != `is not an IANA time zone: "UTC+9" (UTC+9 is "Etc/GMT-9", whose sign is the other way round)` {
		t.Error(err)
	}
}

func TestLoadIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	d := embeddedData(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i, name := range d.Names() {
				zone, err := d.Load(name)
				if err != nil {
					t.Error(err)
					return
				}
				if time.Unix(0, 0).In(zone).Unix() != 0 {
					t.Error(name)
				}
				if i%100 == 0 {
					_, _ = d.Load("no/" + name)
				}
			}
		})
	}
	group.Wait()
}

// zoneBytes is a zone whose offset from UTC is that many whole hours for ever.
func zoneBytes(hours int) []byte {
	header := "TZif2" + strings.Repeat("\x00", 15+4*4) + "\x00\x00\x00\x01\x00\x00\x00\x04"
	seconds := uint32(int32(hours * 3600))
	block := string([]byte{byte(seconds >> 24), byte(seconds >> 16), byte(seconds >> 8), byte(seconds), 0, 0}) + "ABC\x00"
	return []byte(header + block + header + block + "\n\n")
}

func write(t testing.TB, path string, content []byte, modified time.Time) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// folder makes a zoneinfo folder with Europe/Berlin at the offset.
func folder(t testing.TB, tzdata string, hours int) string {
	t.Helper()
	dir := t.TempDir()
	if tzdata != "" {
		write(t, filepath.Join(dir, "tzdata.zi"), []byte(tzdata), time.Now())
	}
	write(t, filepath.Join(dir, "Europe", "Berlin"), zoneBytes(hours), time.Date(2097, 5, 6, 7, 8, 9, 0, time.UTC))
	return dir
}

// archive makes a zip file of a folder.
func archive(t testing.TB, dir string, method uint16) string {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		file, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = file.Write(content)
		}
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "zones.zip")
	write(t, path, out.Bytes(), time.Now())
	return path
}

func offset(t testing.TB, d *Data, name string) int {
	t.Helper()
	zone, err := d.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	_, seconds := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).In(zone).Zone()
	return seconds / 3600
}

func TestTheNewestOfThreeIsTaken(t *testing.T) {
	t.Parallel()
	embeddedVersion := embeddedData(t).Version()
	old, same, newer, newest3, unknown := folder(t, "# version 2025b\n", 5), folder(t, "# version "+embeddedVersion, 6),
		folder(t, "# version 2097a\n# more\n", 7), folder(t, "# version 2097b\n", 8), folder(t, "", 9)
	versioned := folder(t, "# version unknown\n", 10)
	write(t, filepath.Join(versioned, "+VERSION"), []byte("2098c\n"), time.Now())
	oddForm := folder(t, "# version 2099a-rearguard\n", 11)
	for _, test := range []struct {
		claim, zoneinfo string
		system          []string
		source, version string
		offset          int
	}{
		{claim: "nothing but the embedded", source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "a system without data", system: []string{"/nowhere"}, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "an old system", system: []string{old}, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "a system that is as new", system: []string{same}, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "a new system", system: []string{newer}, source: "system " + newer, version: "2097a", offset: 7},
		{claim: "the newest of several folders", system: []string{old, newest3, newer}, source: "system " + newest3, version: "2097b", offset: 8},
		{claim: "a system of unknown version", system: []string{unknown}, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "an old ZONEINFO", zoneinfo: old, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "a ZONEINFO as new as the embedded is what was asked for", zoneinfo: same, source: "ZONEINFO " + same, version: embeddedVersion, offset: 6},
		{claim: "ZONEINFO before a system that is as new", zoneinfo: newer, system: []string{folder(t, "# version 2097a\n", 3)}, source: "ZONEINFO " + newer, version: "2097a", offset: 7},
		{claim: "a system newer than ZONEINFO", zoneinfo: newer, system: []string{newest3}, source: "system " + newest3, version: "2097b", offset: 8},
		{claim: "a ZONEINFO of unknown version", zoneinfo: unknown, source: "embedded", version: embeddedVersion, offset: 1},
		{claim: "a version in +VERSION", zoneinfo: versioned, system: []string{newer}, source: "ZONEINFO " + versioned, version: "2098c", offset: 10},
		{claim: "a form behind the version", system: []string{oddForm}, source: "system " + oddForm, version: "2099a", offset: 11},
	} {
		d, err := newest(test.zoneinfo, test.system)
		if err != nil {
			t.Errorf("%s: %v", test.claim, err)
			continue
		}
		if d.Source() != test.source || d.Version() != test.version {
			t.Errorf("%s: %s from %s, want %s from %s", test.claim, d.Version(), d.Source(), test.version, test.source)
		}
		if got := offset(t, d, "Europe/Berlin"); got != test.offset {
			t.Errorf("%s: Berlin is at UTC+%d, want +%d", test.claim, got, test.offset)
		}
		if len(d.Names()) < 598 {
			t.Errorf("%s: there are %d names", test.claim, len(d.Names()))
		}
	}
}

func TestZONEINFOMayBeAZipFile(t *testing.T) {
	t.Parallel()
	dir := folder(t, "# version 2097a\n", 7)
	for _, method := range []uint16{zip.Store, zip.Deflate} {
		path := archive(t, dir, method)
		d, err := newest(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d.Source() != "ZONEINFO "+path || d.Version() != "2097a" || offset(t, d, "Europe/Berlin") != 7 {
			t.Errorf("%s from %s, Berlin at %d", d.Version(), d.Source(), offset(t, d, "Europe/Berlin"))
		}
	}
}

func TestAZONEINFOThatCantBeReadIsAnError(t *testing.T) {
	t.Parallel()
	empty, text := t.TempDir(), filepath.Join(t.TempDir(), "zones.txt")
	write(t, text, []byte("Europe/Berlin\n"), time.Now())
	only := t.TempDir()
	write(t, filepath.Join(only, "tzdata.zi"), []byte("# version 2097a\n"), time.Now())
	broken := folder(t, "# version 2097a\n", 7)
	write(t, filepath.Join(broken, "Europe", "Paris"), []byte("TZif2 and nothing more"), time.Now())
	cut := archive(t, folder(t, "# version 2097a\n", 7), zip.Store)
	if err := os.Truncate(cut, 100); err != nil {
		t.Fatal(err)
	}
	damaged := archive(t, folder(t, "# version 2097a\n", 7), zip.Store)
	content, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	write(t, damaged, bytes.Replace(content, []byte("TZif2"), []byte("TZif3"), 1), time.Now())
	for _, path := range []string{"/nowhere/zoneinfo", empty, text, only, broken, cut, damaged, os.DevNull} {
		if d, err := newest(path, nil); err == nil {
			t.Errorf("ZONEINFO=%s is taken: %s", path, d.Source())
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("ZONEINFO=%s: %v, want the path in it", path, err)
		}
	}
	// As the system's it is passed over.
	d, err := newest("", []string{empty, only, broken})
	if err != nil || d.Source() != "embedded" {
		t.Errorf("%v, %v", d, err)
	}
}

func TestOnlyZonesAreRead(t *testing.T) {
	t.Parallel()
	dir := folder(t, "# version 2097a\nR d 1916 o - Jun 14 23s 1 S\nL Europe/Berlin Europe/Bonn\nL Europe/Nowhere Europe/Nothing\nL Europe/Berlin ../outside\n", 7)
	for name, content := range map[string]string{
		"posix/Europe/Berlin": string(zoneBytes(1)), "right/Europe/Berlin": string(zoneBytes(1)), "localtime": string(zoneBytes(1)),
		"README": "no zone", "Europe/notes.txt": "no zone", "A/B/C/D": string(zoneBytes(1)), "Europe/Huge": "TZif2" + strings.Repeat(" ", maxFile),
	} {
		write(t, filepath.Join(dir, name), []byte(content), time.Now())
	}
	for _, err := range []error{
		os.Symlink("Berlin", filepath.Join(dir, "Europe", "Linked")), os.Symlink("nowhere", filepath.Join(dir, "Europe", "Dangling")),
		os.Symlink("..", filepath.Join(dir, "Europe", "Loop")), syscall.Mkfifo(filepath.Join(dir, "Europe", "Pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	d, err := readNamed(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Europe/Berlin", "Europe/Bonn", "Europe/Linked", "UTC"}, d.Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	// A name whose file is left out follows its zone, not the older embedded data.
	if got := offset(t, d, "Europe/Bonn"); got != 7 {
		t.Errorf("the link is at UTC+%d, want +7", got)
	}
}

func TestChangesOfTheFilesChangeNothingThatIsRead(t *testing.T) {
	t.Parallel()
	dir := folder(t, "# version 2097a\n", 7)
	d, err := newest(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if got := offset(t, d, "Europe/Berlin"); got != 7 {
		t.Errorf("Berlin is at UTC+%d, want +7", got)
	}
}

func TestTheMachinesOwnDataCanBeRead(t *testing.T) {
	t.Parallel()
	d, err := Newest("")
	if err != nil {
		t.Fatal(err)
	}
	if Compare(d.Version(), embeddedData(t).Version()) < 0 || len(d.Names()) < 598 || d.Released().IsZero() {
		t.Errorf("%s from %s of %s, %d names", d.Version(), d.Source(), d.Released(), len(d.Names()))
	}
}

func BenchmarkNewest(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Newest(""); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkARefusal(b *testing.B) {
	d := embeddedData(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Load("America/Argentina/ComodRivadaviaaaaa"); err == nil {
			b.Fatal("it is accepted")
		}
	}
}
