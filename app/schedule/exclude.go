package schedule

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// exclusion is when calendars let nothing run: all instants whose date, in a
// calendar's own zone, is one of its days. Instants are Unix seconds, as in the
// search of Cron, because no day begins within a second.
type exclusion struct {
	calendars []zonedCalendar // as Spec.Exclude names them
	sets      []daySet        // their days, one set a zone
}

type zonedCalendar struct {
	*Calendar
	zone *time.Location
}

// daySet is the excluded days of one zone.
type daySet struct {
	zone     *time.Location
	weekends bool
	days     []numbers // besides weekends: ascending, none meets the next
}

// numbers are the days from first to last.
type numbers struct{ first, last int64 }

// No question to a Timing may take long, whatever its calendars say: a search
// through what they exclude ends, as if nothing came any more, after 12 years,
// after that many occurrences in a row, or after that many looks at days. The
// latter two are far more than calendars that people keep can ask for, and less
// than a millisecond.
const (
	excludedSeconds = 12 * 366 * secondsPerDay
	maxExcluded     = 1000
	maxLooks        = 6000
)

// search is what one question has at hand: how the clocks go around the instants
// that it has come to, and how many looks it may still take.
type search struct {
	own    stretch             // of the lanes' zone
	clocks [MaxExclude]stretch // of the zones of the exclusion's sets
	looks  int
}

// newExclusion picks the named calendars; loaded is a zone that is at hand. The
// error completes a sentence that begins with the field's name.
func newExclusion(names []string, calendars []Calendar, loaded *time.Location) (*exclusion, error) {
	if len(names) > MaxExclude {
		return nil, fmt.Errorf("names %d calendars: at most %d are allowed", len(names), MaxExclude)
	}
	x := &exclusion{}
	for _, name := range names {
		i := slices.IndexFunc(calendars, func(c Calendar) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("names the calendar %s, which doesn't exist", name)
		}
		c := &calendars[i]
		i = slices.IndexFunc(x.sets, func(s daySet) bool { return s.zone.String() == c.Timezone })
		if i < 0 {
			zone := loaded
			if zone.String() != c.Timezone {
				var err error
				if zone, err = loadZone(c.Timezone); err != nil {
					return nil, fmt.Errorf("names the calendar %s, whose timezone %w", name, err)
				}
			}
			i, x.sets = len(x.sets), append(x.sets, daySet{zone: zone})
		}
		x.calendars = append(x.calendars, zonedCalendar{c, x.sets[i].zone})
		x.sets[i].weekends = x.sets[i].weekends || c.Weekends
		x.sets[i].days = slices.Grow(x.sets[i].days, len(c.Days))
		for _, r := range c.Days {
			x.sets[i].days = append(x.sets[i].days, numbers{r.From.number(), r.To.number()})
		}
	}
	for i := range x.sets {
		x.sets[i].merge()
	}
	return x, nil
}

// merge brings the days into order.
func (s *daySet) merge() {
	slices.SortFunc(s.days, func(a, b numbers) int { return int(a.first - b.first) })
	merged := s.days[:0]
	for _, r := range s.days {
		if n := len(merged); n > 0 && r.first <= merged[n-1].last+1 {
			merged[n-1].last = max(merged[n-1].last, r.last)
		} else {
			merged = append(merged, r)
		}
	}
	s.days = merged
}

// around is days around the day that are excluded like it, or like it aren't.
// The ones next to them may be, too.
func (s *daySet) around(day int64) (excluded bool, run numbers) {
	i := sort.Search(len(s.days), func(i int) bool { return s.days[i].last >= day })
	if i < len(s.days) && s.days[i].first <= day {
		return true, s.days[i]
	}
	run = numbers{beginning / secondsPerDay, ending / secondsPerDay}
	if i > 0 {
		run.first = s.days[i-1].last + 1
	}
	if i < len(s.days) {
		run.last = s.days[i].first - 1
	}
	if s.weekends {
		saturday := day + int64(time.Saturday-weekdayOf(day)) // of the week that begins with Sunday
		switch weekdayOf(day) {
		case time.Saturday:
			return true, numbers{day, day + 1}
		case time.Sunday:
			return true, numbers{day - 1, day}
		}
		run.first, run.last = max(run.first, saturday-5), min(run.last, saturday-1)
	}
	return false, run
}

// span is the stretch of time around the instant, from start to before end, in
// which the answer stays the same. The ones before and after it may have it too.
func (s *daySet) span(at int64, clock *stretch) (excluded bool, start, end int64) {
	clock.moveTo(at, s.zone)
	day, _ := splitWall(at + clock.offset)
	excluded, run := s.around(day)
	return excluded, max(clock.start, run.first*secondsPerDay-clock.offset), min(clock.end, (run.last+1)*secondsPerDay-clock.offset)
}

