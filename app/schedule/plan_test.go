package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// clock reads "15:04:05" as an instant of one day, a Tuesday, "36:00:00" as one of
// the next, "" as the zero time.
func clock(t testing.TB, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	var hours, minutes, seconds int
	if _, err := fmt.Sscanf(text, "%d:%d:%d", &hours, &minutes, &seconds); err != nil {
		t.Fatal(err)
	}
	return time.Date(2026, 11, 24, hours, minutes, seconds, 0, time.UTC)
}

func hourly() *Schedule {
	s := New()
	s.ID, s.Version, s.Spec.Cron = ID{1}, 3, "0 * * * *"
	return &s
}

func TestPlan(t *testing.T) {
	every := func(s *Schedule) { s.Spec.Cron, s.Spec.Every, s.CreatedAt = "", time.Hour, clock(t, "00:30:00") }
	at := func(text string) func(*Schedule) {
		return func(s *Schedule) { s.Spec.Cron, s.Spec.At = "", clock(t, text) }
	}
	exclude := func(text string) func(*Schedule) {
		return func(s *Schedule) {
			s.Spec.Exclude, s.Calendars = []string{"off"}, []Calendar{calendar(t, "off", "UTC", false, text)}
		}
	}
	for _, row := range []struct {
		claim     string
		change    func(*Schedule)
		cursor    Cursor
		changedAt string
		lastFor   string
		next      string
		fire      string // empty: as next
		state     State
		reason    string
	}{
		{claim: "a new cron runs at its first instant after the write", changedAt: "09:15:00", next: "10:00:00"},
		{claim: "an edit on the instant itself goes on after it", changedAt: "09:00:00", next: "10:00:00"},
		{claim: "nothing is planned again that the ledger holds, though the clock went back", changedAt: "08:59:00", lastFor: "09:00:00", next: "10:00:00"},
		{claim: "every counts from the creation", change: every, changedAt: "09:15:00", next: "09:30:00"},
		{claim: "every counts from start_at where there is one", change: func(s *Schedule) {
			every(s)
			s.Spec.StartAt = clock(t, "00:10:00")
		}, changedAt: "09:15:00", next: "10:10:00"},
		{claim: "start_at itself is an occurrence", change: func(s *Schedule) {
			every(s)
			s.Spec.StartAt = clock(t, "11:00:00")
		}, changedAt: "09:15:00", next: "11:00:00"},
		{claim: "end_at is not", change: func(s *Schedule) { s.Spec.EndAt = clock(t, "10:00:00") }, changedAt: "09:15:00", state: StateCompleted},
		{claim: "at is planned for its instant", change: at("12:00:00"), changedAt: "09:15:00", next: "12:00:00"},
		{claim: "at that has passed when it is written is due at once", change: at("08:00:00"), changedAt: "09:15:00", next: "08:00:00", fire: "09:15:00"},
		{claim: "at that has run is completed", change: at("08:00:00"), changedAt: "09:15:00", lastFor: "08:00:00", state: StateCompleted},
		{claim: "at moved after it has run runs again", change: at("08:30:00"), changedAt: "09:15:00", lastFor: "08:00:00", next: "08:30:00", fire: "09:15:00"},
		{claim: "a paused schedule has no next run", change: func(s *Schedule) { s.Paused = true }, changedAt: "09:15:00"},
		{claim: "max_runs that is used up completes", change: func(s *Schedule) { s.Spec.MaxRuns = 2 }, cursor: Cursor{RunCount: 2}, changedAt: "09:15:00", state: StateCompleted},
		{claim: "an edit of the policy keeps the next run", cursor: Cursor{NextRunAt: clock(t, "09:00:00")}, changedAt: "09:15:00", next: "09:00:00"},
		{claim: "an edit of the policy keeps when a late at is due", change: at("01:00:00"),
			cursor: Cursor{NextRunAt: clock(t, "01:00:00"), FireAt: clock(t, "09:00:00")}, changedAt: "09:00:00", next: "01:00:00", fire: "09:00:00"},
		{claim: "a spec that doesn't parse is set aside", change: func(s *Schedule) { s.Spec.Cron = "nonsense" }, changedAt: "09:15:00", state: StateInvalid},
		{claim: "so is a zone that nobody knows", change: func(s *Schedule) { s.Spec.Timezone = "Mars/Olympus" }, changedAt: "09:15:00", state: StateInvalid},
		{claim: "what is held is looked at at once, whatever was edited", cursor: Cursor{NextRunAt: clock(t, "10:00:00"), Held: clock(t, "09:00:00"), HeldSince: clock(t, "09:00:01"), HeldReason: ReasonSchedule},
			changedAt: "08:00:00", next: "10:00:00", fire: "09:00:01"},
		{claim: "nothing is planned behind the last occurrence, which is held", change: func(s *Schedule) { s.Spec.EndAt = clock(t, "10:00:00") },
			cursor: Cursor{Held: clock(t, "09:00:00"), HeldSince: clock(t, "09:00:01"), HeldReason: ReasonSchedule}, changedAt: "08:00:00", fire: "09:00:01"},
		{claim: "unless it was set aside with it", cursor: Cursor{Held: clock(t, "09:00:00"), HeldSince: clock(t, "09:00:01"), HeldReason: ReasonSchedule, State: StateInvalid},
			changedAt: "09:15:00", next: "10:00:00", fire: "09:00:01"},
		{claim: "days that a calendar excludes are passed over", change: exclude("2026-11-24"), changedAt: "09:15:00", next: "24:00:00"},
		{claim: "so is a plan on the calendar's other side", change: func(s *Schedule) {
			exclude("2026-11-24")(s)
			s.Calendars[0].Timezone = "Asia/Tokyo"
		}, changedAt: "09:15:00", next: "15:00:00"},
		{claim: "a schedule whose every run is excluded is completed and says so", change: func(s *Schedule) {
			exclude("2026-11-24..2026-11-25")(s)
			s.Spec.EndAt = clock(t, "23:30:00")
		}, changedAt: "09:15:00", state: StateCompleted, reason: silentReason},
		{claim: "at on an excluded day is completed and says so", change: func(s *Schedule) {
			exclude("2026-11-24")(s)
			at("12:00:00")(s)
		}, changedAt: "09:15:00", state: StateCompleted, reason: silentReason},
		{claim: "or moves", change: func(s *Schedule) {
			exclude("2026-11-24")(s)
			at("12:00:00")(s)
			s.Spec.OnExcluded = OnExcludedNextDay
		}, changedAt: "09:15:00", next: "36:00:00"},
		{claim: "moved into the past it is due at once", change: func(s *Schedule) {
			exclude("2026-11-24")(s)
			at("12:00:00")(s)
			s.Spec.OnExcluded = OnExcludedPreviousDay
		}, changedAt: "09:15:00", next: "-12:00:00", fire: "09:15:00"},
		{claim: "a calendar that doesn't exist sets it aside", change: func(s *Schedule) { s.Spec.Exclude = []string{"gone"} }, changedAt: "09:15:00", state: StateInvalid},
		{claim: "an edit mends what was set aside", cursor: Cursor{State: StateInvalid, StateReason: "broken"}, changedAt: "09:15:00", next: "10:00:00"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			s := hourly()
			if row.change != nil {
				row.change(s)
			}
			cursor := row.cursor
			cursor.Dirty, cursor.ChangedAt = true, clock(t, row.changedAt)
			got := Plan(s, cursor, clock(t, row.lastFor))
			if row.fire == "" {
				row.fire = row.next
			}
			if row.state == "" {
				row.state = StateActive
			}
			want := cursor
			want.Dirty, want.PlannedVersion = false, 3
			want.NextRunAt, want.FireAt = clock(t, row.next), clock(t, row.fire)
			want.State, want.StateReason = row.state, row.reason
			if row.state == StateInvalid {
				if got.StateReason == "" {
					t.Error("no reason is given")
				}
				got.StateReason = ""
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error("the cursor differs (-want +got):\n", diff)
			}
		})
	}
}

