package schedule

import (
	"slices"
	"time"
)

// Turn is what a cursor is decided on by, besides its schedule.
type Turn struct {
	Now  time.Time // by the database's clock
	Last LastJob   // read only for schedules that ask for it
	// Slots deals out when missed runs are made up for; nil: all of them at once.
	Slots *Slots
}

// LastJob is the River job of a schedule's last run, manual ones included, while
// River hasn't finalized it. The zero value is one that is finalized or gone, or
// no job at all.
type LastJob struct {
	ID        int64
	CreatedAt time.Time
}

// Asks reports whether the policy asks for the schedule's last job.
func (o Overlap) Asks() bool { return o != OverlapAllow }

// Blocks reports whether the job keeps the schedule's next run back at the
// instant. After OverlapStaleAfter it doesn't any more, finished or not.
func (j LastJob) Blocks(s *Schedule, now time.Time) bool {
	return j.ID != 0 && s.Overlap.Asks() && (s.OverlapStaleAfter == 0 || now.Before(j.CreatedAt.Add(s.OverlapStaleAfter)))
}

// The pauses between two looks at a job that an occurrence waits for: each as long
// as it has waited by then, within these.
const (
	minRecheck = time.Second
	maxRecheck = 30 * time.Second
)

// settle decides on each of the occurrences, oldest first: whether it runs, is
// held or is skipped while the job of the run before it is unfinished. One that
// was held before them is the oldest. Once MaxRuns is reached the schedule is
// completed, and the rest was never owed.
func (d *Decision) settle(s *Schedule, owed []Occurrence, turn Turn) {
	c := &d.Cursor
	since := turn.Now
	if !c.Held.IsZero() {
		owed = append([]Occurrence{{ScheduledFor: c.Held, Reason: c.HeldReason}}, owed...)
		since = c.HeldSince
		c.Held, c.HeldSince, c.HeldReason = time.Time{}, time.Time{}, ""
	}
	blocked := turn.Last.Blocks(s, turn.Now)
	for _, o := range owed {
		switch {
		case s.Spec.MaxRuns > 0 && c.RunCount >= s.Spec.MaxRuns:
			return
		case !blocked:
			d.Enqueue = append(d.Enqueue, o)
			c.RunCount++
			c.LastRunAt = turn.Now
			blocked = s.Overlap.Asks() // by its own job, a moment old
			since = turn.Now
		case s.Overlap == OverlapQueueOne && c.Held.IsZero():
			c.Held, c.HeldSince, c.HeldReason = o.ScheduledFor, since, o.Reason
		case s.Overlap == OverlapQueueOne:
			d.skip(o, WhyQueueFull)
		default:
			d.skip(o, WhyOverlap)
		}
	}
}

// skip accounts for an occurrence that doesn't run, on the line of the one before
// it if that is of the same kind: nothing lies between them.
func (d *Decision) skip(o Occurrence, why string) {
	if n := len(d.Record); n > 0 && d.Record[n-1].Outcome == OutcomeSkipped {
		last := &d.Record[n-1]
		// What was held lies before those of the missed ones that are left out.
		between := slices.ContainsFunc(d.Record, func(r Stretch) bool {
			return r.From.After(last.Until) && r.From.Before(o.ScheduledFor)
		})
		if !between {
			last.Until = o.ScheduledFor
			last.Count++
			return
		}
	}
	d.Record = append(d.Record, Stretch{From: o.ScheduledFor, Until: o.ScheduledFor, Count: 1, Outcome: OutcomeSkipped, Why: why})
}

// recheck has the cursor look again at what blocks the occurrence that it holds.
func (c Cursor) recheck(now time.Time) Cursor {
	if c.Held.IsZero() {
		return c
	}
	again := now.Add(min(max(now.Sub(c.HeldSince), minRecheck), maxRecheck))
	if c.FireAt.IsZero() || again.Before(c.FireAt) {
		c.FireAt = again
	}
	return c
}
