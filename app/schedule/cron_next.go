package schedule

import (
	"math"
	"math/bits"
	"sort"
	"time"
)

// The search walks the stretches of real time in which the zone's offset stays
// the same. Inside one the wall clock is the instant plus the offset, and finding
// the next match is plain calendar work. All that clock changes can do happens
// where two stretches meet. Instants are Unix seconds; walls are what the local
// clock shows, in seconds since it showed 1970-01-01 00:00:00.

const (
	secondsPerDay = 24 * 60 * 60

	// maxGap is the longest leap forward that a fixed-time schedule catches up
	// on. Longer ones change the calendar, as on Samoa's missing 30 December 2011.
	maxGap = 3 * 60 * 60

	// maxShift is more than any offset, and more than two offsets of one zone can
	// differ.
	maxShift = 48 * 60 * 60

	// horizonMonths is how far a search goes: 40 years, in which every date of
	// the calendar returns that returns at all. A 29 February that must be a
	// certain day of the week takes longest, across a year such as 2100.
	horizonMonths  = 40 * 12
	horizonSeconds = 41 * 366 * secondsPerDay

	// The years 1 to 9999, which is what RFC 3339 and PostgreSQL share.
	minInstant = -62135596800
	maxInstant = 253402300799
)

// Next is the first occurrence strictly after t in loc, or the zero time if
// there is none within 40 years or before the year 10000. A t outside the years
// 1 to 9999 has none.
//
// A schedule whose second, minute or hour begins with * fires whenever the local
// clock shows a matching time, however often it does. Any other fires once for
// each local time: the first time that it is shown, or, where a change of the
// clock by up to 3 hours leaves it out, at the instant of the change.
func (c *Cron) Next(t time.Time, loc *time.Location) time.Time {
	at := t.Unix() + 1
	if at <= minInstant || at > maxInstant {
		return time.Time{}
	}
	for limit := at + horizonSeconds; at <= limit; {
		s := stretchAt(at, loc)
		from := at + s.offset
		if !c.wildcard && from < s.firstWall()+maxShift {
			reached := s.reached(loc)
			if at == s.start && c.catchesUp(reached, s.firstWall()) {
				return instant(at, loc)
			}
			from = max(from, reached)
		}
		wall, ok := c.nextWall(from)
		if !ok {
			return time.Time{}
		}
		if wall-s.offset < s.end {
			return instant(wall-s.offset, loc)
		}
		// Nothing matches before that wall, so skip what lies between, unless the
		// clock may still go back to walls before from.
		far := s.end-at >= maxShift
		at = s.end
		if far {
			at = max(at, wall-maxShift)
		}
	}
	return time.Time{}
}

// Latest is the last occurrence not after t in loc, or the zero time if there is
// none within 40 years or after the year 0. A t outside the years 1 to 9999 has
// none.
func (c *Cron) Latest(t time.Time, loc *time.Location) time.Time {
	at := t.Unix()
	if at <= minInstant || at > maxInstant {
		return time.Time{}
	}
	for limit := at - horizonSeconds; at >= limit; {
		s := stretchAt(at, loc)
		wall, ok := c.prevWall(at + s.offset)
		if !ok {
			return time.Time{}
		}
		first := s.firstWall()
		if c.wildcard || wall >= first+maxShift {
			if wall >= first {
				return instant(wall-s.offset, loc)
			}
		} else {
			reached := s.reached(loc)
			if wall >= max(first, reached) {
				return instant(wall-s.offset, loc)
			}
			if c.catchesUp(reached, first) {
				return instant(s.start, loc)
			}
		}
		// As in Next: nothing matches after that wall.
		far := at-s.start >= maxShift
		at = s.start - 1
		if far {
			at = min(at, wall+maxShift)
		}
	}
	return time.Time{}
}

// Count is the number of occurrences after from and not after to, within the
// years 1 to 9999. Its cost grows with the months between them, however many
// occurrences there are.
func (c *Cron) Count(from, to time.Time, loc *time.Location) int64 {
	at, end := max(from.Unix(), minInstant)+1, min(to.Unix(), maxInstant)+1
	var count int64
	for at < end {
		s := stretchAt(at, loc)
		until := min(s.end, end)
		low, high := at+s.offset, until+s.offset
		if !c.wildcard && low < s.firstWall()+maxShift {
			reached := s.reached(loc)
			if at == s.start && c.catchesUp(reached, low) && !c.matches(low) {
				count++
			}
			low = max(low, reached)
		}
		if low < high {
			count += c.countWalls(low, high)
		}
		at = until
	}
	return count
}

func instant(at int64, loc *time.Location) time.Time {
	if at <= minInstant || at > maxInstant {
		return time.Time{}
	}
	return time.Unix(at, 0).In(loc)
}