func TestDue(t *testing.T) {
	const enqueue, catchUp = "schedule", "catch_up"
	type run struct{ at, reason string }
	type stretch struct {
		from, until string
		count       int64
		why         string
	}
	minutely := func(s *Schedule) { s.Spec.Cron = "* * * * *" }
	exclude := func(text string) func(*Schedule) {
		return func(s *Schedule) {
			s.Spec.Exclude, s.Calendars = []string{"off"}, []Calendar{calendar(t, "off", "UTC", false, text)}
		}
	}
	for _, row := range []struct {
		claim  string
		change func(*Schedule)
		next   string
		fire   string // empty: as next
		count  int64  // of runs before
		now    string

		changedAt string
		runs      []run
		record    []stretch
		then      string // the next run afterwards
		state     State
	}{
		{claim: "a punctual run runs and the next is planned", next: "09:00:00", now: "09:00:01", runs: []run{{"09:00:00", enqueue}}, then: "10:00:00"},
		{claim: "what isn't due stays", next: "10:00:00", now: "09:59:59", then: "10:00:00"},
		{claim: "ten seconds late is punctual still", next: "09:00:00", now: "09:00:10", runs: []run{{"09:00:00", enqueue}}, then: "10:00:00"},
		{claim: "each punctual occurrence runs, oldest first", change: func(s *Schedule) { s.Spec.Cron = "*/5 * * * * *" }, next: "09:00:00", now: "09:00:09",
			runs: []run{{"09:00:00", enqueue}, {"09:00:05", enqueue}}, then: "09:00:10"},
		{claim: "once makes up for the latest missed run only", change: minutely, next: "09:00:00", now: "09:30:30",
			runs: []run{{"09:30:00", catchUp}}, record: []stretch{{"09:00:00", "09:29:00", 30, WhyMisfire}}, then: "09:31:00"},
		{claim: "a single missed run is made up for", next: "09:00:00", now: "09:30:00", runs: []run{{"09:00:00", catchUp}}, then: "10:00:00"},
		{claim: "the missed one comes before the punctual one", change: minutely, next: "09:00:00", now: "09:02:05",
			runs: []run{{"09:01:00", catchUp}, {"09:02:00", enqueue}}, record: []stretch{{"09:00:00", "09:00:00", 1, WhyMisfire}}, then: "09:03:00"},
		{claim: "skip makes up for none", change: func(s *Schedule) { minutely(s); s.Misfire = MisfireSkip }, next: "09:00:00", now: "09:30:30",
			record: []stretch{{"09:00:00", "09:30:00", 31, WhyMisfire}}, then: "09:31:00"},
		{claim: "skip runs the punctual ones", change: func(s *Schedule) { minutely(s); s.Misfire = MisfireSkip }, next: "09:00:00", now: "09:02:05",
			runs: []run{{"09:02:00", enqueue}}, record: []stretch{{"09:00:00", "09:01:00", 2, WhyMisfire}}, then: "09:03:00"},
		{claim: "all makes up for each, oldest first", change: func(s *Schedule) { minutely(s); s.Misfire = MisfireAll }, next: "09:00:00", now: "09:02:30",
			runs: []run{{"09:00:00", catchUp}, {"09:01:00", catchUp}, {"09:02:00", catchUp}}, then: "09:03:00"},
		{claim: "all makes up for the newest up to the limit", change: func(s *Schedule) { minutely(s); s.Misfire, s.MisfireLimit = MisfireAll, 2 }, next: "09:00:00", now: "09:30:30",
			runs: []run{{"09:29:00", catchUp}, {"09:30:00", catchUp}}, record: []stretch{{"09:00:00", "09:28:00", 29, WhyLimit}}, then: "09:31:00"},
		{claim: "what was missed before the grace is not made up for", change: func(s *Schedule) { minutely(s); s.Misfire, s.MisfireGrace = MisfireAll, 90*time.Second }, next: "09:00:00", now: "09:05:15",
			runs: []run{{"09:04:00", catchUp}, {"09:05:00", catchUp}}, record: []stretch{{"09:00:00", "09:03:00", 4, WhyGrace}}, then: "09:06:00"},
		{claim: "all of it before the grace is recorded", change: func(s *Schedule) { s.MisfireGrace = time.Minute }, next: "08:00:00", now: "09:30:00",
			record: []stretch{{"08:00:00", "09:00:00", 2, WhyGrace}}, then: "10:00:00"},
		{claim: "grace counts from when it was due, not from its nominal time", change: func(s *Schedule) {
			s.MisfireGrace = 30 * time.Minute
		}, next: "08:00:00", fire: "08:49:00", now: "08:49:20", runs: []run{{"08:00:00", catchUp}}, then: "09:00:00"},
		{claim: "an at that was written late has its grace from then", change: func(s *Schedule) {
			s.Spec.Cron, s.Spec.At, s.MisfireGrace = "", clock(t, "01:00:00"), time.Hour
		}, next: "01:00:00", fire: "09:00:00", now: "09:00:20", runs: []run{{"01:00:00", catchUp}}, state: StateCompleted},
		{claim: "max_runs ends it in the middle of a batch", change: func(s *Schedule) { s.Spec.Cron, s.Spec.MaxRuns = "*/5 * * * * *", 6 }, count: 5, next: "09:00:00", now: "09:00:09",
			runs: []run{{"09:00:00", enqueue}}, state: StateCompleted},
		{claim: "end_at ends it", change: func(s *Schedule) { s.Spec.EndAt = clock(t, "10:00:00") }, next: "09:00:00", now: "09:00:01",
			runs: []run{{"09:00:00", enqueue}}, state: StateCompleted},
		{claim: "at runs once", change: func(s *Schedule) { s.Spec.Cron, s.Spec.At = "", clock(t, "09:00:00") }, next: "09:00:00", now: "09:00:01",
			runs: []run{{"09:00:00", enqueue}}, state: StateCompleted},
		{claim: "at that was written late is punctual", change: func(s *Schedule) {
			s.Spec.Cron, s.Spec.At, s.Misfire = "", clock(t, "08:00:00"), MisfireSkip
		}, next: "08:00:00", fire: "09:00:00", now: "09:00:01", runs: []run{{"08:00:00", enqueue}}, state: StateCompleted},
		{claim: "what a calendar took away since the run before is recorded", change: exclude("2026-11-23"), next: "00:00:00", now: "00:00:01",
			runs: []run{{"00:00:00", enqueue}}, record: []stretch{{"00:00:00", "23:00:00", 24, WhyExcluded}}, then: "01:00:00"},
		{claim: "but not what lies before the plan's beginning", change: exclude("2026-11-23"), changedAt: "-2:00:00", next: "00:00:00", now: "00:00:01",
			runs: []run{{"00:00:00", enqueue}}, record: []stretch{{"23:00:00", "23:00:00", 1, WhyExcluded}}, then: "01:00:00"},
		{claim: "nor what comes after the last run", change: exclude("2026-11-25"), next: "23:00:00", now: "23:00:01", runs: []run{{"23:00:00", enqueue}}, then: "48:00:00"},
		{claim: "what was taken away among missed ones isn't missed", change: exclude("2026-11-25"), next: "22:00:00", now: "48:30:00",
			runs: []run{{"00:00:00", catchUp}}, record: []stretch{{"22:00:00", "23:00:00", 2, WhyMisfire}, {"00:00:00", "23:00:00", 24, WhyExcluded}}, then: "49:00:00"},
		{claim: "nor is it made up for", change: func(s *Schedule) { exclude("2026-11-25")(s); s.Misfire = MisfireAll }, next: "22:00:00", now: "48:30:00",
			runs: []run{{"22:00:00", catchUp}, {"23:00:00", catchUp}, {"00:00:00", catchUp}}, record: []stretch{{"00:00:00", "23:00:00", 24, WhyExcluded}}, then: "49:00:00"},
		{claim: "one stretch reaches into that of the missed ones", change: func(s *Schedule) { exclude("2026-11-25,2026-11-27")(s); s.Misfire = MisfireSkip }, next: "23:00:00", now: "96:30:00",
			record: []stretch{{"23:00:00", "00:00:00", 26, WhyMisfire}, {"00:00:00", "23:00:00", 48, WhyExcluded}}, then: "97:00:00"},
		{claim: "what moved wasn't taken away", change: func(s *Schedule) {
			exclude("2026-11-23")(s)
			s.Spec.Cron, s.Spec.OnExcluded = "0 9 * * 1", OnExcludedNextDay
		}, next: "09:00:00", now: "09:00:01", runs: []run{{"09:00:00", enqueue}}, then: "153:00:00"},
		{claim: "max_runs leaves nothing to be taken away after the last", change: func(s *Schedule) { exclude("2026-11-25")(s); s.Misfire, s.Spec.MaxRuns = MisfireAll, 2 }, next: "22:00:00", now: "48:30:00",
			runs: []run{{"22:00:00", catchUp}, {"23:00:00", catchUp}}, state: StateCompleted},
		{claim: "a paused schedule runs nothing", change: func(s *Schedule) { s.Paused = true }, next: "09:00:00", now: "09:00:01"},
		{claim: "a spec that doesn't parse is set aside, and what was due is missed", change: func(s *Schedule) { s.Spec.Cron = "nonsense" }, next: "09:00:00", now: "09:00:01",
			record: []stretch{{"09:00:00", "09:00:01", 0, WhyInvalid}}, state: StateInvalid},
	} {
		t.Run(row.claim, func(t *testing.T) {
			s := hourly()
			if row.change != nil {
				row.change(s)
			}
			cursor := Cursor{ScheduleID: s.ID, NextRunAt: clock(t, row.next), FireAt: clock(t, row.next), RunCount: row.count, State: StateActive, ChangedAt: clock(t, row.changedAt)}
			if row.fire != "" {
				cursor.FireAt = clock(t, row.fire)
			}
			got := Due(s, cursor, Turn{Now: clock(t, row.now)}, Rules{MisfireAfter: 10 * time.Second})
			var runs []run
			for _, o := range got.Enqueue {
				runs = append(runs, run{o.ScheduledFor.Format(time.TimeOnly), string(o.Reason)})
			}
			var record []stretch
			for _, r := range got.Record {
				record = append(record, stretch{r.From.Format(time.TimeOnly), r.Until.Format(time.TimeOnly), r.Count, r.Why})
			}
			if diff := cmp.Diff(row.runs, runs, cmp.AllowUnexported(run{})); diff != "" {
				t.Error("the runs differ (-want +got):\n", diff)
			}
			if diff := cmp.Diff(row.record, record, cmp.AllowUnexported(stretch{})); diff != "" {
				t.Error("the record differs (-want +got):\n", diff)
			}
			if !got.Cursor.NextRunAt.Equal(clock(t, row.then)) {
				t.Errorf("then it runs at %v, not at %q", got.Cursor.NextRunAt, row.then)
			}
			if row.state == "" {
				row.state = StateActive
			}
			if got.Cursor.State != row.state {
				t.Errorf("it is %s, not %s", got.Cursor.State, row.state)
			}
			if want := row.count + int64(len(runs)); got.Cursor.RunCount != want {
				t.Errorf("run_count is %d, not %d", got.Cursor.RunCount, want)
			}
		})
	}
}

