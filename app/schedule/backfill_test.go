package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ledger is a schedule's ledger by the simplest means: what became of each occurrence.
type ledger struct {
	s      *Schedule
	timing *Timing
	cursor Cursor
	now    time.Time
	lines  []Run
	ran    map[time.Time]bool // whether each occurrence so far has run
}

func (l *ledger) add(at, until time.Time, count int64, outcome Outcome, why string) {
	if count == 1 {
		until = time.Time{}
	}
	l.lines = append(l.lines, Run{ScheduleID: l.s.ID, ScheduledFor: at, Until: until, Count: count, Outcome: outcome, Why: why, Reason: ReasonSchedule})
	slices.SortFunc(l.lines, func(a, b Run) int { return a.ScheduledFor.Compare(b.ScheduledFor) })
}

// pass lets the next occurrences pass, the cursor behind them.
func (l *ledger) pass(n int) (first, last time.Time) {
	first = l.cursor.NextRunAt
	for range n {
		last = l.cursor.NextRunAt
		l.ran[last] = false
		l.cursor.NextRunAt = l.timing.Next(last)
	}
	l.now = last
	return first, last
}

// backfill does what the plan says, as the store would.
func (l *ledger) backfill(t *rapid.T, start, end time.Time, limit int) Backfill {
	var lines []Run
	for _, line := range l.lines {
		switch {
		case line.ScheduledFor.Before(start):
			if line.Reason != ReasonManual && line.Why != WhyExcluded {
				lines = []Run{line}
			}
		case line.ScheduledFor.Before(end):
			lines = append(lines, line)
		}
	}
	b, err := PlanBackfill(l.s, l.cursor, lines, start, end, l.now, limit)
	if err != nil {
		t.Fatal(err)
	}
	l.lines = slices.DeleteFunc(l.lines, func(r Run) bool {
		return slices.ContainsFunc(b.Remove, r.ScheduledFor.Equal)
	})
	l.lines = append(l.lines, b.Record...)
	for _, at := range b.Enqueue {
		if l.ran[at] {
			t.Fatalf("%v runs twice", at)
		}
		l.ran[at] = true
		l.lines = append(l.lines, Run{ScheduleID: l.s.ID, ScheduledFor: at, Count: 1, Outcome: OutcomeEnqueued, Reason: ReasonBackfill})
	}
	slices.SortFunc(l.lines, func(a, b Run) int { return a.ScheduledFor.Compare(b.ScheduledFor) })
	return b
}

// check holds the lines to what became of each occurrence.
func (l *ledger) check(t *rapid.T) {
	places := map[time.Time]bool{}
	covered := map[time.Time]int{}
	for _, line := range l.lines {
		if places[line.ScheduledFor] {
			t.Fatalf("two lines at %v", line.ScheduledFor)
		}
		places[line.ScheduledFor] = true
		if line.Reason == ReasonManual || line.Why == WhyExcluded {
			continue
		}
		n := int64(0)
		for at, ran := range l.ran {
			if at.Before(line.ScheduledFor) || at.After(latest(line.Until, line.ScheduledFor)) {
				continue
			}
			n++
			covered[at]++
			if ran != (line.Outcome == OutcomeEnqueued) {
				t.Fatalf("%v ran %v, its line says %+v", at, ran, line)
			}
		}
		if line.Count != 0 && n != line.Count || n == 0 {
			t.Fatalf("a line covers %d: %+v", n, line)
		}
		if line.Count == 1 != line.Until.IsZero() {
			t.Fatalf("%+v", line)
		}
	}
	for at := range l.ran {
		if covered[at] != 1 {
			t.Fatalf("%v is covered %d times: %s", at, covered[at], l.story())
		}
	}
}

func (l *ledger) story() (text string) {
	for _, r := range l.lines {
		text += fmt.Sprintf("\n%v to %v ×%d %s %s", r.ScheduledFor.Format(time.TimeOnly), r.Until.Format(time.TimeOnly), r.Count, r.Outcome, r.Why)
	}
	return text
}