// free is at, if it isn't excluded, else a later instant, in the direction of
// step, up to which all are. That one may be excluded, too: ask again. It isn't ok
// where the search ends.
func (x *exclusion) free(q *search, at, step int64) (free int64, ok bool) {
	limit := at + step*excludedSeconds
	for i, left := 0, len(x.sets); left > 0; i, left = i+1, left-1 {
		if q.looks--; q.looks < 0 || (limit-at)*step <= 0 {
			return at, false
		}
		set := i % len(x.sets)
		if excluded, start, end := x.sets[set].span(at, &q.clocks[set]); excluded {
			at, left = start-1, len(x.sets)
			if step > 0 {
				at = end
			}
		}
	}
	return at, true
}

// block is the first instant from at on, in the direction of step, that is
// excluded, or the one beyond limit if none is before.
func (x *exclusion) block(q *search, at, step, limit int64) int64 {
	for (limit-at)*step >= 0 {
		beyond := limit + step
		for i := range x.sets {
			excluded, start, end := x.sets[i].span(at, &q.clocks[i])
			switch {
			case excluded:
				return at
			case step > 0:
				beyond = min(beyond, end)
			default:
				beyond = max(beyond, start-1)
			}
		}
		at = beyond
	}
	return limit + step
}

func (x *exclusion) excluded(q *search, at int64) bool {
	for i := range x.sets {
		if excluded, _, _ := x.sets[i].span(at, &q.clocks[i]); excluded {
			return true
		}
	}
	return false
}

// by is the first calendar that excludes the instant, and what it calls the day.
func (x *exclusion) by(at time.Time) (calendar, day string) {
	for _, c := range x.calendars {
		if day, excluded := c.day(DateOf(at.In(c.zone))); excluded {
			return c.Name, day
		}
	}
	return "", ""
}

// Where Timing.Count ends, so that it takes a moment at most.
const (
	MaxExcludedCountYears = 100    // where calendars take runs away
	MaxMovedCount         = 10_000 // where they move: a year of 24 runs a day
)

// lane is the occurrences that have one time of day. What moves to another day
// keeps it, so that within a lane none overtakes another, and an answer needs
// only the excluded days next to it.
type lane struct {
	t     *Timing
	zone  *time.Location
	clock int64 // seconds of the day
	nanos int64
}

func (t *Timing) moves() bool {
	return t.spec.OnExcluded == OnExcludedNextDay || t.spec.OnExcluded == OnExcludedPreviousDay
}

// checkMoves refuses to move what has no time of day to keep, or too many. The
// error completes a sentence that begins with the field's name.
func (t *Timing) checkMoves() error {
	switch s := t.spec; {
	case !t.moves():
		if s.OnExcluded != "" && s.OnExcluded != OnExcludedSkip {
			return fmt.Errorf(`must be "skip", "next_day" or "previous_day", not %s`, quote(string(s.OnExcluded)))
		}
	case t.cron != nil && t.cron.wildcard:
		return fmt.Errorf("can't be %s when the cron's second, minute or hour begins with *: write the times out, such as 0,6,12,18 for */6", s.OnExcluded)
	case t.cron != nil && t.cron.perDay > MaxMovedTimes:
		return fmt.Errorf("can't be %s with %d runs a day: at most %d can move", s.OnExcluded, t.cron.perDay, MaxMovedTimes)
	case s.Every%(24*time.Hour) != 0:
		return fmt.Errorf("can't be %s unless every is a multiple of 24h", s.OnExcluded)
	}
	return nil
}

// lay makes the lanes, or finds the day of at.
func (t *Timing) lay() {
	switch {
	case t.cron == nil && t.spec.Every == 0:
		day, clock := splitWall(t.at.Unix() + offsetAt(t.at.Unix(), t.zone))
		q := search{looks: maxLooks}
		if !t.exclude.excluded(&q, t.at.Unix()) {
			return
		}
		l := lane{t: t, zone: t.zone, clock: int64(clock), nanos: int64(t.at.Nanosecond())}
		t.at = time.Time{}
		if !t.moves() {
			return
		}
		if day, ok := l.seek(&q, day+l.move(), l.move()); ok {
			t.at = l.at(&q, day)
		}
	case !t.moves():
	case t.cron != nil:
		for clock := t.cron.nextClock(0); clock >= 0; clock = t.cron.nextClock(clock + 1) {
			t.lanes = append(t.lanes, lane{t: t, zone: t.zone, clock: int64(clock)})
		}
	default:
		// Elapsed time knows 24 hours where a zone may have days of 23 or 25.
		_, clock := splitWall(t.anchor.Unix())
		t.lanes = []lane{{t: t, zone: time.UTC, clock: int64(clock), nanos: int64(t.anchor.Nanosecond())}}
	}
}