// Whatever was missed, whatever calendars take away, and however the turns fall:
// each occurrence of the spec is covered exactly once, in order. What calendars
// took away among missed ones is a stretch of its own among them.
func TestEveryOwedOccurrenceIsCoveredOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := hourly()
		s.Spec.Cron = rapid.SampledFrom([]string{"*/7 * * * * *", "* * * * *", "*/20 3-5 * * *", "@hourly"}).Draw(t, "cron")
		s.Misfire = rapid.SampledFrom([]Misfire{MisfireOnce, MisfireAll, MisfireSkip}).Draw(t, "misfire")
		s.MisfireLimit = rapid.IntRange(1, 5).Draw(t, "limit")
		s.MisfireGrace = time.Duration(rapid.IntRange(0, 3600).Draw(t, "grace")) * time.Second
		s.Spec.Jitter = time.Duration(rapid.IntRange(0, 90).Draw(t, "jitter")) * time.Second
		begin := time.Date(2026, 11, 24, 2, 59, 30, 0, time.UTC)
		s.CreatedAt = begin
		if rapid.Bool().Draw(t, "calendars") {
			for i := range rapid.IntRange(1, 2).Draw(t, "number") {
				c := Calendar{Namespace: "default", Name: fmt.Sprint("c", i), Weekends: rapid.Bool().Draw(t, "weekends")}
				c.Timezone = rapid.SampledFrom([]string{"UTC", "Asia/Tokyo", "America/St_Johns"}).Draw(t, "zone")
				for range rapid.IntRange(0, 3).Draw(t, "ranges") {
					day := DateOf(begin).number() + rapid.Int64Range(-1, 6).Draw(t, "day")
					c.Days = append(c.Days, DayRange{From: dateOf(day), To: dateOf(day + rapid.Int64Range(0, 1).Draw(t, "more"))})
				}
				s.Spec.Exclude, s.Calendars = append(s.Spec.Exclude, c.Name), append(s.Calendars, c)
			}
		}
		base, err := s.Spec.Timing(begin)
		if err != nil {
			t.Fatal(err)
		}
		timing, err := s.Timing()
		if err != nil {
			t.Fatal(err)
		}
		cursor := Plan(s, Cursor{ScheduleID: s.ID, ChangedAt: begin, State: StateActive}, time.Time{})
		now, last := begin, begin // last: what is covered so far
		for range rapid.IntRange(1, 6).Draw(t, "turns") {
			now = now.Add(time.Duration(rapid.IntRange(1, 2*86400).Draw(t, "seconds")) * time.Second)
			d := Due(s, cursor, Turn{Now: now}, Rules{MisfireAfter: 10 * time.Second})
			cursor = d.Cursor
			lines := slices.Clone(d.Record)
			for _, o := range d.Enqueue {
				lines = append(lines, Stretch{From: o.ScheduledFor, Until: o.ScheduledFor, Count: 1, Outcome: OutcomeEnqueued})
			}
			// Each line has the occurrences of its sort from its first to its last.
			var covered, ran int64
			until := last
			for _, line := range lines {
				before := line.From.Add(-time.Nanosecond)
				want := timing.Count(before, line.Until)
				if line.Outcome == OutcomeSkipped {
					want = base.Count(before, line.Until) - want
					for _, end := range []time.Time{line.From, line.Until} {
						if !excludedPlainly(s.Calendars, end) || !base.Latest(end).Equal(end) {
							t.Fatalf("%+v isn't what calendars took away", line)
						}
					}
					if line.Why != WhyExcluded {
						t.Fatalf("%+v gives another reason", line)
					}
				} else {
					ran += line.Count
				}
				if line.Count != want || want == 0 {
					t.Fatalf("%+v should cover %d", line, want)
				}
				if run := line.Run(s, now); run.Outcome != line.Outcome || run.Why != line.Why || run.Count != line.Count || !run.ScheduledFor.Equal(line.From) {
					t.Fatalf("%+v is the ledger's %+v", line, run)
				}
				covered += line.Count
				if line.Until.After(until) {
					until = line.Until
				}
			}
			// Together they tile what there was since the turn before.
			if want := base.Count(last, until); covered != want {
				t.Fatalf("from %v to %v they cover %d, not %d: %+v", last, until, covered, want, lines)
			}
			if want := timing.Count(last, until); ran != want {
				t.Fatalf("from %v to %v %d ran or were missed, not %d: %+v", last, until, ran, want, lines)
			}
			slices.SortFunc(lines, func(a, b Stretch) int { return a.From.Compare(b.From) })
			var end, taken time.Time
			for _, line := range lines {
				edge := &end
				if line.Outcome == OutcomeSkipped {
					edge = &taken
				}
				if !line.From.After(*edge) {
					t.Fatalf("%+v overlaps the line before", line)
				}
				*edge = line.Until
			}
			last = until
			if next := timing.Next(last); !cursor.NextRunAt.Equal(next) {
				t.Fatalf("the cursor stands at %v, not at %v", cursor.NextRunAt, next)
			}
			if !cursor.NextRunAt.IsZero() && !cursor.FireAt.After(now) {
				t.Fatalf("at %v it is due at %v still", now, cursor.FireAt)
			}
			if cursor.NextRunAt.IsZero() {
				return
			}
		}
	})
}

