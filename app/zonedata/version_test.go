package zonedata

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestVersionsAreOrdered(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"2025b", "2025b", 0},
		{"2025b", "2025c", -1},
		{"2025c", "2026a", -1},
		{"2026f", "2025c", 1},
		{"2026z", "2026za", -1},
		{"2026za", "2026zb", -1},
		{"2026zz", "2027a", -1},
		{"1999j", "2000a", -1},
		{"", "", 0},
		{"", "1996a", -1},
		{"2026f", "", 1},
		{"2026f", "unknown", 1},
		{"94a", "1996a", -1}, // two digits: so old that it doesn't matter
		{"unknown", "", 0},
		{"2026", "", 0},
		{"20260f", "", 0},
		{"2026F", "", 0},
		{"2026abc", "", 0},
		{"2026f-rearguard", "2026f", 0},
		{"２０２６f", "", 0},
	} {
		if got := Compare(test.a, test.b); got != test.want {
			t.Errorf("Compare(%q, %q) is %d, want %d", test.a, test.b, got, test.want)
		}
		if got := Compare(test.b, test.a); got != -test.want {
			t.Errorf("Compare(%q, %q) is %d, want %d", test.b, test.a, got, -test.want)
		}
	}
}

func TestCompareIsAnOrder(t *testing.T) {
	t.Parallel()
	any := rapid.OneOf(rapid.StringMatching(`[12][0-9]{3}[a-z]`), rapid.StringMatching(`202[56]z[a-c]`), rapid.StringMatching(`202[56][a-c]`), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := any.Draw(t, "a"), any.Draw(t, "b"), any.Draw(t, "c")
		if Compare(a, a) != 0 || Compare(a, b) != -Compare(b, a) {
			t.Fatalf("%q and %q: %d and %d", a, b, Compare(a, b), Compare(b, a))
		}
		if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
			t.Fatalf("%q, %q, %q are in a circle", a, b, c)
		}
		if Compare("", a) > 0 {
			t.Fatalf("%q is older than what is unknown", a)
		}
	})
}

func TestReleasedIsTheBestDateKnown(t *testing.T) {
	t.Parallel()
	written := time.Date(2097, 5, 6, 7, 8, 9, 0, time.UTC)
	for _, test := range []struct {
		claim, version string
		written, want  time.Time
	}{
		{"a known version", "2025c", written, day(2025, 12, 10)},
		{"a known version in another form", "2025c-rearguard", time.Time{}, day(2025, 12, 10)},
		{"an unknown one: when it was written", "2097b", written, written},
		{"written before its year, as in an image whose files are of 1970", "2097b", time.Unix(0, 0), day(2097, 1, 1)},
		{"at an unknown time", "2097b", time.Time{}, day(2097, 1, 1)},
		{"written years later, as by an installation", "2096b", written, day(2096, 12, 31)},
		{"not before the versions before it", "2025d", time.Unix(0, 0), day(2025, 12, 10)},
		{"an old one", "1999a", time.Time{}, day(1999, 1, 1)},
		{"no version", "", written, written},
		{"nothing known", "", time.Time{}, time.Time{}},
	} {
		if got := released(test.version, test.written); !got.Equal(test.want) {
			t.Errorf("%s: %q written %s was released %s, want %s", test.claim, test.version, test.written, got, test.want)
		}
	}
}

// An estimate of a later version is never before that of an earlier one.
func TestLaterVersionsAreReleasedLater(t *testing.T) {
	t.Parallel()
	for a, dateA := range releases {
		for b, dateB := range releases {
			if Compare(a, b) < 0 && !dateA.Before(dateB) {
				t.Errorf("%s (%s) and %s (%s) are out of order", a, dateA, b, dateB)
			}
		}
		if dateA.Format("2006") != a[:4] {
			t.Errorf("%s is not of %s", a, dateA)
		}
	}
}
