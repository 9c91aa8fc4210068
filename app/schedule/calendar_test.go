package schedule

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// wrongFields are the fields that the error names, each once.
func wrongFields(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("%v is not an InvalidError", err)
	}
	var names []string
	for _, f := range invalid.Fields {
		names = append(names, f.Field)
	}
	return strings.Join(slices.Compact(names), " ")
}

func TestValidateNamesWhatIsWrongWithACalendar(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		claim  string
		change func(*Calendar)
		wrong  string
	}{
		{"nothing is", func(*Calendar) {}, ""},
		{"no days are a calendar, too", func(c *Calendar) { c.Days, c.Weekends = nil, false }, ""},
		{"days may overlap in any order", func(c *Calendar) { c.Days = days(t, "2027-01-01..2027-12-31,2026-05-01,2027-05-01") }, ""},
		{"a name is like a label", func(c *Calendar) { c.Name = "UK holidays" }, "name"},
		{"it is not empty", func(c *Calendar) { c.Name = "" }, "name"},
		{"nor longer than 63", func(c *Calendar) { c.Name = strings.Repeat("a", 64) }, "name"},
		{"a namespace is there", func(c *Calendar) { c.Namespace = "" }, "namespace"},
		{"a zone is of IANA", func(c *Calendar) { c.Timezone = "Local" }, "timezone"},
		{"the days have both ends", func(c *Calendar) { c.Days = []DayRange{{From: date(t, "2026-12-25")}, {To: date(t, "2026-12-25")}} }, "days.0.to days.1.from"},
		{"in that order", func(c *Calendar) { c.Days = days(t, "2026-12-24,2026-12-25..2026-12-24") }, "days.1.to"},
		{"a year at most", func(c *Calendar) { c.Days = days(t, "2028-01-01..2028-12-31,2027-01-01..2028-01-02") }, "days.1.to"},
		{"they are of the calendar", func(c *Calendar) { c.Days = []DayRange{{From: Date{2026, 2, 30}, To: Date{2026, 2, 30}}} }, "days.0.from"},
		{"and of these times", func(c *Calendar) { c.Days = days(t, "1969-12-31..1970-01-01,9998-12-31..9999-01-01") }, "days.0.from days.1.to"},
		{"a day's name is a line of text", func(c *Calendar) { c.Days[0].Name = "Christ\nmas" }, "days.0.name"},
		{"and short", func(c *Calendar) { c.Days[0].Name = strings.Repeat("é", 121) }, "days.0.name"},
		{"there are at most 1,000", func(c *Calendar) { c.Days = make([]DayRange, 1001) }, "days"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			c := calendar(t, "uk-holidays", "Europe/London", true, "2026-12-25 Christmas")
			row.change(&c)
			if wrong := wrongFields(t, c.Validate()); wrong != row.wrong {
				t.Errorf("it names %q, not %q: %v", wrong, row.wrong, c.Validate())
			}
		})
	}
}

func TestDatesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(0, 2_932_531).Draw(t, "day") // 9998-12-31
		d := dateOf(day)
		again, err := ParseDate(d.String())
		if err != nil || again != d || d.number() != day {
			t.Fatalf("day %d is %s, then %s (%v) of number %d", day, d, again, err, d.number())
		}
		if weekday := time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Weekday(); weekdayOf(day) != weekday {
			t.Fatalf("%s is a %s, not a %s", d, weekday, weekdayOf(day))
		}
	})
	for _, text := range []string{"", "2026-12-32", "2026-02-29", "2026-1-1", "26-01-01", "2026-01-01T00:00:00Z", "12026-01-01", " 2026-01-01", "2026/01/01"} {
		if d, err := ParseDate(text); err == nil {
			t.Errorf("%q was taken for %s", text, d)
		}
	}
	// In JSON they are strings, also as keys.
	var got map[Date]DayRange
	text := `{"2026-12-25":{"From":"2026-12-25","To":"2026-12-26","Name":"Christmas"}}`
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(got)
	if err != nil || string(back) != text {
		t.Errorf("%s is written %s: %v", text, back, err)
	}
	if err := json.Unmarshal([]byte(`{"25.12.2026":{}}`), &got); err == nil {
		t.Error("25.12.2026 was taken for a date")
	}
	if diff := cmp.Diff(Date{2026, 12, 25}, DateOf(time.Date(2026, 12, 24, 15, 0, 0, 0, time.UTC).In(time.FixedZone("", 9*3600)))); diff != "" {
		t.Error("the date in the instant's location differs (-want +got):\n", diff)
	}
}

