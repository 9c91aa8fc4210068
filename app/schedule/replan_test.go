package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Other rules of a zone are another zone in these tests: what is planned by
// Etc/GMT+8, eight hours behind UTC, is planned anew by one seven or nine behind.
func TestReplan(t *testing.T) {
	const behind8, behind7, behind9 = "Etc/GMT+8", "Etc/GMT+7", "Etc/GMT+9"
	nine := func(s *Schedule) { s.Spec.Cron = "0 9 * * *" } // at 17:00 in UTC, by the old rules
	off := func(days string) func(*Schedule) {
		return func(s *Schedule) {
			s.Spec.Exclude, s.Calendars = []string{"off"}, []Calendar{calendar(t, "off", s.Spec.Timezone, false, days)}
		}
	}
	for _, row := range []struct {
		claim     string
		change    []func(*Schedule)
		changedAt string
		lastFor   string
		lastRun   string
		now       string
		to        string // the zone of the new rules
		next      string // empty: the cursor stays
		state     State
	}{
		{claim: "an instant that the new rules bring forward is run then", change: []func(*Schedule){nine}, changedAt: "01:00:00", now: "12:00:00", to: behind7, next: "16:00:00"},
		{claim: "one that they put off, too", change: []func(*Schedule){nine}, changedAt: "01:00:00", now: "12:00:00", to: behind9, next: "18:00:00"},
		{claim: "one that has passed by the new rules is due at once", change: []func(*Schedule){nine}, changedAt: "01:00:00", now: "16:30:00", to: behind7, next: "16:00:00"},
		{claim: "but not when it passed before the schedule was written", change: []func(*Schedule){nine}, changedAt: "16:10:00", now: "16:30:00", to: behind7, next: "40:00:00"},
		{claim: "or before its last run in the ledger", change: []func(*Schedule){nine}, changedAt: "-48:00:00", lastFor: "16:20:00", now: "16:30:00", to: behind7, next: "40:00:00"},
		{claim: "or before its last run, when the ledger has forgotten it", change: []func(*Schedule){nine}, changedAt: "01:00:00", lastRun: "16:20:00", now: "16:30:00", to: behind7, next: "40:00:00"},
		{claim: "or more than 26 hours ago", change: []func(*Schedule){nine, func(s *Schedule) { s.Spec.Cron = "0 9 24 * *" }}, changedAt: "16:50:00", now: "16:55:00", to: behind7, next: "736:00:00"},
		{claim: "what is due stays", change: []func(*Schedule){nine}, changedAt: "01:00:00", now: "17:00:00", to: behind7},
		{claim: "minutes are the same by both rules", change: []func(*Schedule){func(s *Schedule) { s.Spec.Cron = "*/5 * * * *" }}, changedAt: "01:00:00", now: "01:03:00", to: behind7},
		{claim: "elapsed time knows no zone", change: []func(*Schedule){func(s *Schedule) { s.Spec.Cron, s.Spec.Every = "", time.Hour }}, changedAt: "01:00:00", now: "01:03:00", to: behind7},
		{claim: "but the days that a calendar excludes do", change: []func(*Schedule){
			func(s *Schedule) { s.Spec.Cron, s.Spec.Every, s.CreatedAt = "", time.Hour, clock(t, "00:00:00") }, off("2026-11-24"),
		}, changedAt: "09:00:00", now: "12:00:00", to: behind7, next: "31:00:00"},
		{claim: "an instant knows no zone", change: []func(*Schedule){func(s *Schedule) { s.Spec.Cron, s.Spec.At = "", clock(t, "17:00:00") }}, changedAt: "01:00:00", now: "12:00:00", to: behind7},
		{claim: "but its calendars do", change: []func(*Schedule){
			func(s *Schedule) {
				s.Spec.Cron, s.Spec.At, s.Spec.OnExcluded = "", clock(t, "31:30:00"), OnExcludedNextDay
			}, off("2026-11-24"),
		}, changedAt: "01:00:00", now: "12:00:00", to: behind7, next: "31:30:00"},
		{claim: "a window that ends before the new instant completes it", change: []func(*Schedule){nine, func(s *Schedule) { s.Spec.EndAt = clock(t, "17:30:00") }}, changedAt: "01:00:00", now: "12:00:00", to: behind9, next: "never", state: StateCompleted},
		{claim: "its jitter is that of the new instant", change: []func(*Schedule){nine, func(s *Schedule) { s.Spec.Jitter = 10 * time.Minute }}, changedAt: "01:00:00", now: "12:00:00", to: behind7, next: "16:00:00"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			s := hourly()
			s.Spec.Timezone = behind8
			for _, change := range row.change {
				change(s)
			}
			c := Plan(s, Cursor{ScheduleID: s.ID, Dirty: true, ChangedAt: clock(t, row.changedAt), RunCount: 7, LastRunAt: clock(t, row.lastRun)}, clock(t, row.lastFor))
			s.Spec.Timezone = row.to
			for i := range s.Calendars {
				s.Calendars[i].Timezone = row.to
			}
			got := Replan(s, c, clock(t, row.lastFor), clock(t, row.now))
			want := c
			if row.next != "" {
				want.NextRunAt, want.FireAt = time.Time{}, time.Time{}
				if row.next != "never" {
					want.NextRunAt = clock(t, row.next)
					timing, err := s.Timing()
					if err != nil {
						t.Fatal(err)
					}
					want.FireAt = timing.FireAt(s.ID, want.NextRunAt)
				}
				if row.state != "" {
					want.State = row.state
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("the cursor differs (-want +got):\n", diff)
			}
			if again := Replan(s, got, clock(t, row.lastFor), clock(t, row.now)); again != got {
				t.Errorf("a second time it is %+v", again)
			}
		})
	}
}

