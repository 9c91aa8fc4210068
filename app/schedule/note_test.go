package schedule

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNotesSayWhatIsOutOfTheOrdinary(t *testing.T) {
	t.Parallel()
	uk := calendar(t, "uk-holidays", "Europe/London", true, "2026-12-25 Christmas, 2026-12-28 Boxing Day")
	for _, row := range []struct {
		claim      string
		cron       string
		zone       string
		onExcluded OnExcluded
		calendars  []Calendar
		after      string // exclusive
		want       []string
	}{
		{"New York goes forward", "30 2 * * *", "America/New_York", "", nil, "2026-03-07T12:00:00Z",
			[]string{"03-08 03:00 02:30 doesn't exist on this day: runs when the clocks have gone forward", "03-09 02:30"}},
		{"and back", "30 1 * * *", "America/New_York", "", nil, "2026-10-31T12:00:00Z",
			[]string{"11-01 01:30 01:30 comes twice on this day: runs the first time", "11-02 01:30"}},
		{"the hour after it comes once", "30 2 * * *", "America/New_York", "", nil, "2026-10-31T12:00:00Z", []string{"11-01 02:30", "11-02 02:30"}},
		{"a wildcard follows elapsed time", "*/30 1 * * *", "America/New_York", "", nil, "2026-11-01T05:00:00Z",
			[]string{"11-01 01:30", "11-01 01:00 second 01:00 of this day", "11-01 01:30 second 01:30 of this day", "11-02 01:00"}},
		{"and is never left out", "*/30 * * * *", "America/New_York", "", nil, "2026-03-08T06:29:00Z", []string{"03-08 01:30", "03-08 03:00", "03-08 03:30"}},
		{"several in a gap are one", "0,30 2 * * *", "America/New_York", "", nil, "2026-03-07T12:00:00Z",
			[]string{"03-08 03:00 02:00 doesn't exist on this day: runs when the clocks have gone forward; merges 2 runs", "03-09 02:00", "03-09 02:30"}},
		{"so is the one at its end", "15 0 2,3 * * *", "America/New_York", "", nil, "2026-03-07T12:00:00Z",
			[]string{"03-08 03:00 02:00:15 doesn't exist on this day: runs when the clocks have gone forward", "03-08 03:00"}},
		{"at its end to the minute", "0 2,3 * * *", "America/New_York", "", nil, "2026-03-07T12:00:00Z",
			[]string{"03-08 03:00 02:00 doesn't exist on this day: runs when the clocks have gone forward; merges 2 runs", "03-09 02:00"}},
		{"Lord Howe goes by half an hour", "15 2 * * *", "Australia/Lord_Howe", "", nil, "2026-10-03T00:00:00Z",
			[]string{"10-04 02:30 02:15 doesn't exist on this day: runs when the clocks have gone forward", "10-05 02:15"}},
		{"both ways", "45 1 * * *", "Australia/Lord_Howe", "", nil, "2026-04-04T00:00:00Z",
			[]string{"04-05 01:45 01:45 comes twice on this day: runs the first time", "04-06 01:45"}},
		{"but not the time before", "15 1 * * *", "Australia/Lord_Howe", "", nil, "2026-04-04T00:00:00Z", []string{"04-05 01:15"}},
		{"Havana has no midnight", "@daily", "America/Havana", "", nil, "2024-03-09T12:00:00Z",
			[]string{"03-10 01:00 00:00 doesn't exist on this day: runs when the clocks have gone forward", "03-11 00:00"}},
		{"London has one hour twice", "0 1 25 10 *", "Europe/London", "", nil, "2026-10-01T12:00:00Z",
			[]string{"10-25 01:00 01:00 comes twice on this day: runs the first time"}},
		{"UTC has nothing to say", "0 1 * * *", "UTC", "", nil, "2026-10-01T12:00:00Z", []string{"10-02 01:00"}},

		{"a calendar moves", "0 9 25 12 *", "Europe/London", OnExcludedNextDay, []Calendar{uk}, "2026-12-01T00:00:00Z",
			[]string{"12-29 09:00 moved from Friday 2026-12-25 by uk-holidays"}},
		{"to before", "0 9 26 12 *", "Europe/London", OnExcludedPreviousDay, []Calendar{uk}, "2026-12-01T00:00:00Z",
			[]string{"12-24 09:00 moved from Saturday 2026-12-26 by uk-holidays"}},
		{"several move to one", "0 9 25-27 12 *", "Europe/London", OnExcludedNextDay, []Calendar{uk}, "2026-12-01T00:00:00Z",
			[]string{"12-29 09:00 moved from Friday 2026-12-25 by uk-holidays; merges 3 runs"}},
		{"several move to one before", "0 9 25-27 12 *", "Europe/London", OnExcludedPreviousDay, []Calendar{uk}, "2026-12-01T00:00:00Z",
			[]string{"12-24 09:00 moved from Friday 2026-12-25 by uk-holidays; merges 3 runs"}},
		{"they join the day's own", "0 9 * * *", "Europe/London", OnExcludedNextDay, []Calendar{uk}, "2026-12-23T12:00:00Z",
			[]string{"12-24 09:00", "12-29 09:00 merges 5 runs, the others moved by uk-holidays", "12-30 09:00"}},
		{"moved into a gap", "30 2 7 3 *", "America/New_York", OnExcludedNextDay, []Calendar{calendar(t, "c", "America/New_York", false, "2026-03-07")}, "2026-03-01T00:00:00Z",
			[]string{"03-08 03:00 02:30 doesn't exist on this day: runs when the clocks have gone forward; moved from Saturday 2026-03-07 by c"}},
		{"the first calendar that excludes is named", "0 9 25 12 *", "Europe/London", OnExcludedNextDay,
			[]Calendar{calendar(t, "a", "UTC", false, "2026-12-24"), calendar(t, "b", "UTC", false, "2026-12-25"), uk}, "2026-12-01T00:00:00Z",
			[]string{"12-29 09:00 moved from Friday 2026-12-25 by b"}},
		{"what is left has nothing to say", "0 9 * * *", "Europe/London", OnExcludedSkip, []Calendar{uk}, "2026-12-23T12:00:00Z", []string{"12-24 09:00", "12-29 09:00"}},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			timing := timingOf(t, Spec{Cron: row.cron, Timezone: row.zone, OnExcluded: row.onExcluded}, time.Time{}, row.calendars...)
			var got []string
			at := instantOf(t, row.after)
			for range row.want {
				at = timing.Next(at)
				text := at.In(timing.Zone()).Format("01-02 15:04")
				if note := timing.Note(at); note != "" {
					text += " " + note
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error("the runs differ (-want +got):\n", diff)
			}
		})
	}
}

