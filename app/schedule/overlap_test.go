package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOverlap(t *testing.T) {
	every5 := func(s *Schedule) { s.Spec.Cron = "*/5 * * * * *" }
	queue := func(s *Schedule) { every5(s); s.Overlap = OverlapQueueOne }
	skip := func(s *Schedule) { every5(s); s.Overlap = OverlapSkip }
	running := func(since string) LastJob { return LastJob{ID: 7, CreatedAt: clock(t, since)} }
	for _, row := range []struct {
		claim  string
		change func(*Schedule)
		last   LastJob
		count  int64 // of runs before
		next   string
		held   string // with since and reason
		since  string
		now    string

		runs   string // that are enqueued, each with its reason
		record string // the rest, each as from..until×count why
		then   string // the next run afterwards
		holds  string // what is held afterwards
		fire   string // when the cursor is due again; empty: as then
		state  State
	}{
		{claim: "allow runs beside the last job", change: every5, last: running("08:59:55"), next: "09:00:00", now: "09:00:01", runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "skip runs when the last job is finished", change: skip, next: "09:00:00", now: "09:00:01", runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "skip skips while it isn't", change: skip, last: running("08:59:55"), next: "09:00:00", now: "09:00:01", record: "09:00:00..09:00:00×1 overlap", then: "09:00:05"},
		{claim: "of several at once skip runs the first", change: skip, next: "09:00:00", now: "09:00:11",
			runs: "09:00:00 catch_up", record: "09:00:05..09:00:10×2 overlap", then: "09:00:15"},
		{claim: "or none", change: skip, last: running("08:59:55"), next: "09:00:00", now: "09:00:10",
			record: "09:00:00..09:00:10×3 overlap", then: "09:00:15"},
		{claim: "queue_one runs when the last job is finished", change: queue, next: "09:00:00", now: "09:00:01", runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "queue_one holds while it isn't, and looks again after a second", change: queue, last: running("08:59:55"), next: "09:00:00", now: "09:00:01",
			then: "09:00:05", holds: "09:00:00 since 09:00:01 schedule", fire: "09:00:02"},
		{claim: "of several at once queue_one runs the first, holds the second and skips the rest", change: queue, next: "09:00:00", now: "09:00:10",
			runs: "09:00:00 schedule", record: "09:00:10..09:00:10×1 queue_full", then: "09:00:15", holds: "09:00:05 since 09:00:10 schedule", fire: "09:00:11"},
		{claim: "what is held runs once the last job is finished", change: queue, held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:02",
			runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "until then it is looked at again after as long as it has waited", change: queue, last: running("08:59:55"), held: "08:59:50", since: "08:59:56", next: "09:00:05", now: "09:00:00",
			then: "09:00:05", holds: "08:59:50 since 08:59:56 schedule", fire: "09:00:04"},
		{claim: "but for half a minute at most", change: func(s *Schedule) { queue(s); s.Spec.Cron = "@hourly" }, last: running("08:59:55"), held: "09:00:00", since: "09:00:00", next: "10:00:00", now: "09:20:00",
			then: "10:00:00", holds: "09:00:00 since 09:00:00 schedule", fire: "09:20:30"},
		{claim: "and when the next run is due, which is skipped", change: queue, last: running("08:59:55"), held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:05",
			record: "09:00:05..09:00:05×1 queue_full", then: "09:00:10", holds: "09:00:00 since 09:00:01 schedule", fire: "09:00:09"},
		{claim: "what was held runs before the next, which is held then", change: queue, held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:05",
			runs: "09:00:00 schedule", then: "09:00:10", holds: "09:00:05 since 09:00:05 schedule", fire: "09:00:06"},
		{claim: "a job older than overlap_stale_after blocks no more", change: func(s *Schedule) { skip(s); s.OverlapStaleAfter = time.Minute }, last: running("08:59:01"), next: "09:00:00", now: "09:00:01",
			runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "a younger one does", change: func(s *Schedule) { skip(s); s.OverlapStaleAfter = time.Minute }, last: running("08:59:02"), next: "09:00:00", now: "09:00:01",
			record: "09:00:00..09:00:00×1 overlap", then: "09:00:05"},
		{claim: "what was held under queue_one runs under allow", change: every5, last: running("08:59:55"), held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:02",
			runs: "09:00:00 schedule", then: "09:00:05"},
		{claim: "and is skipped under skip", change: skip, last: running("08:59:55"), held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:02",
			record: "09:00:00..09:00:00×1 overlap", then: "09:00:05"},
		{claim: "what was missed is made up for by one that is held", change: func(s *Schedule) { queue(s); s.Misfire = MisfireAll }, last: running("08:59:55"), next: "09:00:00", now: "09:00:20",
			record: "09:00:05..09:00:20×4 queue_full", then: "09:00:25", holds: "09:00:00 since 09:00:20 catch_up", fire: "09:00:21"},
		{claim: "the last occurrence of a spec is held, and the schedule isn't completed", change: func(s *Schedule) { queue(s); s.Spec.EndAt = clock(t, "09:00:05") }, last: running("08:59:55"), next: "09:00:00", now: "09:00:00",
			holds: "09:00:00 since 09:00:00 schedule", fire: "09:00:01"},
		{claim: "until it has run", change: func(s *Schedule) { queue(s); s.Spec.EndAt = clock(t, "09:00:05") }, held: "09:00:00", since: "09:00:00", now: "09:00:01",
			runs: "09:00:00 schedule", state: StateCompleted},
		{claim: "max_runs counts what ran", change: func(s *Schedule) { skip(s); s.Spec.MaxRuns = 2 }, count: 1, last: running("08:59:55"), next: "09:00:00", now: "09:00:05",
			record: "09:00:00..09:00:05×2 overlap", then: "09:00:10"},
		{claim: "what comes behind its last run was never owed", change: func(s *Schedule) { queue(s); s.Spec.MaxRuns = 2 }, count: 1, held: "09:00:00", since: "09:00:01", next: "09:00:05", now: "09:00:10",
			runs: "09:00:00 schedule", state: StateCompleted},
	} {
		t.Run(row.claim, func(t *testing.T) {
			s := hourly()
			row.change(s)
			cursor := Cursor{ScheduleID: s.ID, NextRunAt: clock(t, row.next), FireAt: clock(t, row.next), RunCount: row.count, State: StateActive}
			if row.held != "" {
				cursor.Held, cursor.HeldSince, cursor.HeldReason = clock(t, row.held), clock(t, row.since), ReasonSchedule
				cursor.FireAt = clock(t, row.now)
			}
			got := Due(s, cursor, Turn{Now: clock(t, row.now), Last: row.last}, Rules{MisfireAfter: 10 * time.Second})
			var runs, record []string
			for _, o := range got.Enqueue {
				runs = append(runs, o.ScheduledFor.Format(time.TimeOnly)+" "+string(o.Reason))
			}
			for _, r := range got.Record {
				record = append(record, r.From.Format(time.TimeOnly)+".."+r.Until.Format(time.TimeOnly)+"×"+fmt.Sprint(r.Count)+" "+r.Why)
				if r.Outcome != OutcomeSkipped {
					t.Errorf("%+v isn't skipped", r)
				}
			}
			same(t, "it runs", strings.Join(runs, ", "), row.runs)
			same(t, "it records", strings.Join(record, ", "), row.record)
			if row.state == "" {
				row.state = StateActive
			}
			if row.fire == "" {
				row.fire = row.then
			}
			if c := got.Cursor; !c.NextRunAt.Equal(clock(t, row.then)) || !c.FireAt.Equal(clock(t, row.fire)) || c.State != row.state || c.RunCount != row.count+int64(len(runs)) {
				t.Errorf("then it is %+v", c)
			}
			holds := ""
			if c := got.Cursor; !c.Held.IsZero() {
				holds = c.Held.Format(time.TimeOnly) + " since " + c.HeldSince.Format(time.TimeOnly) + " " + string(c.HeldReason)
			}
			same(t, "it holds", holds, row.holds)
		})
	}
}

func same(t *testing.T, claim, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s %q, not %q", claim, got, want)
	}
}

func TestSkippedRunsShareALineOnlyWhereNothingLiesBetweenThem(t *testing.T) {
	start := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	d := Decision{Record: []Stretch{{From: at(60), Until: at(200), Count: 8, Outcome: OutcomeMissed, Why: WhyLimit}}}
	for _, s := range []int{40, 220, 240} { // the first was held when the others were missed
		d.skip(Occurrence{ScheduledFor: at(s)}, WhyOverlap)
	}
	want := []Stretch{
		{From: at(40), Until: at(40), Count: 1, Outcome: OutcomeSkipped, Why: WhyOverlap},
		{From: at(220), Until: at(240), Count: 2, Outcome: OutcomeSkipped, Why: WhyOverlap},
	}
	if !slices.Equal(d.Record[1:], want) {
		t.Errorf("%+v", d.Record)
	}
}