func TestReplanBringsADirtyCursorUpToDateFirst(t *testing.T) {
	s := hourly()
	s.Spec.Timezone, s.Spec.Cron = "Etc/GMT+8", "0 9 * * *"
	planned := Plan(s, Cursor{ScheduleID: s.ID, ChangedAt: clock(t, "01:00:00")}, time.Time{})
	s.Version, s.Spec.Timezone = 9, "Etc/GMT+7"
	dirty := planned
	dirty.Dirty = true
	for now, next := range map[string]string{"12:00:00": "16:00:00", "17:30:00": "17:00:00"} {
		got := Replan(s, dirty, time.Time{}, clock(t, now))
		if got.Dirty || got.PlannedVersion != 9 || !got.NextRunAt.Equal(clock(t, next)) {
			t.Errorf("at %s it is %+v", now, got)
		}
	}
	s.Spec.Cron = "never"
	if got := Replan(s, dirty, time.Time{}, clock(t, "12:00:00")); got.State != StateInvalid {
		t.Errorf("one that doesn't parse is %+v", got)
	}
}

func TestOnlyWhatDependsOnAZoneIsProvisional(t *testing.T) {
	in := func(zone string, change func(*Schedule)) *Schedule {
		s := hourly()
		s.Spec.Timezone = zone
		if change != nil {
			change(s)
		}
		return s
	}
	every := func(s *Schedule) { s.Spec.Cron, s.Spec.Every = "", time.Hour }
	off := func(zone string) func(*Schedule) {
		return func(s *Schedule) {
			every(s)
			s.Spec.Exclude, s.Calendars = []string{"off"}, []Calendar{calendar(t, "off", zone, true, "")}
		}
	}
	for _, row := range []struct {
		s    *Schedule
		want bool
	}{
		{in("UTC", nil), false}, {in("Europe/Berlin", nil), true}, {in("Europe/Berlin", every), false},
		{in("UTC", off("UTC")), false}, {in("UTC", off("Europe/Berlin")), true},
	} {
		c := Plan(row.s, Cursor{ScheduleID: row.s.ID, Dirty: true, ChangedAt: clock(t, "09:15:00")}, time.Time{})
		want := c
		want.Dirty = row.want
		if diff := cmp.Diff(want, Provisional(row.s, c)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", row.s.Spec, diff)
		}
		row.s.Paused = true
		if c = Provisional(row.s, Plan(row.s, c, time.Time{})); c.Dirty {
			t.Errorf("%+v: one that has no next run is dirty", row.s.Spec)
		}
	}
}

