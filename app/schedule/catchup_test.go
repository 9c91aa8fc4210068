package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestSlots(t *testing.T) {
	for _, row := range []struct {
		claim string
		rate  int
		last  string // slot, and how many of its runs are taken
		taken int
		want  []int
		dealt string
	}{
		{claim: "a slot has a tenth of a second's runs, the first is now", rate: 1000, want: []int{1, 60, 39, 1, 100, 100}, dealt: "0s×1 0s×60 0s×39 100ms×1 100ms×99 200ms×100"},
		{claim: "nobody gets more than there is in one", rate: 1000, want: []int{30, 5000, 1}, dealt: "0s×30 0s×70 100ms×1"},
		{claim: "a slow rate has a slot a run", rate: 2, want: []int{5, 1, 1}, dealt: "0s×1 500ms×1 1s×1"},
		{claim: "no run is lost to rounding", rate: 15, want: []int{1, 1, 1}, dealt: "0s×1 66.666ms×1 133.332ms×1"},
		{claim: "it goes on in the last slot", rate: 1000, last: "09:00:05", taken: 98, want: []int{1, 1, 1}, dealt: "5s×1 5s×1 5.1s×1"},
		{claim: "or behind it when it is full", rate: 1000, last: "09:00:05", taken: 100, want: []int{1}, dealt: "5.1s×1"},
		{claim: "and fuller, as by another rate", rate: 100, last: "09:00:05", taken: 100, want: []int{1}, dealt: "5.1s×1"},
		{claim: "a slot that has passed is over", rate: 1000, last: "08:59:59", taken: 100, want: []int{1}, dealt: "0s×1"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			now := clock(t, "09:00:00")
			slots := NewSlots(row.rate, now, clock(t, row.last), row.taken)
			var dealt []string
			for _, want := range row.want {
				at, share := slots.take(want)
				dealt = append(dealt, fmt.Sprintf("%v×%d", at.Sub(now), share))
			}
			same(t, "it deals", strings.Join(dealt, " "), row.dealt)
		})
	}
}

func TestCatchUp(t *testing.T) {
	minutely := func(s *Schedule) { s.Spec.Cron = "* * * * *" }
	all := func(s *Schedule) { minutely(s); s.Misfire = MisfireAll }
	for _, row := range []struct {
		claim  string
		change func(*Schedule)
		share  int
		fire   string // empty: as next
		last   LastJob
		next   string
		now    string
		free   int // runs in the slot that is now; then 2 a second
		runs   string
		missed int64
		then   string
		fires  string // empty: as then
		shares int
	}{
		{claim: "what was missed waits for its slot, and nothing else happens", change: minutely, next: "09:00:00", now: "09:30:30", then: "09:00:00", fires: "09:30:31", shares: 1},
		{claim: "once needs one run of it", change: minutely, next: "09:00:00", now: "09:30:30", free: 2, runs: "09:30:00", missed: 30, then: "09:31:00"},
		{claim: "all takes what is left in the slot", change: all, next: "09:00:00", now: "09:02:30", free: 1, runs: "09:00:00", then: "09:01:00", fires: "09:02:31", shares: 2},
		{claim: "in its slot a cursor makes up for its share, oldest first", change: all, share: 2, fire: "09:02:30", next: "09:00:00", now: "09:02:30",
			runs: "09:00:00 09:01:00", then: "09:02:00", fires: "09:02:31", shares: 1},
		{claim: "and for the rest of it punctually, when that is all", change: all, share: 2, fire: "09:02:02", next: "09:00:00", now: "09:02:03",
			runs: "09:00:00 09:01:00 09:02:00", then: "09:03:00"},
		{claim: "what comes due meanwhile waits behind what was missed", change: all, share: 1, fire: "09:02:02", next: "09:00:00", now: "09:02:03",
			runs: "09:00:00", then: "09:01:00", fires: "09:02:04", shares: 1},
		{claim: "what has grown older than the limit in the meantime is missed", change: func(s *Schedule) { all(s); s.MisfireLimit = 2 }, share: 1, fire: "09:04:30", next: "09:00:00", now: "09:04:30",
			runs: "09:03:00", missed: 3, then: "09:04:00", fires: "09:04:31", shares: 1},
		{claim: "the grace counts from when it was due, not from its slot", change: func(s *Schedule) { all(s); s.MisfireGrace = 2 * time.Minute }, share: 2, fire: "09:04:30", next: "09:00:00", now: "09:04:30",
			runs: "09:03:00 09:04:00", missed: 3, then: "09:05:00"},
		{claim: "skip needs no slot", change: func(s *Schedule) { minutely(s); s.Misfire = MisfireSkip }, next: "09:00:00", now: "09:30:30", missed: 31, then: "09:31:00"},
		{claim: "nor does what is punctual", change: minutely, next: "09:00:00", now: "09:00:09", runs: "09:00:00", then: "09:01:00"},
		{claim: "a slot that nobody was there for is lost", change: minutely, share: 1, fire: "09:10:00", next: "09:00:00", now: "09:30:30", then: "09:00:00", fires: "09:30:31", shares: 1},
		{claim: "what can't run needs none", change: func(s *Schedule) { all(s); s.Overlap = OverlapSkip }, last: LastJob{ID: 7}, next: "09:00:00", now: "09:02:30", then: "09:03:00"},
		{claim: "what may not overlap needs one run of it", change: func(s *Schedule) { all(s); s.Overlap = OverlapSkip }, next: "09:00:00", now: "09:02:30", then: "09:00:00", fires: "09:02:31", shares: 1},
		{claim: "and one turn decides on all", change: func(s *Schedule) { all(s); s.Overlap = OverlapSkip }, share: 1, fire: "09:02:30", next: "09:00:00", now: "09:02:30", runs: "09:00:00", then: "09:03:00"},
		{claim: "max_runs asks for no more than it leaves", change: func(s *Schedule) { all(s); s.Spec.MaxRuns = 1 }, next: "09:00:00", now: "09:02:30", free: 2, runs: "09:00:00"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			s := hourly()
			row.change(s)
			if row.fire == "" {
				row.fire = row.next
			}
			cursor := Cursor{ScheduleID: s.ID, NextRunAt: clock(t, row.next), FireAt: clock(t, row.fire), Share: row.share, State: StateActive}
			slots := &Slots{at: clock(t, row.now), left: row.free, per: 2, apart: time.Second}
			got := Due(s, cursor, Turn{Now: clock(t, row.now), Last: row.last, Slots: slots}, Rules{MisfireAfter: 10 * time.Second})
			var runs []string
			for _, o := range got.Enqueue {
				runs = append(runs, o.ScheduledFor.Format(time.TimeOnly))
			}
			same(t, "it runs", strings.Join(runs, " "), row.runs)
			var missed int64
			for _, r := range got.Record {
				if r.Outcome == OutcomeMissed {
					missed += r.Count
				}
			}
			if row.fires == "" {
				row.fires = row.then
			}
			if c := got.Cursor; missed != row.missed || !c.NextRunAt.Equal(clock(t, row.then)) || !c.FireAt.Equal(clock(t, row.fires)) || c.Share != row.shares {
				t.Errorf("%d are missed, and then it is %+v", missed, c)
			}
		})
	}
}