// move is the direction in which excluded occurrences move.
func (l lane) move() int64 {
	if l.t.spec.OnExcluded == OnExcludedPreviousDay {
		return -1
	}
	return 1
}

// second is when the lane's time comes on the day: the first time that the clock
// shows it, or the end of the gap that leaves it out. It is not ok where the gap
// is a change of the calendar. It never falls from one day to the next.
func (l lane) second(q *search, day int64) (at int64, ok bool) {
	wall := day*secondsPerDay + l.clock
	s := q.own.moveTo(wall-maxShift, l.zone)
	for s.end+s.offset <= wall {
		s = stretchAt(s.end, l.zone)
	}
	if wall >= s.firstWall() {
		return wall - s.offset, true
	}
	return s.start, s.firstWall()-s.reached(l.zone) <= maxGap
}

func (l lane) at(q *search, day int64) time.Time {
	at, _ := l.second(q, day)
	return time.Unix(at, l.nanos).UTC()
}

// free reports whether the day has the lane's time and isn't excluded at it.
func (l lane) free(q *search, day int64) bool {
	at, ok := l.second(q, day)
	return ok && !l.t.exclude.excluded(q, at)
}

// from is the first day whose instant isn't before at.
func (l lane) from(q *search, at time.Time) int64 {
	second := at.Unix()
	if l.nanos < int64(at.Nanosecond()) {
		second++
	}
	return l.fromSecond(q, second)
}

func (l lane) fromSecond(q *search, second int64) int64 {
	day, _ := splitWall(second + q.own.moveTo(second, l.zone).offset)
	for day--; ; day++ {
		if at, _ := l.second(q, day); at >= second {
			return day
		}
	}
}

// seek is the first free day from the day on, in the direction of step. Not ok:
// the search ended before there was one, at the day returned.
func (l lane) seek(q *search, day, step int64) (int64, bool) {
	for limit := day + step*excludedSeconds/secondsPerDay; (limit-day)*step >= 0; {
		at, ok := l.second(q, day)
		free, found := l.t.exclude.free(q, at, step)
		switch {
		case !found:
			return day, false
		case ok && free == at:
			return day, true
		case free == at:
			day += step
		case step > 0:
			day = max(day+1, l.fromSecond(q, free))
		default:
			day = min(day-1, l.fromSecond(q, free+1)-1)
		}
	}
	return day, false
}

// match is the first day from the day on, in the direction of step, on which the
// base has an occurrence in the lane, but for the spec's window.
func (l lane) match(q *search, day, step int64) (int64, bool) {
	for {
		switch c := l.t.cron; {
		case c != nil:
			wall, ok := int64(0), false
			if step > 0 {
				wall, ok = c.nextWall(day * secondsPerDay)
			} else {
				wall, ok = c.prevWall(day*secondsPerDay + secondsPerDay - 1)
			}
			if !ok {
				return 0, false
			}
			day, _ = splitWall(wall)
		default:
			every := int64(l.t.spec.Every / (24 * time.Hour))
			anchor, _ := splitWall(l.t.anchor.Unix())
			if day < anchor && step < 0 {
				return 0, false
			}
			n := max(day-anchor, 0)
			if step > 0 {
				n += every - 1
			}
			day = anchor + n/every*every
		}
		if _, ok := l.second(q, day); ok {
			return day, true
		}
		day += step
	}
}

// nearest is the lane's first occurrence from the day on, in the direction of
// step, or the zero time. The day's instant lies within the spec's window.
func (l lane) nearest(q *search, day, step int64) time.Time {
	if l.move() == step {
		// Here comes what is left of the days behind the last free one, as well.
		day, _ = l.seek(q, day-step, -step)
		day += step
		if start := l.t.spec.StartAt; step > 0 && !start.IsZero() {
			day = max(day, l.from(q, start))
		}
		if end := l.t.spec.EndAt; step < 0 && !end.IsZero() {
			day = min(day, l.from(q, end)-1)
		}
	} else {
		// What lies before the first free day has moved away to behind the day.
		var ok bool
		if day, ok = l.seek(q, day, step); !ok {
			return time.Time{}
		}
	}
	day, ok := l.match(q, day, step)
	if !ok || !l.t.within(l.at(q, day)) {
		return time.Time{}
	}
	if !l.free(q, day) {
		if day, ok = l.seek(q, day, l.move()); !ok || !l.t.within(l.at(q, day)) {
			return time.Time{}
		}
	}
	return l.at(q, day)
}