// catchesUp reports whether the schedule fires at a change of the clock that
// leaves out the walls from reached to first.
func (c *Cron) catchesUp(reached, first int64) bool {
	if reached >= first || first-reached > maxGap {
		return false
	}
	wall, ok := c.nextWall(reached)
	return ok && wall < first
}

// stretch is a stretch of real time, from start to before end, in which the
// zone's offset doesn't change. The stretches before and after it may have the
// same offset.
type stretch struct{ start, end, offset int64 }

// Beyond every clock change, and far enough from the integer's ends to add to.
const beginning, ending = math.MinInt64 / 4, math.MaxInt64 / 4

// stretchAt is the stretch that the instant belongs to. Where the zone's changes
// come from a rule, not from a table, time.ZoneBounds takes each year for a
// stretch of its own and gets two of its ends wrong: on 31 December of a leap
// year the end isn't after the instant, and in the rule's first year the start
// may lie before the change that brought the rule.
func stretchAt(at int64, loc *time.Location) stretch {
	t := time.Unix(at, 0).In(loc)
	start, end := t.ZoneBounds()
	s := stretch{start: beginning, end: ending, offset: offsetAt(at, loc)}
	if !start.IsZero() {
		s.start = start.Unix()
		if offsetAt(s.start, loc) != s.offset {
			s.start += int64(sort.Search(int(at-s.start), func(i int) bool {
				return offsetAt(s.start+int64(i), loc) == s.offset
			}))
		}
	}
	if !end.IsZero() {
		s.end = end.Unix()
		if s.end <= at {
			s.end = at + 1 + int64(sort.Search(secondsPerDay, func(i int) bool {
				return offsetAt(at+1+int64(i), loc) != s.offset
			}))
		}
	}
	return s
}

func offsetAt(at int64, loc *time.Location) int64 {
	_, offset := time.Unix(at, 0).In(loc).Zone()
	return int64(offset)
}

// moveTo makes s the stretch that the instant belongs to, if it isn't that already.
func (s *stretch) moveTo(at int64, loc *time.Location) stretch {
	if at < s.start || at >= s.end {
		*s = stretchAt(at, loc)
	}
	return *s
}

// firstWall is what the clock shows when the stretch begins.
func (s stretch) firstWall() int64 { return s.start + s.offset }

// reached is how far the wall clock had come before the stretch began: the walls
// before it have had their turn.
func (s stretch) reached(loc *time.Location) int64 {
	furthest := int64(beginning)
	for at := s.start; at > beginning && at > s.start-maxShift; {
		before := stretchAt(at-1, loc)
		furthest = max(furthest, at+before.offset)
		at = before.start
	}
	return furthest
}

// nextWall is the first match not before the wall.
func (c *Cron) nextWall(from int64) (wall int64, ok bool) {
	day, clock := splitWall(from)
	m, dayOfMonth := monthOf(day)
	days := c.daysOf(m) >> dayOfMonth
	if days&1 == 1 {
		if clock = c.nextClock(clock); clock >= 0 {
			return day*secondsPerDay + int64(clock), true
		}
	}
	days = days >> 1 << (dayOfMonth + 1)
	for range horizonMonths + 1 {
		if days != 0 {
			day = m.first + int64(bits.TrailingZeros32(days)) - 1
			return day*secondsPerDay + int64(c.nextClock(0)), true
		}
		m = m.next()
		days = c.daysOf(m)
	}
	return 0, false
}

// prevWall is the last match not after the wall.
func (c *Cron) prevWall(to int64) (wall int64, ok bool) {
	day, clock := splitWall(to)
	m, dayOfMonth := monthOf(day)
	days := c.daysOf(m)
	if days>>dayOfMonth&1 == 1 {
		if clock = c.prevClock(clock); clock >= 0 {
			return day*secondsPerDay + int64(clock), true
		}
	}
	days &= 1<<dayOfMonth - 1
	for range horizonMonths + 1 {
		if days != 0 {
			day = m.first + int64(bits.Len32(days)) - 2
			return day*secondsPerDay + int64(c.prevClock(secondsPerDay-1)), true
		}
		m = m.prev()
		days = c.daysOf(m)
	}
	return 0, false
}

func (c *Cron) matches(wall int64) bool {
	day, clock := splitWall(wall)
	m, dayOfMonth := monthOf(day)
	return c.daysOf(m)>>dayOfMonth&1 == 1 && c.nextClock(clock) == clock
}