func TestTheCostOfAMissedStretchDoesNotGrowWithItsLength(t *testing.T) {
	s := hourly()
	s.Spec.Cron = "* * * * * *"
	cursor := Cursor{NextRunAt: clock(t, "00:00:00"), FireAt: clock(t, "00:00:00")}
	const years = 9
	d := Due(s, cursor, Turn{Now: cursor.NextRunAt.AddDate(years, 0, 0)}, Rules{})
	// 9 years of seconds would take minutes tick by tick; the test's deadline is
	// the assertion, and the count shows that none was left out.
	want := int64(cursor.NextRunAt.AddDate(years, 0, 0).Sub(cursor.NextRunAt) / time.Second)
	if len(d.Record) != 1 || d.Record[0].Count+int64(len(d.Enqueue)) != want+1 {
		t.Errorf("%d records and %d runs cover other than %d seconds: %+v", len(d.Record), len(d.Enqueue), want+1, d.Record)
	}
}

func TestACursorThatWasSetBackGoesOnBehindTheLedger(t *testing.T) {
	s := hourly()
	s.Spec.Cron = "*/5 * * * * *"
	at := func(text string) Cursor {
		return Cursor{ScheduleID: s.ID, NextRunAt: clock(t, text), FireAt: clock(t, text), ChangedAt: clock(t, "08:00:00"), State: StateActive}
	}
	if got := PlanAfter(s, at("09:00:00"), clock(t, "09:30:00")); !got.NextRunAt.Equal(clock(t, "09:30:05")) {
		t.Errorf("it goes on at %v", got.NextRunAt)
	}
	if got, want := PlanAfter(s, at("09:00:00"), clock(t, "08:59:55")), at("09:00:00"); got != want {
		t.Errorf("one that stands behind the ledger is moved to %v", got.NextRunAt)
	}
}