func TestSpecsNameCalendarsThatCanBeExcluded(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range MaxExclude + 1 {
		many = append(many, string(rune('a'+i)))
	}
	for _, row := range []struct {
		claim string
		spec  Spec
		wrong string
	}{
		{"calendars by their names", Spec{Cron: "0 9 * * *", Exclude: []string{"uk", "us-2"}, OnExcluded: OnExcludedSkip}, ""},
		{"each once", Spec{Cron: "0 9 * * *", Exclude: []string{"uk", "us", "uk"}}, "spec.exclude.2"},
		{"by names that they can have", Spec{Cron: "0 9 * * *", Exclude: []string{"uk", "", "U S"}}, "spec.exclude.1 spec.exclude.2"},
		{"8 of them", Spec{Cron: "0 9 * * *", Exclude: many[:8]}, ""},
		{"no more", Spec{Cron: "0 9 * * *", Exclude: many}, "spec.exclude"},
		{"nothing else becomes of a run", Spec{Cron: "0 9 * * *", OnExcluded: "later"}, "spec.on_excluded"},
		{"24 times a day move", Spec{Cron: "0 0-23 * * *", OnExcluded: OnExcludedNextDay}, ""},
		{"no more", Spec{Cron: "0,30 0-23 * * *", OnExcluded: OnExcludedNextDay}, "spec.on_excluded"},
		{"they are skipped however many", Spec{Cron: "* * * * * *", OnExcluded: OnExcludedSkip}, ""},
		{"what follows elapsed time doesn't move", Spec{Cron: "0 */6 * * *", OnExcluded: OnExcludedPreviousDay}, "spec.on_excluded"},
		{"whole days do", Spec{Every: 14 * 24 * time.Hour, OnExcluded: OnExcludedPreviousDay}, ""},
		{"parts don't", Spec{Every: 36 * time.Hour, OnExcluded: OnExcludedPreviousDay}, "spec.on_excluded"},
		{"one instant does", Spec{At: time.Unix(1e9, 0), OnExcluded: OnExcludedNextDay}, ""},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			row.spec.Timezone = "UTC"
			if wrong := wrongFields(t, row.spec.Validate()); wrong != row.wrong {
				t.Errorf("it names %q, not %q: %v", wrong, row.wrong, row.spec.Validate())
			}
		})
	}

	s := New()
	s.Spec.Cron, s.Spec.Exclude = "0 9 * * *", []string{"uk"}
	if _, err := s.Timing(); wrongFields(t, err) != "spec.exclude" || !strings.Contains(err.Error(), "names the calendar uk, which doesn't exist") {
		t.Errorf("a calendar that isn't there is %v", err)
	}
	s.Calendars = []Calendar{{Name: "uk", Timezone: "Nowhere"}}
	if _, err := s.Timing(); wrongFields(t, err) != "spec.exclude" {
		t.Errorf("a calendar without a zone is %v", err)
	}
	s.Spec.Exclude = make([]string, MaxExclude+1)
	if _, err := s.Timing(); wrongFields(t, err) != "spec.exclude" {
		t.Errorf("a stored spec with too many calendars is %v", err)
	}
	s.Spec.Exclude = []string{"uk"}
	s.Calendars = []Calendar{{Name: "us", Timezone: "UTC", Weekends: true}, {Name: "uk", Timezone: "UTC"}}
	timing, err := s.Timing()
	if err != nil {
		t.Fatal(err)
	}
	if next := timing.Next(instantOf(t, "2026-11-28T00:00:00Z")); next.Weekday() != time.Saturday {
		t.Errorf("a calendar that isn't named makes it run on %s", next)
	}
}