func TestNotesOfElapsedTimeAndOfOneInstant(t *testing.T) {
	t.Parallel()
	second := instantOf(t, "2026-11-01T06:30:00Z")
	every := timingOf(t, Spec{Every: time.Hour, Timezone: "America/New_York"}, instantOf(t, "2026-10-01T00:30:00Z"))
	at := timingOf(t, Spec{At: second, Timezone: "America/New_York"}, time.Time{})
	for _, timing := range []*Timing{every, at} {
		if note := timing.Note(second); note != "second 01:30 of this day" {
			t.Errorf("the note is %q", note)
		}
	}
	if note := every.Note(second.Add(-time.Hour)); note != "" {
		t.Errorf("the note of the first is %q", note)
	}

	weekends := calendar(t, "weekends", "America/New_York", true, "")
	moved := timingOf(t, Spec{At: second, Timezone: "America/New_York", OnExcluded: OnExcludedPreviousDay}, time.Time{}, weekends)
	run := moved.Next(time.Time{})
	if note := moved.Note(run); note != "moved from Sunday 2026-11-01 by weekends" || !run.Equal(instantOf(t, "2026-10-30T05:30:00Z")) {
		t.Errorf("it runs at %s with the note %q", run, note)
	}
	fortnight := timingOf(t, Spec{Every: 14 * 24 * time.Hour, Timezone: "America/New_York", OnExcluded: OnExcludedNextDay}, instantOf(t, "2026-11-01T14:00:00Z"), weekends)
	if note := fortnight.Note(fortnight.Next(instantOf(t, "2026-11-01T00:00:00Z"))); note != "moved from Sunday 2026-11-01 by weekends" {
		t.Errorf("the note is %q", note)
	}
}

func TestTakenListsWhatCalendarsTakeAway(t *testing.T) {
	t.Parallel()
	uk := calendar(t, "uk", "Europe/London", true, "2026-12-25 Christmas, 2026-12-28..2026-12-29")
	shut := calendar(t, "shutdown", "Europe/London", false, "2026-12-24..2026-12-26 Works closed")
	spec := Spec{Cron: "0 9 * * *", Timezone: "UTC"}
	at := func(day int) time.Time { return time.Date(2026, 12, day, 9, 0, 0, 0, time.UTC) }
	want := []Excluded{
		{at(24), "shutdown", "Works closed"}, {at(25), "uk", "Christmas"}, {at(26), "uk", "Saturday"}, {at(27), "uk", "Sunday"},
		{at(28), "uk", "2026-12-28"}, {at(29), "uk", "2026-12-29"},
	}
	timing := timingOf(t, spec, time.Time{}, uk, shut)
	if diff := cmp.Diff(want, timing.Taken(at(20), at(31), 10)); diff != "" {
		t.Error("they differ (-want +got):\n", diff)
	}
	if diff := cmp.Diff(want[1:3], timing.Taken(at(24), at(31), 2)); diff != "" {
		t.Error("after the first, at most 2 differ (-want +got):\n", diff)
	}
	if diff := cmp.Diff(want[5:], timing.Taken(at(28), at(29), 10)); diff != "" {
		t.Error("up to the last they differ (-want +got):\n", diff)
	}
	once := timingOf(t, Spec{At: at(25), Timezone: "UTC"}, time.Time{}, uk)
	if diff := cmp.Diff(want[1:2], once.Taken(at(24), at(25), 10)); diff != "" {
		t.Error("of one instant they differ (-want +got):\n", diff)
	}
	spec.OnExcluded = OnExcludedNextDay
	for _, none := range []*Timing{timingOf(t, spec, time.Time{}, uk), timingOf(t, Spec{Cron: "0 9 * * *", Timezone: "UTC"}, time.Time{})} {
		if list := none.Taken(at(20), at(31), 10); list != nil {
			t.Errorf("it takes %v away", list)
		}
	}
	// However far the end: 12 years, and quickly.
	rare := timingOf(t, Spec{Cron: "0 9 29 2 *", Timezone: "UTC"}, time.Time{}, calendar(t, "one", "UTC", false, "2028-02-29,2092-02-29"))
	if list := rare.Taken(at(1), at(1).AddDate(5000, 0, 0), 10); len(list) != 1 {
		t.Errorf("it takes %v away", list)
	}
}