// countWalls is the number of matches from low to before high.
func (c *Cron) countWalls(low, high int64) int64 {
	lowDay, lowClock := splitWall(low)
	highDay, highClock := splitWall(high)
	m, dayOfMonth := monthOf(lowDay)
	days := c.daysOf(m)
	var count int64
	if days>>dayOfMonth&1 == 1 {
		count -= c.countClocks(lowClock)
	}
	days = days >> dayOfMonth << dayOfMonth
	for ; m.next().first <= highDay; days = c.daysOf(m) {
		count += int64(bits.OnesCount32(days)) * c.perDay
		m = m.next()
	}
	dayOfMonth = int(highDay-m.first) + 1
	count += int64(bits.OnesCount32(days&(1<<dayOfMonth-1))) * c.perDay
	if days>>dayOfMonth&1 == 1 {
		count += c.countClocks(highClock)
	}
	return count
}

// nextClock is the first matching second of a day not before clock, or -1.
func (c *Cron) nextClock(clock int) int {
	hour, minute, second := clock/3600, clock/60%60, clock%60
	if c.hours>>hour&1 == 1 {
		if c.minutes>>minute&1 == 1 {
			if later := c.seconds >> second; later != 0 {
				return clock + bits.TrailingZeros64(later)
			}
		}
		if later := c.minutes >> (minute + 1); later != 0 {
			minute += 1 + bits.TrailingZeros64(later)
			return hour*3600 + minute*60 + bits.TrailingZeros64(c.seconds)
		}
	}
	later := c.hours >> (hour + 1)
	if later == 0 {
		return -1
	}
	hour += 1 + bits.TrailingZeros64(later)
	return hour*3600 + bits.TrailingZeros64(c.minutes)*60 + bits.TrailingZeros64(c.seconds)
}

// prevClock is the last matching second of a day not after clock, or -1.
func (c *Cron) prevClock(clock int) int {
	hour, minute, second := clock/3600, clock/60%60, clock%60
	if c.hours>>hour&1 == 1 {
		if c.minutes>>minute&1 == 1 {
			if earlier := below(c.seconds, second+1); earlier != 0 {
				return clock - second + highest(earlier)
			}
		}
		if earlier := below(c.minutes, minute); earlier != 0 {
			return hour*3600 + highest(earlier)*60 + highest(c.seconds)
		}
	}
	earlier := below(c.hours, hour)
	if earlier == 0 {
		return -1
	}
	return highest(earlier)*3600 + highest(c.minutes)*60 + highest(c.seconds)
}

// countClocks is the number of matching seconds of a day before clock.
func (c *Cron) countClocks(clock int) int64 {
	hour, minute, second := clock/3600, clock/60%60, clock%60
	perMinute := bits.OnesCount64(c.seconds)
	perHour := perMinute * bits.OnesCount64(c.minutes)
	count := bits.OnesCount64(below(c.hours, hour)) * perHour
	if c.hours>>hour&1 == 1 {
		count += bits.OnesCount64(below(c.minutes, minute)) * perMinute
		if c.minutes>>minute&1 == 1 {
			count += bits.OnesCount64(below(c.seconds, second))
		}
	}
	return int64(count)
}

func below(set uint64, value int) uint64 { return set & (1<<value - 1) }

func highest(set uint64) int { return bits.Len64(set) - 1 }

// calendarMonth is one month. Days are numbered from 1970-01-01, which is 0.
type calendarMonth struct {
	year, number int
	first        int64 // the number of its first day
}

func splitWall(wall int64) (day int64, clock int) {
	day = wall / secondsPerDay
	if wall%secondsPerDay < 0 {
		day--
	}
	return day, int(wall - day*secondsPerDay)
}

func monthOf(day int64) (m calendarMonth, dayOfMonth int) {
	year, number, dayOfMonth := time.Unix(day*secondsPerDay, 0).UTC().Date()
	return calendarMonth{year: year, number: int(number), first: day - int64(dayOfMonth) + 1}, dayOfMonth
}

func (m calendarMonth) next() calendarMonth {
	m.first += int64(monthLength(m.year, m.number))
	if m.number++; m.number > 12 {
		m.year, m.number = m.year+1, 1
	}
	return m
}

func (m calendarMonth) prev() calendarMonth {
	if m.number--; m.number < 1 {
		m.year, m.number = m.year-1, 12
	}
	m.first -= int64(monthLength(m.year, m.number))
	return m
}

// daysOf is the matching days of the month.
func (c *Cron) daysOf(m calendarMonth) uint32 {
	if c.months>>m.number&1 == 0 {
		return 0
	}
	weekday := (m.first + int64(time.Thursday)) % 7 // of 1970-01-01
	if weekday < 0 {
		weekday += 7
	}
	return c.days[monthLength(m.year, m.number)-28][weekday]
}

func monthLength(year, number int) int {
	switch {
	case number == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0):
		return 29
	case number == 2:
		return 28
	case number == 4 || number == 6 || number == 9 || number == 11:
		return 30
	}
	return 31
}