// Whatever was missed, skipped and backfilled, in which order ever: each occurrence
// has one line, which says what became of it.
func TestBackfillsLeaveEachOccurrenceOnOneLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		s.ID = ID{1}
		s.CreatedAt = time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		if rapid.Bool().Draw(t, "cron") {
			s.Spec.Cron = rapid.SampledFrom([]string{"* * * * *", "*/7 * * * *", "0,1,30 * * * *"}).Draw(t, "spec")
		} else {
			s.Spec.Every = time.Duration(rapid.IntRange(1, 600).Draw(t, "every")) * time.Second
		}
		timing, err := s.Timing()
		if err != nil {
			t.Fatal(err)
		}
		l := &ledger{s: &s, timing: timing, now: s.CreatedAt, ran: map[time.Time]bool{}}
		l.cursor = Cursor{NextRunAt: timing.Next(s.CreatedAt), State: StateActive, ChangedAt: s.CreatedAt}
		t.Repeat(map[string]func(*rapid.T){
			"": l.check,
			"missed": func(t *rapid.T) {
				n := rapid.IntRange(1, 12).Draw(t, "n")
				first, last := l.pass(n)
				l.add(first, last, int64(n), OutcomeMissed, WhyMisfire)
			},
			"missed, uncounted": func(t *rapid.T) {
				first, last := l.pass(rapid.IntRange(1, 12).Draw(t, "n"))
				l.lines = append(l.lines, Run{ScheduledFor: first, Until: last.Add(time.Millisecond), Outcome: OutcomeMissed, Why: WhyPaused})
				l.now = last.Add(time.Millisecond)
			},
			"skipped": func(t *rapid.T) {
				n := rapid.IntRange(1, 3).Draw(t, "n")
				first, last := l.pass(n)
				l.add(first, last, int64(n), OutcomeSkipped, WhyOverlap)
			},
			"excluded among missed": func(t *rapid.T) {
				first, last := l.pass(4)
				l.add(first, last, 4, OutcomeMissed, WhyMisfire)
				l.add(first.Add(500*time.Millisecond), last.Add(-500*time.Millisecond), 3, OutcomeSkipped, WhyExcluded)
			},
			"ran": func(*rapid.T) {
				at, _ := l.pass(1)
				l.ran[at] = true
				l.add(at, at, 1, OutcomeEnqueued, "")
			},
			"asked for": func(t *rapid.T) {
				l.now = l.now.Add(time.Millisecond)
				if len(l.lines) > 0 && !l.now.Before(l.cursor.NextRunAt) {
					return
				}
				l.lines = append(l.lines, Run{ScheduledFor: l.now.Add(3 * time.Microsecond), Count: 1, Outcome: OutcomeEnqueued, Reason: ReasonManual})
			},
			"backfilled": func(t *rapid.T) {
				length := int(l.now.Sub(s.CreatedAt) / time.Second)
				start := s.CreatedAt.Add(time.Duration(rapid.IntRange(-5, length+5).Draw(t, "start")) * time.Second)
				end := start.Add(time.Duration(rapid.IntRange(0, length+5).Draw(t, "length")) * time.Second)
				limit := rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "limit")
				b := l.backfill(t, start, end, limit)
				inRange := 0
				for at := range l.ran {
					if !at.Before(start) && at.Before(end) {
						inRange++
					}
				}
				if b.Occurrences != inRange || b.Ran+len(b.Enqueue)+b.Left != inRange {
					t.Fatalf("of %d: %+v", inRange, b)
				}
				// The rest of it, and again: then there is nothing to do.
				for left := b.Left; left > 0; left = b.Left {
					if b = l.backfill(t, start, end, limit); b.Left >= left {
						t.Fatalf("%d are left of %d", b.Left, left)
					}
				}
				if b = l.backfill(t, start, end, limit); len(b.Enqueue)+len(b.Remove)+len(b.Record) > 0 {
					t.Fatalf("the same again: %+v", b)
				}
			},
		})
	})
}