func TestAnEditOfThePolicyKeepsTheSlot(t *testing.T) {
	s := hourly()
	waiting := Cursor{ScheduleID: s.ID, NextRunAt: clock(t, "09:00:00"), FireAt: clock(t, "12:00:30"), Share: 3, State: StateActive, Dirty: true}
	want := waiting
	want.Dirty, want.PlannedVersion = false, s.Version
	if got := Plan(s, waiting, time.Time{}); got != want {
		t.Errorf("it is %+v", got)
	}
	s.Spec.Timezone = "Asia/Tokyo"
	if got := Replan(s, waiting, time.Time{}, clock(t, "12:00:00")); got != want {
		t.Errorf("newer zone rules make it %+v", got)
	}
}

// However slowly it drains and whatever comes due meanwhile: each occurrence is
// covered once, in order, and a tenth of a second makes up for no more than its
// share.
func TestADrainCoversEachOccurrenceOnceInOrderAtItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 200).Draw(t, "rate")
		rules := Rules{MisfireAfter: time.Second, CatchUpRate: rate}
		begin := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
		now := begin.Add(time.Duration(rapid.IntRange(0, 600).Draw(t, "outage")) * time.Second)
		var schedules []*Schedule
		var cursors []Cursor
		for i := range rapid.IntRange(1, 5).Draw(t, "schedules") {
			s := hourly()
			s.ID[1] = byte(i)
			s.Spec.Cron = rapid.SampledFrom([]string{"* * * * * *", "*/7 * * * * *", "* * * * *"}).Draw(t, "cron")
			s.Misfire = rapid.SampledFrom([]Misfire{MisfireOnce, MisfireAll, MisfireSkip}).Draw(t, "misfire")
			s.MisfireLimit = rapid.IntRange(1, 300).Draw(t, "limit")
			s.Spec.EndAt = now.Add(20 * time.Second)
			schedules = append(schedules, s)
			cursors = append(cursors, Plan(s, Cursor{ScheduleID: s.ID, ChangedAt: begin, State: StateActive}, time.Time{}))
		}
		covered := make([]time.Time, len(cursors)) // up to here
		made := map[int64]int{}                    // by tenths of a second
		var lastSlot time.Time
		taken := 0
		for range 10000 {
			// The next turn is that of whoever is due first.
			first := -1
			for i, c := range cursors {
				if !c.FireAt.IsZero() && (first < 0 || c.FireAt.Before(cursors[first].FireAt)) {
					first = i
				}
			}
			if first < 0 {
				break
			}
			now = latest(now, cursors[first].FireAt)
			slots := NewSlots(rate, now, lastSlot, taken)
			s := schedules[first]
			d := Due(s, cursors[first], Turn{Now: now, Slots: slots}, rules)
			cursors[first] = d.Cursor
			if at, n, dealt := slots.Dealt(); dealt {
				lastSlot, taken = at, n
			}
			timing, err := s.Timing()
			if err != nil {
				t.Fatal(err)
			}
			cover := func(from, until time.Time) {
				if want := timing.Next(latest(covered[first], begin)); !from.Equal(want) {
					t.Fatalf("%v follows, not %v", from, want)
				}
				covered[first] = until
			}
			for _, r := range d.Record {
				cover(r.From, r.Until)
			}
			for _, o := range d.Enqueue {
				cover(o.ScheduledFor, o.ScheduledFor)
				if o.Reason == ReasonCatchUp {
					made[now.UnixMilli()/100]++
				}
			}
		}
		for i, s := range schedules {
			if timing, err := s.Timing(); err != nil || cursors[i].State != StateCompleted || !timing.Next(latest(covered[i], begin)).IsZero() {
				t.Fatalf("%d ends at %v: %+v", i, covered[i], cursors[i])
			}
		}
		total, first, last := 0, int64(0), int64(0)
		for tenth, n := range made {
			total += n
			if first == 0 || tenth < first {
				first = tenth
			}
			last = max(last, tenth)
		}
		if most := (int(last-first) + 2) * max(rate/10+1, 1); total > most {
			t.Fatalf("%d runs in %d tenths of a second at %d a second", total, last-first+1, rate)
		}
	})
}