func TestWithoutLeavesOutWhatTheLedgerHolds(t *testing.T) {
	s := hourly()
	s.Spec.Cron = "*/5 * * * * *"
	cursor := Cursor{ScheduleID: s.ID, NextRunAt: clock(t, "09:00:00"), FireAt: clock(t, "09:00:00")}
	d := Due(s, cursor, Turn{Now: clock(t, "09:00:09")}, Rules{MisfireAfter: 10 * time.Second})
	d.Without(func(at time.Time) bool { return at.Equal(clock(t, "09:00:00")) })
	if len(d.Enqueue) != 1 || !d.Enqueue[0].ScheduledFor.Equal(clock(t, "09:00:05")) || d.Cursor.RunCount != 1 {
		t.Errorf("it leaves %+v with a run_count of %d", d.Enqueue, d.Cursor.RunCount)
	}
}

func TestJitterStaysBeforeTheNextOccurrenceAndNeverChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var id ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		spec := Spec{Cron: "*/10 * * * * *", Timezone: "UTC", Jitter: time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "jitter"))}
		timing, err := spec.Timing(time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		at := timing.Next(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "at"), 0))
		fire := timing.FireAt(id, at)
		if fire.Before(at) || !fire.Before(timing.Next(at)) && spec.Jitter > 0 || fire.Sub(at) > spec.Jitter {
			t.Fatalf("%v with a jitter of %v fires at %v", at, spec.Jitter, fire)
		}
		if again := timing.FireAt(id, at); !again.Equal(fire) || fire.Nanosecond()%1000 != 0 {
			t.Fatalf("it fires at %v, then at %v", fire, again)
		}
	})
}

