package zonedata

import (
	"bufio"
	"cmp"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// releases are the days (UTC) on which versions were released, by the NEWS of the
// time zone database. A version that isn't here has a date estimated by released.
var releases = map[string]time.Time{
	"2023a": day(2023, 3, 22), "2023b": day(2023, 3, 24), "2023c": day(2023, 3, 28), "2023d": day(2023, 12, 22),
	"2024a": day(2024, 2, 1), "2024b": day(2024, 9, 4),
	"2025a": day(2025, 1, 15), "2025b": day(2025, 3, 22), "2025c": day(2025, 12, 10),
	"2026a": day(2026, 3, 2), "2026b": day(2026, 4, 23), "2026c": day(2026, 7, 8), "2026d": day(2026, 9, 11), "2026e": day(2026, 9, 30), "2026f": day(2026, 10, 28),
}

func day(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}

// Compare orders versions: negative when a is older than b, 0 when they are the
// same, positive when a is newer. "2025b" is older than "2025c", that than
// "2026a", and "2026z" than "2026za". What isn't a version is the oldest, as "".
func Compare(a, b string) int {
	// Four digits, then z before za: the order of strings.
	return cmp.Compare(version(a), version(b))
}

var versionPattern = regexp.MustCompile(`^[0-9]{4}[a-z]{1,2}\b`)

// version is the release that the text begins with, or "". Behind it may stand a
// form ("2026f-rearguard").
func version(text string) string { return versionPattern.FindString(text) }

// versionOf is the version of a folder or archive: what the first line of
// tzdata.zi says, else the file +VERSION, else unknown.
func versionOf(files fs.FS) string {
	if v := version(strings.TrimPrefix(firstLine(files, "tzdata.zi"), "# version ")); v != "" {
		return v
	}
	return version(firstLine(files, "+VERSION"))
}

func firstLine(files fs.FS, name string) string {
	if info, err := fs.Stat(files, name); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	file, err := files.Open(name)
	if err != nil {
		return ""
	}
	defer file.Close()
	line, _ := bufio.NewReader(io.LimitReader(file, 100)).ReadString('\n') // its end may be the file's
	return strings.TrimSpace(line)
}

// released is Data.Released of a version whose newest file was written then, or
// at an unknown time.
func released(v string, written time.Time) time.Time {
	if v = version(v); v == "" {
		return written
	}
	if date, ok := releases[v]; ok {
		return date
	}
	year, _ := time.Parse("2006", v[:4]) // four digits: always a year
	earliest, latest := year, year.AddDate(1, 0, -1)
	for earlier, date := range releases {
		if Compare(earlier, v) < 0 && date.After(earliest) {
			earliest = date
		}
	}
	switch {
	case written.Before(earliest):
		return earliest
	case written.After(latest):
		return latest
	}
	return written.UTC()
}
