package schedule

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Timing is a Spec made ready to be asked when it runs. It is immutable and
// safe for concurrent use.
//
// With calendars there are two sorts of occurrences: those that the spec names,
// its base, and those that are left when the calendars have taken away or moved
// what they exclude. Only the latter run: Next, Latest, Count and FireAt know no
// others.
type Timing struct {
	spec   Spec
	cron   *Cron // nil unless the spec is cron
	zone   *time.Location
	anchor time.Time // of every: its occurrences are anchor + n·every

	exclude *exclusion // nil: nothing is excluded
	lanes   []lane     // what runs, by its time of day; nil unless excluded runs move
	at      time.Time  // of at: when it runs, its base too; zero: not at all
}

// Timing reads the spec, without the calendars that it names: Schedule.Timing
// has them. createdAt anchors every when there is no StartAt. The error is an
// *InvalidError.
func (s Spec) Timing(createdAt time.Time) (*Timing, error) {
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return nil, Invalid("spec.timezone", err.Error())
	}
	t := &Timing{spec: s, zone: zone, anchor: createdAt, at: s.At}
	if !s.StartAt.IsZero() {
		t.anchor = s.StartAt
	}
	if s.Cron != "" {
		if t.cron, err = crons.parse(s.Cron); err != nil {
			return nil, Invalid("spec.cron", err.Error())
		}
	}
	if err := t.checkMoves(); err != nil {
		return nil, Invalid("spec.on_excluded", err.Error())
	}
	return t, nil
}

// Timing is the spec's with the calendars that it names, which s.Calendars must
// hold. The error is an *InvalidError.
func (s *Schedule) Timing() (*Timing, error) {
	t, err := s.Spec.Timing(s.CreatedAt)
	if err != nil || len(s.Spec.Exclude) == 0 {
		return t, err
	}
	if t.exclude, err = newExclusion(s.Spec.Exclude, s.Calendars, t.zone); err != nil {
		return nil, Invalid("spec.exclude", err.Error())
	}
	t.lay()
	return t, nil
}

// zones is what SetZones has set.
var zones atomic.Pointer[func(name string) (*time.Location, error)]

// SetZones says where the rules of time zones come from; until it is called, and
// after nil, from time.LoadLocation. It is meant for the start of a program: the
// timings that are made already keep the rules that they have. The text of load's
// error is shown to whoever wrote the name, behind the name of the field ("is not
// an IANA time zone: …").
func SetZones(load func(name string) (*time.Location, error)) {
	if load == nil {
		zones.Store(nil)
		return
	}
	zones.Store(&load)
}

// loadZone refuses "Local", which would be whatever the machine says.
func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("must be an IANA time zone such as \"Europe/Berlin\" or \"UTC\", not %q", name)
	}
	if load := zones.Load(); load != nil {
		return (*load)(name)
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("is not an IANA time zone: %q", name)
	}
	return zone, nil
}

// Zone is the zone that the spec is read in.
func (t *Timing) Zone() *time.Location { return t.zone }

// Next is the first occurrence strictly after the instant, or the zero time if
// none will come, or if calendars exclude all of the next 12 years or a thousand
// occurrences in a row: then it takes up to a millisecond to give up.
func (t *Timing) Next(after time.Time) time.Time {
	after = t.fromStart(after)
	switch {
	case t.exclude == nil:
		return t.baseNext(after)
	case t.lanes != nil:
		return t.lanesNext(after)
	}
	q, limit := search{looks: maxLooks}, after.Unix()+excludedSeconds
	for range maxExcluded {
		next := t.baseNext(after)
		if next.IsZero() {
			return next
		}
		free, ok := t.exclude.free(&q, next.Unix(), 1)
		if ok && free == next.Unix() {
			return next
		}
		if !ok || free > limit {
			break
		}
		after = time.Unix(free, 0).Add(-time.Nanosecond)
	}
	return time.Time{}
}

// Latest is the last occurrence not after the instant, or the zero time if
// there was none, or if calendars exclude all of the 12 years before or a
// thousand occurrences in a row.
func (t *Timing) Latest(upTo time.Time) time.Time {
	upTo = t.beforeEnd(upTo)
	switch {
	case t.exclude == nil:
		return t.baseLatest(upTo)
	case t.lanes != nil:
		return t.lanesLatest(upTo)
	}
	q, limit := search{looks: maxLooks}, upTo.Unix()-excludedSeconds
	for range maxExcluded {
		latest := t.baseLatest(upTo)
		if latest.IsZero() {
			return latest
		}
		free, ok := t.exclude.free(&q, latest.Unix(), -1)
		if ok && free == latest.Unix() {
			return latest
		}
		if !ok || free < limit {
			break
		}
		upTo = time.Unix(free+1, 0).Add(-time.Nanosecond)
	}
	return time.Time{}
}