func TestJitterSpreadsSchedules(t *testing.T) {
	timing, err := Spec{Cron: "0 * * * *", Timezone: "UTC", Jitter: time.Minute}.Timing(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var tenths [10]int
	at := clock(t, "09:00:00")
	for i := range 10_000 {
		late := timing.FireAt(ID{byte(i), byte(i >> 8)}, at).Sub(at)
		tenths[late*10/time.Minute]++
	}
	for i, n := range tenths {
		if n < 800 || n > 1200 {
			t.Errorf("tenth %d of the minute has %d of 10,000: %v", i, n, tenths)
		}
	}
}

func TestEveryIsExactOverCenturies(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(int64(time.Second), int64(MaxEvery)).Draw(t, "every"))
		anchor := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "anchor"), rapid.Int64Range(0, 999_999).Draw(t, "µs")*1000)
		timing, err := Spec{Every: every, Timezone: "UTC"}.Timing(anchor)
		if err != nil {
			t.Fatal(err)
		}
		after := anchor.Add(time.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "after"))).AddDate(rapid.IntRange(0, 2000).Draw(t, "years"), 0, 0)
		next, latest := timing.Next(after), timing.Latest(after)
		if !next.After(after) || latest.After(after) || next.Sub(latest) != every {
			t.Fatalf("every %v from %v: %v lies between %v and %v", every, anchor, after, latest, next)
		}
		if n := timing.Count(latest, next); n != 1 {
			t.Fatalf("between them lie %d", n)
		}
		if again := timing.Latest(next); !again.Equal(next) {
			t.Fatalf("the latest at %v is %v", next, again)
		}
	})
}

