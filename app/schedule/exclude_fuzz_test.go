package schedule

import (
	"fmt"
	"testing"
	"time"
)

// Whatever the spec and its calendars, Next moves on to what isn't excluded,
// Latest and Count agree with it, and no answer takes a millisecond.
func FuzzExclusion(f *testing.F) {
	for _, seed := range []struct {
		cron  string
		every int64
		zones []byte
		days  []byte
	}{
		{cron: "0 9 * * 1-5", zones: []byte{0}, days: []byte{0, 1, 3, 40}},
		{cron: "0 0,12 1 * *", zones: []byte{9, 200, 77}, days: []byte{0, 1, 3, 40, 1, 0, 0, 255, 2, 7, 200, 9, 0, 1, 1, 1}},
		{cron: "*/20 * * * * *", zones: []byte{1, 2, 3, 4, 5, 6, 7, 8}, days: []byte{0, 1, 3, 40, 7, 200, 1, 0, 5, 2, 2, 2}},
		{cron: "30 2 29 2 *", zones: []byte{99}, days: []byte{0, 255, 255, 255, 0, 255, 255, 255, 0, 255, 255, 255}},
		{every: 86400, zones: []byte{1, 1}, days: []byte{0, 0, 1, 0, 1, 0, 1, 0}},
		{every: 1000, zones: []byte{1, 50}, days: []byte{0, 0, 1, 0, 1, 3, 1, 3}},
		{zones: []byte{120}, days: []byte{0, 0, 9, 0}},
	} {
		for onExcluded := range uint8(3) {
			f.Add(seed.cron, seed.every, onExcluded, uint16(17), int64(1772953200), seed.zones, seed.days)
		}
	}
	zones := zoneNames(f)
	f.Fuzz(func(t *testing.T, cron string, every int64, onExcluded uint8, zoneNumber uint16, unix int64, calendarZones, days []byte) {
		around := time.Unix(unix%4_000_000_000, 0)
		s := New()
		s.Spec = Spec{
			Cron: cron, Timezone: zones[int(zoneNumber)%len(zones)],
			OnExcluded: []OnExcluded{OnExcludedSkip, OnExcludedNextDay, OnExcludedPreviousDay}[onExcluded%3],
		}
		s.CreatedAt = around
		if cron == "" {
			if s.Spec.Every = time.Duration(every%int64(MaxEvery/time.Second)) * time.Second; every == 0 {
				s.Spec.At = around.Add(time.Hour)
			}
		}
		s.Calendars = calendarsOf(calendarZones, days, zones, DateOf(around).number())
		for _, c := range s.Calendars {
			s.Spec.Exclude = append(s.Spec.Exclude, c.Name)
		}
		if s.Spec.Validate() != nil {
			return
		}
		timing, err := s.Timing()
		if err != nil {
			t.Fatal(err)
		}
		at := around.Add(-30 * 24 * time.Hour)
		for range 3 {
			next := timing.Next(at)
			if next.IsZero() {
				return
			}
			what := fmt.Sprintf("%+v with %v and %v, after %s", s.Spec, calendarZones, days, at)
			switch {
			case !next.After(at):
				t.Fatalf("%s it runs at %s", what, next)
			case excludedPlainly(s.Calendars, next):
				t.Fatalf("%s it runs at %s, which is excluded", what, next)
			case !timing.Latest(next).Equal(next):
				t.Fatalf("%s: the latest up to %s is %s", what, next, timing.Latest(next))
			case timing.Latest(next.Add(-1)).After(at):
				t.Fatalf("%s: between that and %s runs %s", what, next, timing.Latest(next.Add(-1)))
			case !timing.Next(next.Add(-1)).Equal(next):
				t.Fatalf("%s it runs at %s, but just before that the next is %s", what, next, timing.Next(next.Add(-1)))
			case timing.Count(at, next) != 1 && next.Before(at.AddDate(MaxExcludedCountYears, 0, 0)):
				t.Fatalf("%s it runs %d times up to the first, %s", what, timing.Count(at, next), next)
			}
			_ = timing.Note(next)
			_ = timing.Taken(at, next, 10)
			at = next
		}
		took := time.Hour
		for try := 0; took > time.Millisecond*raceFactor; try++ { // again, because the machine may be busy
			if try == 50 {
				t.Fatalf("%+v with %v and %v after %s takes %v", s.Spec, calendarZones, days, at, took)
			}
			start := time.Now()
			timing, _ := s.Timing()
			timing.Latest(timing.Next(at))
			took = min(took, time.Since(start))
		}
	})
}

// calendarsOf makes a calendar of each zone's number and shares the ranges out
// among them: four bytes say which has it, how far it lies behind the one before,
// and how long it is.
func calendarsOf(zoneNumbers, days []byte, zones []string, first int64) []Calendar {
	var calendars []Calendar
	for i, number := range zoneNumbers[:min(len(zoneNumbers), MaxExclude)] {
		calendars = append(calendars, Calendar{
			Namespace: "default", Name: fmt.Sprintf("c%d", i), Timezone: zones[int(number)*2%len(zones)], Weekends: number%3 == 0,
		})
	}
	for ; len(calendars) > 0 && len(days) >= 4; days = days[4:] {
		c := &calendars[int(days[0])%len(calendars)]
		first += int64(days[1])
		last := first + (int64(days[2])<<8|int64(days[3]))%MaxDayRangeLength
		if len(c.Days) < MaxDayRanges && first > 0 {
			c.Days = append(c.Days, DayRange{From: dateOf(first), To: dateOf(last)})
		}
	}
	return calendars
}