// Whatever the spec, and however its turns fell.
func TestByTheSameRulesReplanChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begin := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 300*86400).Draw(t, "begin"))*time.Second + 123*time.Microsecond)
		s := hourly()
		s.CreatedAt = begin
		zone := rapid.SampledFrom([]string{"UTC", "America/Vancouver", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana", "Antarctica/Troll"})
		s.Spec.Timezone = zone.Draw(t, "zone")
		s.Spec.OnExcluded = OnExcludedSkip
		switch rapid.SampledFrom([]string{"wildcard", "fixed", "every", "at"}).Draw(t, "sort") {
		case "wildcard":
			s.Spec.Cron = rapid.SampledFrom([]string{"*/7 * * * * *", "* * * * *", "*/20 3-5 * * *", "@hourly"}).Draw(t, "cron")
		case "fixed":
			s.Spec.Cron = rapid.SampledFrom([]string{"30 2 * * *", "0 9 * * 1-5", "15,45 1,2,3 * * *", "0 0 1 * *", "0 12 L * *"}).Draw(t, "cron")
			s.Spec.OnExcluded = rapid.SampledFrom([]OnExcluded{OnExcludedSkip, OnExcludedNextDay, OnExcludedPreviousDay}).Draw(t, "on_excluded")
		case "every":
			s.Spec.Cron, s.Spec.Every = "", time.Duration(rapid.IntRange(1, 3*86400).Draw(t, "every"))*time.Second
		case "at":
			s.Spec.Cron, s.Spec.At = "", begin.Add(time.Duration(rapid.IntRange(-86400, 5*86400).Draw(t, "at"))*time.Second)
			s.Spec.OnExcluded = rapid.SampledFrom([]OnExcluded{OnExcludedSkip, OnExcludedNextDay, OnExcludedPreviousDay}).Draw(t, "on_excluded")
		}
		if s.Spec.At.IsZero() {
			if rapid.Bool().Draw(t, "start") {
				s.Spec.StartAt = begin.Add(time.Duration(rapid.IntRange(-86400, 86400).Draw(t, "start_at")) * time.Second)
			}
			if rapid.Bool().Draw(t, "end") {
				s.Spec.EndAt = begin.Add(time.Duration(rapid.IntRange(86401, 20*86400).Draw(t, "end_at")) * time.Second)
			}
			s.Spec.MaxRuns = rapid.SampledFrom([]int64{0, 0, 3, 50}).Draw(t, "max_runs")
		}
		s.Spec.Jitter = rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour, MaxJitter}).Draw(t, "jitter")
		for i := range rapid.IntRange(0, 2).Draw(t, "calendars") {
			c := Calendar{Namespace: "default", Name: fmt.Sprint("c", i), Timezone: zone.Draw(t, "calendar's zone"), Weekends: rapid.Bool().Draw(t, "weekends")}
			for range rapid.IntRange(0, 3).Draw(t, "ranges") {
				day := DateOf(begin).number() + rapid.Int64Range(-1, 9).Draw(t, "day")
				c.Days = append(c.Days, DayRange{From: dateOf(day), To: dateOf(day + rapid.Int64Range(0, 2).Draw(t, "more"))})
			}
			s.Spec.Exclude, s.Calendars = append(s.Spec.Exclude, c.Name), append(s.Calendars, c)
		}
		s.Misfire = rapid.SampledFrom([]Misfire{MisfireOnce, MisfireAll, MisfireSkip}).Draw(t, "misfire")
		s.MisfireLimit = rapid.IntRange(1, 5).Draw(t, "limit")
		s.MisfireGrace = time.Duration(rapid.SampledFrom([]int{0, 60, 7200}).Draw(t, "grace")) * time.Second

		var lastFor time.Time
		unchanged := func(c Cursor, from time.Time) {
			if c.FireAt.IsZero() || !c.FireAt.After(from) {
				return
			}
			wait := c.FireAt.Sub(from)
			now := from.Add(time.Duration(rapid.Int64Range(0, int64(wait)-1).Draw(t, "wait")))
			if got := Replan(s, c, lastFor, now); got != c {
				t.Fatalf("at %v, last for %v\n%+v became\n%+v", now, lastFor, c, got)
			}
			// The ledger forgets its lines, but none so soon that doesn't show in last_run_at.
			if ran := !c.LastRunAt.IsZero() && !c.LastRunAt.Before(lastFor); ran || lastFor.Before(now.Add(-maxShiftOfRules)) {
				if got := Replan(s, c, time.Time{}, now); got != c {
					t.Fatalf("at %v, with an empty ledger\n%+v became\n%+v", now, c, got)
				}
			}
		}
		now := begin
		cursor := Plan(s, Cursor{ScheduleID: s.ID, ChangedAt: begin, State: StateActive}, lastFor)
		unchanged(cursor, now)
		for range rapid.IntRange(1, 6).Draw(t, "turns") {
			if cursor.FireAt.IsZero() {
				return
			}
			// Punctual, late, or long after.
			late := rapid.SampledFrom([]time.Duration{0, 5 * time.Second, 20 * time.Minute, 5 * time.Hour, 40 * time.Hour}).Draw(t, "late")
			now = latest(now, cursor.FireAt).Add(late)
			d := Due(s, cursor, Turn{Now: now}, Rules{MisfireAfter: 10 * time.Second})
			for _, r := range d.Record {
				lastFor = latest(lastFor, r.Until)
			}
			for _, o := range d.Enqueue {
				lastFor = latest(lastFor, o.ScheduledFor)
			}
			cursor = d.Cursor
			if rapid.IntRange(0, 4).Draw(t, "edited") == 0 { // and left dirty, with its next run
				cursor.Dirty = true
				cursor = Replan(s, cursor, lastFor, now)
			}
			unchanged(cursor, now)
		}
	})
}