// within reports whether the instant is in the spec's window.
func (t *Timing) within(at time.Time) bool {
	return !at.Before(t.spec.StartAt) && (t.spec.EndAt.IsZero() || at.Before(t.spec.EndAt))
}

func (l lane) next(q *search, after time.Time) time.Time {
	q.looks = maxLooks / len(l.t.lanes)
	return l.nearest(q, l.from(q, after.Add(time.Nanosecond)), 1)
}

func (l lane) latest(q *search, upTo time.Time) time.Time {
	q.looks = maxLooks / len(l.t.lanes)
	return l.nearest(q, l.from(q, upTo.Add(time.Nanosecond))-1, -1)
}

func (t *Timing) lanesNext(after time.Time) time.Time {
	var q search
	var next time.Time
	for _, l := range t.lanes {
		if at := l.next(&q, after); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

func (t *Timing) lanesLatest(upTo time.Time) time.Time {
	var q search
	var latestOf time.Time
	for _, l := range t.lanes {
		latestOf = latest(latestOf, l.latest(&q, upTo))
	}
	return latestOf
}

// lanesCount steps through the occurrences, all lanes abreast.
func (t *Timing) lanesCount(from, to time.Time) int64 {
	from, to = t.fromStart(from), t.beforeEnd(to)
	var q search
	heads := make([]time.Time, len(t.lanes))
	for i, l := range t.lanes {
		heads[i] = l.next(&q, from)
	}
	var count int64
	for count < MaxMovedCount {
		var first time.Time
		for _, head := range heads {
			if !head.IsZero() && (first.IsZero() || head.Before(first)) {
				first = head
			}
		}
		if first.IsZero() || first.After(to) {
			break
		}
		count++
		for i, l := range t.lanes {
			if heads[i].Equal(first) {
				heads[i] = l.next(&q, first)
			}
		}
	}
	return count
}

// Excluded is an occurrence that a calendar takes away.
type Excluded struct {
	At       time.Time
	Calendar string // the first, as the spec names them, that excludes it
	Day      string // what the calendar calls the day: its name, else "Saturday" or "Sunday", else its date
}

// Taken lists the occurrences after from and not after to that calendars take
// away, in order, at most limit of them and none more than 12 years after from.
// Where excluded runs move, it lists none.
func (t *Timing) Taken(from, to time.Time, limit int) []Excluded {
	if t.exclude == nil || t.moves() {
		return nil
	}
	if t.at.IsZero() && !t.spec.At.IsZero() { // the one occurrence there is
		if !from.Before(t.spec.At) || t.spec.At.After(to) || limit < 1 {
			return nil
		}
		calendar, day := t.exclude.by(t.spec.At)
		return []Excluded{{At: t.spec.At.UTC(), Calendar: calendar, Day: day}}
	}
	var list []Excluded
	from = t.fromStart(from)
	to = earliest(to, time.Unix(from.Unix()+excludedSeconds, 0))
	for len(list) < limit {
		at := t.nextTaken(from, to)
		if at.IsZero() {
			break
		}
		calendar, day := t.exclude.by(at)
		list = append(list, Excluded{At: at, Calendar: calendar, Day: day})
		from = at
	}
	return list
}

// nextTaken is the first occurrence of the base after from that is excluded, or
// the zero time if there is none up to to.
func (t *Timing) nextTaken(from, to time.Time) time.Time {
	for q := (search{}); ; {
		at := t.baseNext(from)
		if at.IsZero() || at.After(to) {
			return time.Time{}
		}
		block := t.exclude.block(&q, at.Unix(), 1, to.Unix())
		if block == at.Unix() {
			return at
		}
		from = time.Unix(block, 0).Add(-time.Nanosecond)
	}
}

// taken is what calendars take away after from and not after to, as one stretch.
func (t *Timing) taken(from, to time.Time) (taken Stretch, ok bool) {
	taken = Stretch{Outcome: OutcomeSkipped, Why: WhyExcluded, Count: t.baseCount(from, to) - t.Count(from, to)}
	if taken.Count == 0 {
		return taken, false
	}
	taken.From = t.nextTaken(from, to)
	for q, upTo := (search{}), to; ; {
		taken.Until = t.baseLatest(upTo)
		block := t.exclude.block(&q, taken.Until.Unix(), -1, from.Unix())
		if block == taken.Until.Unix() {
			return taken, true
		}
		upTo = time.Unix(block+1, 0).Add(-time.Nanosecond)
	}
}

// silent reports whether calendars exclude all that cron or every names after
// the instant.
func (t *Timing) silent(after time.Time) bool {
	return t.exclude != nil && t.Next(after).IsZero() && !t.baseNext(after).IsZero()
}