// Count is the number of occurrences after from and not after to. With calendars
// it ends MaxExcludedCountYears after from; where excluded runs move, at
// MaxMovedCount, too.
func (t *Timing) Count(from, to time.Time) int64 {
	if t.exclude == nil {
		return t.baseCount(from, to)
	}
	from = t.fromStart(from)
	to = earliest(to, from.AddDate(MaxExcludedCountYears, 0, 0))
	if t.lanes != nil {
		return t.lanesCount(from, to)
	}
	// From each occurrence to the next excluded day all are left.
	var q search
	var count int64
	for from.Before(to) {
		next := t.Next(from)
		if next.IsZero() || next.After(to) {
			break
		}
		from = earliest(to, time.Unix(t.exclude.block(&q, next.Unix(), 1, to.Unix()), 0).Add(-time.Nanosecond))
		count += t.baseCount(next.Add(-time.Nanosecond), from)
	}
	return count
}

// fromStart is the instant, or just before StartAt, which is inclusive, if it
// is earlier.
func (t *Timing) fromStart(after time.Time) time.Time {
	if start := t.spec.StartAt; !start.IsZero() && after.Before(start) {
		return start.Add(-time.Nanosecond)
	}
	return after
}

// beforeEnd is the instant, or just before EndAt, which is exclusive, if it is
// later.
func (t *Timing) beforeEnd(upTo time.Time) time.Time {
	if end := t.spec.EndAt; !end.IsZero() && !upTo.Before(end) {
		return end.Add(-time.Nanosecond)
	}
	return upTo
}

// baseNext, baseLatest and baseCount are Next, Latest and Count of the base.
func (t *Timing) baseNext(after time.Time) time.Time {
	after = t.fromStart(after)
	var next time.Time
	switch {
	case t.cron != nil:
		next = t.cron.Next(after, t.zone)
	case t.spec.Every > 0:
		next = everyAt(t.anchor, t.spec.Every, everySteps(t.anchor, after, t.spec.Every)+1)
	case after.Before(t.at):
		next = t.at
	}
	if next.IsZero() || !t.spec.EndAt.IsZero() && !next.Before(t.spec.EndAt) {
		return time.Time{}
	}
	return next.UTC()
}

func (t *Timing) baseLatest(upTo time.Time) time.Time {
	upTo = t.beforeEnd(upTo)
	var latest time.Time
	switch {
	case t.cron != nil:
		latest = t.cron.Latest(upTo, t.zone)
	case t.spec.Every > 0:
		if !upTo.Before(t.anchor) {
			latest = everyAt(t.anchor, t.spec.Every, everySteps(t.anchor, upTo, t.spec.Every))
		}
	case !t.at.After(upTo):
		latest = t.at
	}
	if latest.IsZero() || latest.Before(t.spec.StartAt) {
		return time.Time{}
	}
	return latest.UTC()
}

func (t *Timing) baseCount(from, to time.Time) int64 {
	from, to = t.fromStart(from), t.beforeEnd(to)
	if !from.Before(to) {
		return 0
	}
	switch {
	case t.cron != nil:
		return t.cron.Count(from, to, t.zone)
	case t.spec.Every > 0:
		return everySteps(t.anchor, to, t.spec.Every) - everySteps(t.anchor, from, t.spec.Every)
	case from.Before(t.at) && !t.at.After(to):
		return 1
	}
	return 0
}

// everySteps is the number of the last occurrence not after t: 0 is the anchor
// itself, -1 is before it. The product is 128 bits wide, because a Duration
// ends after 292 years.
func everySteps(anchor, t time.Time, every time.Duration) int64 {
	if t.Before(anchor) {
		return -1
	}
	seconds, nanos := t.Unix()-anchor.Unix(), t.Nanosecond()-anchor.Nanosecond()
	if nanos < 0 {
		seconds, nanos = seconds-1, nanos+int(time.Second)
	}
	high, low := bits.Mul64(uint64(seconds), uint64(time.Second))
	low, carry := bits.Add64(low, uint64(nanos), 0)
	steps, _ := bits.Div64(high+carry, low, uint64(every))
	return int64(steps)
}

// everyAt is occurrence number n.
func everyAt(anchor time.Time, every time.Duration, n int64) time.Time {
	high, low := bits.Mul64(uint64(n), uint64(every))
	seconds, nanos := bits.Div64(high, low, uint64(time.Second))
	return time.Unix(anchor.Unix()+int64(seconds), int64(anchor.Nanosecond())+int64(nanos))
}

// FireAt is when the occurrence is due: delayed by its jitter, which is the
// same on every process and never reaches the next occurrence.
func (t *Timing) FireAt(id ID, occurrence time.Time) time.Time {
	if t.spec.Jitter <= 0 {
		return occurrence
	}
	room := t.spec.Jitter
	if next := t.Next(occurrence); !next.IsZero() {
		room = min(room, next.Sub(occurrence))
	}
	// The database keeps microseconds.
	return occurrence.Add((time.Duration(jitterFraction(id, occurrence)*float64(room)) / time.Microsecond) * time.Microsecond)
}