func TestBackfillKnowsWhatIsTheSchedulers(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		claim  string
		change func(*Schedule, *Cursor)
		lines  []Run
		want   string // what is enqueued
		record string
	}{
		{claim: "what has no line runs, up to what is planned", want: "08:00 09:00 10:00 11:00"},
		{claim: "nothing is left out of a pause", change: func(s *Schedule, c *Cursor) { s.Paused, c.NextRunAt = true, time.Time{} }, want: "08:00 09:00 10:00 11:00 12:00"},
		{claim: "what is due and not claimed yet isn't taken from the scheduler", change: func(_ *Schedule, c *Cursor) { c.NextRunAt = clock(t, "10:00:00") }, want: "08:00 09:00"},
		{claim: "nor what waits for the last job", change: func(_ *Schedule, c *Cursor) { c.Held = clock(t, "09:00:00") }, want: "08:00 10:00 11:00"},
		{claim: "nor what is to be planned", change: func(_ *Schedule, c *Cursor) {
			c.Dirty, c.NextRunAt, c.ChangedAt = true, time.Time{}, clock(t, "10:00:00")
		}, want: "08:00 09:00 10:00"},
		{claim: "nor a single instant that is to be planned", change: func(s *Schedule, c *Cursor) {
			s.Spec.Cron, s.Spec.At = "", clock(t, "09:00:00")
			c.Dirty, c.NextRunAt, c.ChangedAt = true, time.Time{}, clock(t, "10:00:00")
		}},
		{claim: "a single instant that passed in a pause runs", change: func(s *Schedule, c *Cursor) {
			s.Spec.Cron, s.Spec.At = "", clock(t, "09:00:00")
			c.NextRunAt, c.State = time.Time{}, StateCompleted
		}, want: "09:00"},
		{claim: "what calendars take away doesn't run", change: func(s *Schedule, _ *Cursor) {
			s.Spec.Exclude, s.Calendars = []string{"off"}, []Calendar{calendar(t, "off", "UTC", false, "2026-11-24")}
		}},
		{claim: "a stretch of another spec stays",
			lines: []Run{{ScheduledFor: clock(t, "08:30:00"), Until: clock(t, "10:30:00"), Count: 3, Outcome: OutcomeMissed}}, want: "08:00 09:00 10:00 11:00"},
		{claim: "but makes room for an instant of both",
			lines: []Run{{ScheduledFor: clock(t, "08:00:00"), Until: clock(t, "10:00:00"), Count: 5, Outcome: OutcomeMissed}}, want: "08:00 09:00 10:00 11:00", record: "08:00:00.000001 10:00 ×4"},
		{claim: "also one that isn't counted, of which the rest is unknown",
			lines: []Run{{ScheduledFor: clock(t, "06:00:00"), Until: clock(t, "14:00:00"), Outcome: OutcomeMissed}}, want: "08:00 09:00 10:00 11:00", record: "06:00 07:00 ×0, 12:00 14:00 ×0"},
		{claim: "what a calendar took away before it was edited makes room",
			lines: []Run{{ScheduledFor: clock(t, "09:00:00"), Until: clock(t, "10:00:00"), Count: 2, Outcome: OutcomeSkipped, Why: WhyExcluded}}, want: "08:00 09:00 10:00 11:00", record: "09:00:00.000001 10:00 ×1"},
	} {
		s, c := hourly(), Cursor{NextRunAt: clock(t, "12:00:00"), State: StateActive}
		if row.change != nil {
			row.change(s, &c)
		}
		b, err := PlanBackfill(s, c, row.lines, clock(t, "08:00:00"), clock(t, "20:00:00"), clock(t, "12:00:00"), 100)
		if err != nil {
			t.Fatal(err)
		}
		show := func(at time.Time) string {
			if at.Nanosecond() > 0 {
				return at.Format("15:04:05.000000")
			}
			return at.Format("15:04")
		}
		var enqueued, recorded []string
		for _, at := range b.Enqueue {
			enqueued = append(enqueued, show(at))
		}
		for _, r := range b.Record {
			recorded = append(recorded, fmt.Sprintf("%s %s ×%d", show(r.ScheduledFor), show(r.Until), r.Count))
		}
		if got, record := strings.Join(enqueued, " "), strings.Join(recorded, ", "); got != row.want || record != row.record {
			t.Errorf("%s: %q, %q", row.claim, got, record)
		}
	}
	s := hourly()
	s.Spec.Cron = "* * * * * *"
	if _, err := PlanBackfill(s, Cursor{}, nil, clock(t, "00:00:00"), clock(t, "48:00:00"), clock(t, "48:00:00"), 1); err == nil {
		t.Error("a range without a bound is taken")
	}
}
