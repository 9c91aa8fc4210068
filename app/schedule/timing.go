package schedule

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// Timing is a Spec made ready to be asked when it runs. It is immutable and
// safe for concurrent use.
type Timing struct {
	spec   Spec
	cron   *Cron // nil unless the spec is cron
	zone   *time.Location
	anchor time.Time // of every: its occurrences are anchor + n·every
}

// Timing reads the spec. createdAt anchors every when there is no StartAt. The
// error is an *InvalidError.
func (s Spec) Timing(createdAt time.Time) (*Timing, error) {
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return nil, Invalid("spec.timezone", err.Error())
	}
	t := &Timing{spec: s, zone: zone, anchor: createdAt}
	if !s.StartAt.IsZero() {
		t.anchor = s.StartAt
	}
	if s.Cron != "" {
		if t.cron, err = ParseCron(s.Cron); err != nil {
			return nil, Invalid("spec.cron", err.Error())
		}
	}
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
// none will come.
func (t *Timing) Next(after time.Time) time.Time {
	// StartAt is inclusive, so the search begins just before it.
	if start := t.spec.StartAt; !start.IsZero() && after.Before(start) {
		after = start.Add(-time.Nanosecond)
	}
	var next time.Time
	switch {
	case t.cron != nil:
		next = t.cron.Next(after, t.zone)
	case t.spec.Every > 0:
		next = everyAt(t.anchor, t.spec.Every, everySteps(t.anchor, after, t.spec.Every)+1)
	case after.Before(t.spec.At):
		next = t.spec.At
	}
	if next.IsZero() || !t.spec.EndAt.IsZero() && !next.Before(t.spec.EndAt) {
		return time.Time{}
	}
	return next.UTC()
}

// Latest is the last occurrence not after the instant, or the zero time if
// there was none.
func (t *Timing) Latest(upTo time.Time) time.Time {
	// EndAt is exclusive, so the search begins just before it.
	if end := t.spec.EndAt; !end.IsZero() && !upTo.Before(end) {
		upTo = end.Add(-time.Nanosecond)
	}
	var latest time.Time
	switch {
	case t.cron != nil:
		latest = t.cron.Latest(upTo, t.zone)
	case t.spec.Every > 0:
		if !upTo.Before(t.anchor) {
			latest = everyAt(t.anchor, t.spec.Every, everySteps(t.anchor, upTo, t.spec.Every))
		}
	case !t.spec.At.After(upTo):
		latest = t.spec.At
	}
	if latest.IsZero() || latest.Before(t.spec.StartAt) {
		return time.Time{}
	}
	return latest.UTC()
}

// Count is the number of occurrences after from and not after to.
func (t *Timing) Count(from, to time.Time) int64 {
	if start := t.spec.StartAt; !start.IsZero() && from.Before(start) {
		from = start.Add(-time.Nanosecond)
	}
	if end := t.spec.EndAt; !end.IsZero() && !to.Before(end) {
		to = end.Add(-time.Nanosecond)
	}
	if !from.Before(to) {
		return 0
	}
	switch {
	case t.cron != nil:
		return t.cron.Count(from, to, t.zone)
	case t.spec.Every > 0:
		return everySteps(t.anchor, to, t.spec.Every) - everySteps(t.anchor, from, t.spec.Every)
	case from.Before(t.spec.At) && !t.spec.At.After(to):
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