func TestDurations(t *testing.T) {
	for _, row := range []struct {
		text string
		want time.Duration
		out  string
	}{
		{"90s", 90 * time.Second, "90s"}, {"15m", 15 * time.Minute, "15m"}, {"24h", 24 * time.Hour, "24h"}, {"1d", 24 * time.Hour, "24h"},
		{"1h30m", 90 * time.Minute, "90m"}, {"1.5s", 1500 * time.Millisecond, "1.5s"}, {"0s", 0, "0s"}, {"7d12h", 180 * time.Hour, "180h"},
	} {
		got, err := ParseDuration(row.text)
		if err != nil || got != row.want || FormatDuration(got) != row.out {
			t.Errorf("%q is %v and written %q, error %v", row.text, got, FormatDuration(got), err)
		}
	}
	for _, text := range []string{"", "5", "-5s", "+5s", "5 s", "5ms", "5us", "1mo", "1y", "d", "1d1", "s", "99999d", "1e3s", "∞", "1h-1m", ".s"} {
		if d, err := ParseDuration(text); err == nil {
			t.Errorf("%q was taken for %v", text, d)
		}
	}
}

func TestARefusedDurationNamesWhatWasReadAndWhatWasMeant(t *testing.T) {
	for text, meant := range map[string]string{
		"60": "60s", "5 m": "5m", "5M": "5m", "2 Hours": "2h", "PT5M": "5m", "1w": "7d", "90 min": "90m", "3days": "3d",
		"": "", "1 month": "", "1mo": "", "1y": "", "20000w": "", "-1s": "", "soon": "", "1h30": "",
	} {
		want := fmt.Sprintf(`must be a duration such as "90s", "15m", "24h" or "7d", not %q`, text)
		if meant != "" {
			want += fmt.Sprintf(" (did you mean %q?)", meant)
		}
		if _, err := ParseDuration(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", text, err, want)
		}
	}
	if _, err := ParseDuration(strings.Repeat("漢", 1000)); len(err.Error()) > 200 || !utf8.ValidString(err.Error()) {
		t.Errorf("a long one is repeated: %v", err)
	}
}

func TestRunIDIsAVersion5UUIDOfItsOwn(t *testing.T) {
	seen := map[ID]string{}
	for i := range 100 {
		for j := range 10 {
			id := RunID(ID{byte(i)}, time.Unix(int64(j), 0))
			if id[6]>>4 != 5 || id[8]>>6 != 2 {
				t.Fatalf("%s is not of version 5", id)
			}
			name := fmt.Sprint(i, j)
			if other, ok := seen[id]; ok {
				t.Fatalf("%s and %s have the same id", other, name)
			}
			seen[id] = name
		}
	}
	// The same as other implementations make it, whatever the zone of the time.
	at := time.Date(2026, 11, 24, 3, 0, 0, 123456000, time.FixedZone("", 9*3600))
	if got := RunID(ID{1}, at); got != RunID(ID{1}, at.UTC()) {
		t.Error("the zone makes a difference")
	}
}
