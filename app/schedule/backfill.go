package schedule

import (
	"fmt"
	"slices"
	"time"
)

// MaxBackfillRange is how many occurrences the range of a backfill may hold, whether
// they have run or not.
const MaxBackfillRange = 100_000

// Backfill is what it comes to that the occurrences of a range are to run which
// haven't: what to enqueue, and how the ledger accounts for the rest then.
//
// A line for a stretch of which some are to run is parted around them. A stretch that
// the schedule's spec doesn't name as it stands, because it was another one when they
// were missed, stays as it is; what the spec names within it has lines of its own.
type Backfill struct {
	Occurrences int         // of the range
	Ran         int         // that have run, or were enqueued at least
	Enqueue     []time.Time // oldest first
	Left        int         // that are to run and aren't in Enqueue
	Remove      []time.Time // ScheduledFor of the lines that go
	Record      []Run       // and the lines that come in their place
}

// BackfillEnd is the end of the range before which occurrences may be backfilled:
// what is behind it is the scheduler's to decide on. The zero time: all is.
func BackfillEnd(s *Schedule, c Cursor, end, now time.Time) time.Time {
	const instant = time.Microsecond
	end = earliest(end, now.Add(instant))
	switch {
	case !c.NextRunAt.IsZero():
		return earliest(end, c.NextRunAt)
	case c.Dirty && !s.Spec.At.IsZero():
		return time.Time{} // it runs once it is planned, though its time has passed
	case c.Dirty:
		return earliest(end, c.ChangedAt.Add(instant)) // planning starts there
	}
	return end
}

// PlanBackfill decides on the occurrences from start to before end, of which at most
// limit are enqueued. lines are those of the ledger that begin in the range, and the
// last one of the spec before it, oldest first. The error is an *InvalidError.
func PlanBackfill(s *Schedule, c Cursor, lines []Run, start, end, now time.Time, limit int) (b Backfill, err error) {
	timing, err := s.Timing()
	if err != nil {
		return b, err
	}
	ran := map[time.Time]bool{}
	for _, line := range lines {
		if line.Outcome == OutcomeEnqueued {
			ran[line.ScheduledFor.UTC()] = true
		}
	}
	end = BackfillEnd(s, c, end, now)
	for at := timing.Next(start.Add(-time.Nanosecond)); !at.IsZero() && at.Before(end); at = timing.Next(at) {
		if b.Occurrences++; b.Occurrences > MaxBackfillRange {
			return Backfill{}, Invalid("end", fmt.Sprintf("is too far from start: the spec names more than %d instants between them", MaxBackfillRange))
		}
		switch {
		case ran[at]:
			b.Ran++
		case at.Equal(c.Held):
			b.Occurrences-- // it waits for its turn
		case len(b.Enqueue) < limit:
			b.Enqueue = append(b.Enqueue, at)
		default:
			b.Left++
		}
	}
	for _, line := range lines {
		if line.Outcome != OutcomeEnqueued {
			b.part(timing, line)
		}
	}
	return b, nil
}

// part takes what is enqueued out of a line of the ledger.
func (b *Backfill) part(timing *Timing, line Run) {
	first, last := line.ScheduledFor, latest(line.Until, line.ScheduledFor)
	n, begins := slices.BinarySearchFunc(b.Enqueue, first, time.Time.Compare)
	before := first.Add(-time.Nanosecond)
	if named := line.Why != WhyExcluded && timing.Latest(first).Equal(first) &&
		(line.Count == 0 || line.Count == timing.Count(before, last)); !named {
		// It may stay, but for an instant that has the line's place.
		if begins {
			b.Remove = append(b.Remove, first)
			if next := first.Add(time.Microsecond); line.Count != 1 && !next.After(last) {
				b.record(line, next, last, max(line.Count-1, 0))
			}
		}
		return
	}
	if n == len(b.Enqueue) || b.Enqueue[n].After(last) {
		return
	}
	b.Remove = append(b.Remove, first)
	for ; n < len(b.Enqueue) && !b.Enqueue[n].After(last); n++ {
		if at := b.Enqueue[n]; first.Before(at) {
			b.recordCounted(timing, line, first, timing.Latest(at.Add(-time.Nanosecond)))
		}
		if first = timing.Next(b.Enqueue[n]); first.IsZero() {
			return
		}
	}
	if !first.After(last) {
		b.recordCounted(timing, line, first, last)
	}
}

// recordCounted accounts for the occurrences from first to last as the line did, and
// counts them if it did.
func (b *Backfill) recordCounted(timing *Timing, line Run, first, last time.Time) {
	count := int64(0)
	if line.Count > 0 {
		count = timing.Count(first.Add(-time.Nanosecond), last)
	}
	if count == 1 {
		last = time.Time{}
	}
	b.record(line, first, last, count)
}

func (b *Backfill) record(line Run, first, until time.Time, count int64) {
	line.ScheduledFor, line.Until, line.Count = first, until, count
	b.Record = append(b.Record, line)
}
