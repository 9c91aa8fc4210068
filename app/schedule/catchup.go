package schedule

import "time"

// DefaultCatchUpRate is how many runs a second make up for missed ones, unless
// Rules say otherwise: a twentieth of what a dispatch can do, which leaves the rest
// to what is punctual, and a thousand schedules that were all missed once have run
// after a second.
const DefaultCatchUpRate = 1000

// slotsPerSecond is into how many slots a second is divided at most: so often the
// schedulers wake while they catch up.
const slotsPerSecond = 10

// Slots deals out when missed runs are made up for, so many a second and in the
// order of asking. A slot is an instant, at which a number of runs may be made up
// for.
type Slots struct {
	apart time.Duration // from one slot to the next
	per   int           // runs in a slot
	at    time.Time     // of the slot that is being dealt
	left  int           // runs that are left in it
	dealt bool          // any yet
}

// NewSlots goes on at the instant now with rate runs a second, behind the last slot
// that was dealt, of which a number of runs is taken; zero: there is none.
func NewSlots(rate int, now, last time.Time, taken int) *Slots {
	per := max(rate/slotsPerSecond, 1)
	s := &Slots{apart: (time.Duration(per) * time.Second / time.Duration(rate)).Truncate(time.Microsecond), per: per, at: now, left: per}
	if last.Add(s.apart).After(now) {
		s.at, s.left = last, max(per-taken, 0)
	}
	return s
}

// take is the next slot that isn't full, and how many of the wanted runs, at least
// one, it has room for.
func (s *Slots) take(want int) (at time.Time, share int) {
	if s.left == 0 {
		s.at, s.left = s.at.Add(s.apart), s.per
	}
	share = min(max(want, 1), s.left)
	s.left, s.dealt = s.left-share, true
	return s.at, share
}

// Dealt is where NewSlots is to go on, if any slots were dealt.
func (s *Slots) Dealt() (last time.Time, taken int, ok bool) {
	if s == nil || !s.dealt {
		return time.Time{}, 0, false
	}
	return s.at, s.per - s.left, true
}

// Waits reports whether a cursor that is due may need a slot at its turn, because
// it owes runs that were missed.
func (c Cursor) Waits(now time.Time, rules Rules) bool {
	return c.Share > 0 || c.FireAt.Before(now.Add(-rules.MisfireAfter))
}

// paced is how many of the missed runs that a cursor owes, oldest first, may be
// made up for at this turn: all of them, or those of its slot. With wait it is none,
// and the cursor waits for its slot. Where the overlap policy is to be asked, one
// turn decides on all of them, since one runs at most.
func (d *Decision) paced(s *Schedule, missed int, turn Turn, rules Rules) (n int, wait bool) {
	c := &d.Cursor
	want := missed
	if s.Spec.MaxRuns > 0 {
		want = int(min(int64(want), s.Spec.MaxRuns-c.RunCount))
	}
	if s.Overlap.Asks() {
		want = min(want, 1)
	}
	if want <= 0 || turn.Slots == nil || !c.Held.IsZero() || turn.Last.Blocks(s, turn.Now) {
		return missed, false
	}
	// A slot that nobody was there for is lost: otherwise all that passed during
	// another outage would come at once.
	share := c.Share
	if share == 0 || c.FireAt.Before(turn.Now.Add(-rules.MisfireAfter)) {
		var at time.Time
		if at, share = turn.Slots.take(want); at.After(turn.Now) {
			c.FireAt, c.Share = at, share
			return 0, true
		}
	}
	if s.Overlap.Asks() {
		return missed, false
	}
	return min(missed, share), false
}

// Owed is how many missed runs a cursor is to make up for at the instant.
func Owed(s *Schedule, c Cursor, now time.Time, rules Rules) int {
	c.FireAt = earliest(c.FireAt, now) // the slot doesn't matter
	n := 0
	for _, o := range Due(s, c, Turn{Now: now}, rules).Enqueue {
		if o.Reason == ReasonCatchUp {
			n++
		}
	}
	return n
}
