package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// days is ranges written as "2026-12-24..2026-12-26 Christmas, 2027-01-01".
func days(t testing.TB, text string) []DayRange {
	t.Helper()
	var ranges []DayRange
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		span, name, _ := strings.Cut(item, " ")
		from, to, found := strings.Cut(span, "..")
		if !found {
			to = from
		}
		ranges = append(ranges, DayRange{From: date(t, from), To: date(t, to), Name: name})
	}
	return ranges
}

func date(t testing.TB, text string) Date {
	t.Helper()
	d, err := ParseDate(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func calendar(t testing.TB, name, timezone string, weekends bool, text string) Calendar {
	t.Helper()
	c := Calendar{Namespace: "default", Name: name, Timezone: timezone, Weekends: weekends, Days: days(t, text)}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// timingOf is the spec's with those calendars, each of which it names.
func timingOf(t testing.TB, spec Spec, createdAt time.Time, calendars ...Calendar) *Timing {
	t.Helper()
	s := New()
	s.Spec, s.CreatedAt, s.Calendars = spec, createdAt, calendars
	for _, c := range calendars {
		s.Spec.Exclude = append(s.Spec.Exclude, c.Name)
	}
	if err := s.Spec.Validate(); err != nil {
		t.Fatal(err)
	}
	timing, err := s.Timing()
	if err != nil {
		t.Fatal(err)
	}
	return timing
}

func TestExcludedRuns(t *testing.T) {
	t.Parallel()
	christmas := "2026-12-25 Christmas, 2026-12-28 Boxing Day"
	for _, row := range []struct {
		claim      string
		spec       Spec
		calendars  []Calendar
		after      string
		want       string // the runs to come, by the clock of the spec's zone
		onExcluded OnExcluded
	}{
		{claim: "a holiday and the weekend after it are left out", spec: Spec{Cron: "0 9 * * *", Timezone: "Europe/London"},
			calendars: []Calendar{calendar(t, "uk", "Europe/London", true, christmas)}, after: "2026-12-24T00:00:00Z",
			want: "12-24 09:00, 12-29 09:00, 12-30 09:00"},
		{claim: "moved to the next day they are one run with that day's own", spec: Spec{Cron: "0 9 * * *", Timezone: "Europe/London"},
			calendars: []Calendar{calendar(t, "uk", "Europe/London", true, christmas)}, after: "2026-12-24T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "12-24 09:00, 12-29 09:00, 12-30 09:00"},
		{claim: "a monthly run moves behind the weekend", spec: Spec{Cron: "30 8 1 * *", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "we", "UTC", true, "")}, after: "2026-07-01T09:00:00Z", onExcluded: OnExcludedNextDay,
			want: "08-03 08:30, 09-01 08:30, 10-01 08:30, 11-02 08:30"},
		{claim: "or before it", spec: Spec{Cron: "30 8 1 * *", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "we", "UTC", true, "")}, after: "2026-07-01T09:00:00Z", onExcluded: OnExcludedPreviousDay,
			want: "07-31 08:30, 09-01 08:30, 10-01 08:30, 10-30 08:30"},
		{claim: "times of several excluded days come in order, each once", spec: Spec{Cron: "0 9,17 * * 6,0", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "we", "UTC", true, "")}, after: "2026-11-27T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "11-30 09:00, 11-30 17:00, 12-07 09:00, 12-07 17:00"},
		{claim: "a day has 24 hours or 23 in the calendar's zone, whatever the spec's", spec: Spec{Cron: "0 * * * *", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "ny", "America/New_York", false, "2026-03-08")}, after: "2026-03-08T03:30:00Z",
			want: "03-08 04:00, 03-09 04:00"}, // 23 hours
		{claim: "a day that its zone leaves out excludes nothing", spec: Spec{Cron: "0 */12 * * *", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "apia", "Pacific/Apia", false, "2011-12-30")}, after: "2011-12-29T12:00:00Z",
			want: "12-30 00:00, 12-30 12:00, 12-31 00:00"},
		{claim: "nothing moves to a day that the zone leaves out", spec: Spec{Cron: "0 9 29 12 *", Timezone: "Pacific/Apia"},
			calendars: []Calendar{calendar(t, "apia", "Pacific/Apia", false, "2011-12-29")}, after: "2011-12-01T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "12-31 09:00"},
		{claim: "and nothing moves from one", spec: Spec{Cron: "0 9 30 12 *", Timezone: "Pacific/Apia"},
			calendars: []Calendar{calendar(t, "apia", "Pacific/Apia", false, "2011-12-31")}, after: "2011-12-01T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "12-30 09:00"}, // of 2012
		{claim: "a gap across midnight lets the day before run at its end", spec: Spec{Cron: "30 23 * * *", Timezone: "America/Nuuk", StartAt: instantOf(t, "2024-03-31T01:00:00Z")},
			calendars: []Calendar{calendar(t, "c", "America/Nuuk", false, "2024-03-29")}, after: "2024-03-01T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "03-31 00:00, 03-31 23:30, 04-01 23:30"},
		{claim: "what moves into a gap runs at its end, as one with that day's own", spec: Spec{Cron: "30 2 * * *", Timezone: "America/New_York"},
			calendars: []Calendar{calendar(t, "c", "America/New_York", false, "2026-03-07")}, after: "2026-03-07T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "03-08 03:00, 03-09 02:30"},
		{claim: "what comes from a gap has the time that was left out", spec: Spec{Cron: "30 2 8 * *", Timezone: "America/New_York"},
			calendars: []Calendar{calendar(t, "c", "America/New_York", false, "2026-03-08")}, after: "2026-03-01T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "03-09 02:30, 04-08 02:30"},
		{claim: "what moves to a time that comes twice runs the first time", spec: Spec{Cron: "30 1 31 10 *", Timezone: "America/New_York"},
			calendars: []Calendar{calendar(t, "c", "America/New_York", false, "2026-10-31")}, after: "2026-10-31T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "11-01 01:30"},
		{claim: "elapsed time moves by 24 hours", spec: Spec{Every: 14 * 24 * time.Hour, Timezone: "America/New_York", StartAt: instantOf(t, "2026-10-17T14:00:00Z")},
			calendars: []Calendar{calendar(t, "c", "America/New_York", false, "2026-10-31..2026-11-01")}, after: "2026-10-18T00:00:00Z", onExcluded: OnExcludedNextDay,
			want: "11-02 09:00, 11-14 09:00"},
		{claim: "at moves, too", spec: Spec{At: instantOf(t, "2026-12-25T08:15:00Z"), Timezone: "Europe/London"},
			calendars: []Calendar{calendar(t, "uk", "Europe/London", true, christmas)}, after: "2026-12-01T00:00:00Z", onExcluded: OnExcludedNextDay, want: "12-29 08:15"},
		{claim: "or is taken away", spec: Spec{At: instantOf(t, "2026-12-25T08:15:00Z"), Timezone: "Europe/London"},
			calendars: []Calendar{calendar(t, "uk", "Europe/London", true, christmas)}, after: "2026-12-01T00:00:00Z", want: ""},
		{claim: "nothing moves out of the window", spec: Spec{Cron: "0 9 * * 6", Timezone: "UTC", EndAt: instantOf(t, "2026-11-30T09:00:00Z")},
			calendars: []Calendar{calendar(t, "we", "UTC", true, "")}, after: "2026-11-01T08:00:00Z", onExcluded: OnExcludedNextDay,
			want: "11-02 09:00, 11-09 09:00, 11-16 09:00, 11-23 09:00"},
		{claim: "nothing moves into it", spec: Spec{Cron: "0 9 * * 6", Timezone: "UTC", StartAt: instantOf(t, "2026-11-22T00:00:00Z"), EndAt: instantOf(t, "2026-12-05T09:00:00Z")},
			calendars: []Calendar{calendar(t, "we", "UTC", true, "")}, after: "2026-11-01T00:00:00Z", onExcluded: OnExcludedPreviousDay,
			want: "11-27 09:00"},
		{claim: "several calendars exclude what any of them does", spec: Spec{Cron: "0 12 * * *", Timezone: "UTC"},
			calendars: []Calendar{calendar(t, "a", "Asia/Tokyo", false, "2026-11-24"), calendar(t, "b", "America/New_York", false, "2026-11-25..2026-11-26")}, after: "2026-11-23T00:00:00Z",
			want: "11-23 12:00, 11-27 12:00"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			row.spec.OnExcluded = row.onExcluded
			timing := timingOf(t, row.spec, time.Time{}, row.calendars...)
			var got []string
			at := instantOf(t, row.after)
			for range strings.Count(row.want, ",") + 1 {
				if at = timing.Next(at); at.IsZero() {
					break
				}
				got = append(got, at.In(timing.Zone()).Format("01-02 15:04"))
			}
			if strings.Join(got, ", ") != row.want {
				t.Errorf("it runs at %s, not at %s", strings.Join(got, ", "), row.want)
			}
		})
	}
}

func instantOf(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

var loadedZones sync.Map // loading one reads its file

func loaded(timezone string) *time.Location {
	if zone, ok := loadedZones.Load(timezone); ok {
		return zone.(*time.Location)
	}
	zone, err := time.LoadLocation(timezone)
	if err != nil {
		panic(err)
	}
	loadedZones.Store(timezone, zone)
	return zone
}

// excludedPlainly asks every calendar, every range, day by day.
func excludedPlainly(calendars []Calendar, at time.Time) bool {
	for _, c := range calendars {
		local := at.In(loaded(c.Timezone))
		if weekday := local.Weekday(); c.Weekends && (weekday == time.Saturday || weekday == time.Sunday) {
			return true
		}
		today := local.Format(time.DateOnly)
		for _, r := range c.Days {
			if r.From.String() <= today && today <= r.To.String() {
				return true
			}
		}
	}
	return false
}

// lanesPlainly is the schedules at one time of day each that the spec comes down
// to, and for each the schedule of every day at that time.
func lanesPlainly(t *rapid.T, spec Spec) (own, daily []*Timing) {
	timing := func(s Spec) *Timing {
		made, err := s.Timing(spec.StartAt)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	if spec.Every > 0 {
		return []*Timing{timing(Spec{Every: spec.Every, Timezone: "UTC"})}, nil
	}
	fields := strings.Fields(spec.Cron)
	for hour := range 24 {
		for minute := range 60 {
			if plainHas(fields[1], hour, 0, 23) && plainHas(fields[0], minute, 0, 59) {
				clock := fmt.Sprintf("%d %d ", minute, hour)
				own = append(own, timing(Spec{Cron: clock + strings.Join(fields[2:], " "), Timezone: spec.Timezone}))
				daily = append(daily, timing(Spec{Cron: clock + "* * *", Timezone: spec.Timezone}))
			}
		}
	}
	return own, daily
}

// runsPlainly lists what runs from from to to, both included.
func runsPlainly(t *rapid.T, spec Spec, calendars []Calendar, from, to time.Time) []time.Time {
	within := func(at time.Time) bool {
		return !at.Before(spec.StartAt) && (spec.EndAt.IsZero() || at.Before(spec.EndAt))
	}
	// No run of these calendars moves further than that.
	const furthest = 60 * 24 * time.Hour
	var runs []time.Time
	own, daily := lanesPlainly(t, spec)
	for i, lane := range own {
		for at := lane.Next(from.Add(-furthest)); !at.IsZero() && !at.After(to.Add(furthest)); at = lane.Next(at) {
			run := at
			for within(at) && excludedPlainly(calendars, run) && run.Sub(at).Abs() < furthest {
				switch {
				case spec.Every > 0 && spec.OnExcluded == OnExcludedNextDay:
					run = run.Add(24 * time.Hour)
				case spec.Every > 0:
					run = run.Add(-24 * time.Hour)
				case spec.OnExcluded == OnExcludedNextDay:
					run = daily[i].Next(run)
				default:
					run = daily[i].Latest(run.Add(-1))
				}
			}
			if within(at) && within(run) && !run.Before(from) && !run.After(to) && !excludedPlainly(calendars, run) {
				runs = append(runs, run)
			}
		}
	}
	slices.SortFunc(runs, time.Time.Compare)
	return slices.CompactFunc(runs, time.Time.Equal)
}

// randomCalendars are 1 to 3 whose days lie around the instant.
func randomCalendars(r drawer, zones []string, around time.Time) []Calendar {
	calendars := make([]Calendar, 1+r.IntN(3))
	for i := range calendars {
		c := Calendar{Namespace: "default", Name: fmt.Sprintf("c%d", i), Timezone: zones[r.IntN(len(zones))], Weekends: r.IntN(3) == 0}
		if i > 0 && r.IntN(2) == 0 {
			c.Timezone = calendars[0].Timezone
		}
		for range r.IntN(6) {
			day := DateOf(around).number() - 12 + int64(r.IntN(25))
			c.Days = append(c.Days, DayRange{From: dateOf(day), To: dateOf(day + int64(r.IntN(4)))})
		}
		calendars[i] = c
	}
	return calendars
}

// randomMoment is between 1975 and 2055, mostly near a change of the zone's clock.
func randomMoment(r drawer, timezone string) time.Time {
	at := time.Date(1975+r.IntN(80), 1, 1, 0, 0, r.IntN(366*secondsPerDay), 0, time.UTC)
	if s := stretchAt(at.Unix(), loaded(timezone)); r.IntN(4) > 0 && s.end < at.Unix()+366*secondsPerDay {
		at = time.Unix(s.end, 0).Add(time.Duration(r.IntN(8)-6) * 12 * time.Hour)
	}
	return at.UTC()
}

const casesACheck = 30 // times the 100 checks of rapid: 3,000 in each of the two tests

// What runs is what a slow reading day by day leaves: every occurrence of the
// base that no calendar excludes.
func TestSkippingLeavesWhatAPlainReadingLeaves(t *testing.T) {
	t.Parallel()
	zones := zoneNames(t)
	rapid.Check(t, func(t *rapid.T) {
		for range casesACheck {
			r := drawer{t}
			spec := Spec{Timezone: zones[r.IntN(len(zones))]}
			at := randomMoment(r, spec.Timezone)
			if r.IntN(5) == 0 {
				spec.Every = time.Duration(1+r.IntN(72)) * time.Hour * 7 / 13
			} else {
				spec.Cron = randomSpec(r)
			}
			window(r, &spec, at)
			calendars := randomCalendars(r, zones, at)
			base, err := spec.Timing(at)
			if err != nil {
				continue // never fires
			}
			s := Schedule{Spec: spec, Calendars: calendars, CreatedAt: at}
			for _, c := range calendars {
				s.Spec.Exclude = append(s.Spec.Exclude, c.Name)
			}
			timing, err := s.Timing()
			if err != nil {
				t.Fatal(err)
			}
			from := at.Add(-time.Duration(r.IntN(20*24)) * time.Hour)
			var runs, taken []time.Time
			to := from
			for range 150 {
				next := base.Next(to)
				if next.IsZero() || next.Sub(from) > 2*366*24*time.Hour {
					break
				}
				to = next
				if excludedPlainly(calendars, to) {
					taken = append(taken, to)
				} else {
					runs = append(runs, to)
				}
			}
			agree(t, fmt.Sprintf("%+v with %+v", spec, calendars), timing, runs, from, to, r)
			list := timing.Taken(from, to, 1000)
			if len(list) != len(taken) {
				t.Fatalf("%+v with %+v: from %s to %s it takes %d away, want %d", spec, calendars, from, to, len(list), len(taken))
			}
			for i, x := range list {
				if !x.At.Equal(taken[i]) || x.Calendar == "" || x.Day == "" {
					t.Fatalf("%+v with %+v: it takes away %+v, want %s", spec, calendars, x, taken[i])
				}
			}
			if stretch, ok := timing.taken(from, to); ok != (len(taken) > 0) || ok &&
				(stretch.Count != int64(len(taken)) || !stretch.From.Equal(taken[0]) || !stretch.Until.Equal(taken[len(taken)-1])) {
				t.Fatalf("%+v with %+v: it takes away %+v, want %s", spec, calendars, stretch, taken)
			}
		}
	})
}

// window gives one spec in four a StartAt, an EndAt or both.
func window(r drawer, spec *Spec, around time.Time) {
	if r.IntN(8) == 0 {
		spec.StartAt = around.Add(-time.Duration(r.IntN(20*24*60)) * time.Minute)
	}
	if r.IntN(8) == 0 {
		spec.EndAt = around.Add(time.Duration(1+r.IntN(30*24*60)) * time.Minute)
	}
}

// agree holds the timing to the runs that there are from from, exclusive, to to.
func agree(t *rapid.T, what string, timing *Timing, runs []time.Time, from, to time.Time, r drawer) {
	at, part := from, time.Duration(r.IntN(1000))
	for i, want := range runs {
		got := timing.Next(at)
		if !got.Equal(want) {
			t.Fatalf("%s: after %s it runs at %s, want %s", what, at, got, want)
		}
		if latest := timing.Latest(want.Add(-1)); i > 0 && !latest.Equal(runs[i-1]) {
			t.Fatalf("%s: the latest before %s is %s, want %s", what, want, latest, runs[i-1])
		}
		if between := at.Add((want.Sub(at) - 1) / 1000 * part); !timing.Next(between).Equal(want) {
			t.Fatalf("%s: after %s it runs at %s, want %s", what, between, timing.Next(between), want)
		}
		at = want
	}
	if next := timing.Next(at); !next.IsZero() && !next.After(to) {
		t.Fatalf("%s: after %s it runs at %s, want none up to %s", what, at, next, to)
	}
	if latest := timing.Latest(to); len(runs) > 0 && !latest.Equal(at) {
		t.Fatalf("%s: the latest up to %s is %s, want %s", what, to, latest, at)
	}
	if count := timing.Count(from, to); count != int64(len(runs)) {
		t.Fatalf("%s: from %s to %s it runs %d times, want %d: %s", what, from, to, count, len(runs), runs)
	}
}

// The same for runs that move.
func TestMovingGoesWhereAPlainReadingGoes(t *testing.T) {
	t.Parallel()
	zones := zoneNames(t)
	rapid.Check(t, func(t *rapid.T) {
		for range casesACheck {
			r := drawer{t}
			spec := Spec{Timezone: zones[r.IntN(len(zones))], OnExcluded: []OnExcluded{OnExcludedNextDay, OnExcludedPreviousDay}[r.IntN(2)]}
			at := randomMoment(r, spec.Timezone)
			if r.IntN(5) == 0 {
				spec.Every = time.Duration(1+r.IntN(9)) * 24 * time.Hour
				spec.StartAt = at.Add(-time.Duration(r.IntN(30*24*3600)) * time.Second).Add(123456 * time.Microsecond)
				if r.IntN(4) == 0 {
					spec.EndAt = spec.StartAt.Add(time.Duration(1+r.IntN(60*24)) * time.Hour)
				}
			} else {
				times := []string{"0", "30", "0,30", "15,45", "59", "0-4", "20"}
				hours := []string{"0", "1", "2", "3", "0,2", "23", "9", "1-3", "0,12"}
				spec.Cron = times[r.IntN(len(times))] + " " + hours[r.IntN(len(hours))] + " " + randomDays(r)
				window(r, &spec, at)
			}
			calendars := randomCalendars(r, zones, at)
			s := Schedule{Spec: spec, Calendars: calendars, CreatedAt: at}
			for _, c := range calendars {
				s.Spec.Exclude = append(s.Spec.Exclude, c.Name)
			}
			timing, err := s.Timing()
			if err != nil {
				continue // never fires
			}
			from, to := at.Add(-time.Duration(r.IntN(15*24))*time.Hour), at.Add(time.Duration(r.IntN(20*24))*time.Hour)
			agree(t, fmt.Sprintf("%+v with %+v", spec, calendars), timing, runsPlainly(t, spec, calendars, from.Add(1), to), from, to, r)
		}
	})
}

func TestASearchThroughExcludedDaysEndsAfterTwelveYears(t *testing.T) {
	t.Parallel()
	closed := Calendar{Namespace: "default", Name: "closed", Timezone: "Europe/Berlin"}
	for year := range 11 {
		closed.Days = append(closed.Days, days(t, fmt.Sprintf("%d-01-01..%[1]d-12-31", 2027+year))...)
	}
	from := instantOf(t, "2026-12-31T12:00:00Z")
	for _, onExcluded := range []OnExcluded{OnExcludedSkip, OnExcludedNextDay} {
		timing := timingOf(t, Spec{Cron: "0 9 * * *", Timezone: "Europe/Berlin", OnExcluded: onExcluded}, from, closed)
		next := timing.Next(from)
		if want := instantOf(t, "2038-01-01T08:00:00Z"); !next.Equal(want) {
			t.Errorf("%s: after eleven closed years it runs at %s, want %s", onExcluded, next, want)
		}
		if onExcluded == OnExcludedNextDay && timing.Note(next) != "merges 101 runs or more, the others moved by closed" {
			t.Errorf("its note is %q", timing.Note(next))
		}
		two := closed
		two.Days = append(slices.Clone(closed.Days), days(t, "2038-01-01..2038-12-31, 2039-01-01..2039-12-31")...)
		timing = timingOf(t, Spec{Cron: "0 9 * * *", Timezone: "Europe/Berlin", OnExcluded: onExcluded}, from, two)
		if next := timing.Next(from); !next.IsZero() {
			t.Errorf("%s: after thirteen closed years it runs at %s, want never", onExcluded, next)
		}
	}
}

// farApart are zones with eight different offsets.
var farApart = [MaxExclude]string{
	"Asia/Tokyo", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo",
}

// hardCalendars make a search take the most steps that calendars can.
func hardCalendars() map[string][]Calendar {
	// full is as large as a calendar can be: a range of that length every so many days.
	full := func(i int, timezone string, weekends bool, first, every, length int64) Calendar {
		c := Calendar{Namespace: "default", Name: fmt.Sprintf("c%d", i), Timezone: timezone, Weekends: weekends}
		for n := range int64(MaxDayRanges) {
			c.Days = append(c.Days, DayRange{From: dateOf(20000 + first + n*every), To: dateOf(20000 + first + n*every + length - 1)})
		}
		return c
	}
	hard := map[string][]Calendar{
		// Where noon in Tokyo isn't excluded there, it is in New York, the day before.
		"every second day in two zones": {full(0, "Asia/Tokyo", false, 0, 2, 1), full(1, "America/New_York", false, 0, 2, 1)},
	}
	for i, timezone := range farApart {
		n := int64(i)
		for claim, c := range map[string]Calendar{
			"every eighth day in eight zones":           full(i, timezone, false, n, 8, 1),
			"every second day and weekends in eight":    full(i, timezone, true, n%2, 2, 1),
			"eight calendars of one zone in each other": full(i, "Asia/Tokyo", true, n, 8, 1),
			"a thousand years in eight zones":           full(i, timezone, true, 0, 366, 366),
		} {
			hard[claim] = append(hard[claim], c)
		}
	}
	return hard
}

// hardSpecs are those whose occurrences such calendars exclude, or nearly.
func hardSpecs() []Spec {
	specs := []Spec{
		{Cron: "0 12 * * *", Timezone: "Asia/Tokyo"}, {Cron: "0 9 * * 6", Timezone: "America/New_York"}, {Cron: "* * * * * *", Timezone: "America/New_York"},
		{Cron: "0 0 29 2 *", Timezone: "America/New_York"}, {Cron: "*/15 2 * 3 0#2", Timezone: "America/New_York"},
		{Every: 25 * time.Hour, Timezone: "UTC"}, {Every: time.Second, Timezone: "UTC"}, {At: time.Unix(20003*secondsPerDay, 0), Timezone: "UTC"},
	}
	for _, to := range []OnExcluded{OnExcludedNextDay, OnExcludedPreviousDay} {
		specs = append(specs,
			Spec{Cron: "0 0-23 * * *", Timezone: "Asia/Tokyo", OnExcluded: to}, Spec{Cron: "0 0-23 1 * *", Timezone: "Pacific/Apia", OnExcluded: to},
			Spec{Cron: "0 0-23 29 2 *", Timezone: "America/New_York", OnExcluded: to}, Spec{Cron: "0 12 * * 6", Timezone: "America/New_York", OnExcluded: to},
			Spec{Every: 24 * time.Hour, Timezone: "UTC", OnExcluded: to}, Spec{Every: MaxEvery, Timezone: "UTC", OnExcluded: to},
		)
	}
	return specs
}

// hardSchedule has the spec and the calendars.
func hardSchedule(spec Spec, calendars []Calendar) *Schedule {
	s := New()
	s.Spec, s.Calendars, s.CreatedAt = spec, calendars, time.Unix(20000*secondsPerDay, 0)
	for _, c := range calendars {
		s.Spec.Exclude = append(s.Spec.Exclude, c.Name)
	}
	return &s
}

// Not even together with making the timing. Those of a whole range take no long time.
func TestNoCalendarsMakeAnAnswerTakeAMillisecond(t *testing.T) {
	least := func(limit time.Duration, ask func()) time.Duration {
		least := time.Hour
		for try := 0; try < 50 && least > limit; try++ { // the machine may be busy
			start := time.Now()
			ask()
			least = min(least, time.Since(start))
		}
		return least
	}
	const long = 50 * time.Millisecond * raceFactor
	for claim, calendars := range hardCalendars() {
		ready := hardSchedule(hardSpecs()[0], calendars)
		left := time.Millisecond*raceFactor - least(time.Millisecond/2*raceFactor, func() { _, _ = ready.Timing() })
		for _, spec := range hardSpecs() {
			s := hardSchedule(spec, calendars)
			timing, err := s.Timing()
			if err != nil {
				t.Fatal(err)
			}
			for _, year := range []int{0, 1, 5, 11, 27, 43, 500, 7000} {
				at := s.CreatedAt.AddDate(year, 0, 0)
				next := timing.Next(at)
				if took := least(left, func() { timing.Next(at) }); took > left {
					t.Errorf("%s: Next of %+v takes %v", claim, spec, took)
				}
				if took := least(left, func() { timing.Latest(at) }); took > left {
					t.Errorf("%s: Latest of %+v takes %v", claim, spec, took)
				}
				if next.IsZero() {
					continue
				}
				if took := least(left, func() { timing.Note(next) }); took > left {
					t.Errorf("%s: Note of %+v takes %v", claim, spec, took)
				}
			}
			if took := least(long, func() { timing.Count(s.CreatedAt, time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC)) }); took > long {
				t.Errorf("%s: Count of %+v takes %v", claim, spec, took)
			}
			if took := least(long, func() { timing.Taken(s.CreatedAt, s.CreatedAt.AddDate(100, 0, 0), 1000) }); took > long {
				t.Errorf("%s: Taken of %+v takes %v", claim, spec, took)
			}
		}
	}
}

func BenchmarkNextWithHardCalendars(b *testing.B) {
	calendars := hardCalendars()
	for _, claim := range slices.Sorted(maps.Keys(calendars)) {
		for _, spec := range hardSpecs() {
			b.Run(fmt.Sprintf("%s/%s%s %s", claim, spec.Cron, strings.TrimPrefix(spec.Every.String(), "0s"), spec.OnExcluded), func(b *testing.B) {
				s := hardSchedule(spec, calendars[claim])
				timing, err := s.Timing()
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					timing.Next(s.CreatedAt)
				}
			})
		}
	}
}

// Every turn of a schedule begins with making its timing.
func BenchmarkTiming(b *testing.B) {
	spec := Spec{Cron: "0 9 * * 1-5", Timezone: "America/New_York"}
	year := days(b, strings.Repeat("2026-11-26,2026-12-25,2026-12-28,", 5))
	for claim, calendars := range map[string][]Calendar{
		"without a calendar":       nil,
		"with 15 days":             {{Name: "c0", Timezone: "America/New_York", Weekends: true, Days: year}},
		"with 1000 days":           hardCalendars()["every second day in two zones"][1:],
		"with 8000 days":           hardCalendars()["every eighth day in eight zones"],
		"with 8000 in one zone":    hardCalendars()["eight calendars of one zone in each other"],
		"that moves, with 15 days": {{Name: "c0", Timezone: "America/New_York", Weekends: true, Days: year}},
	} {
		b.Run(claim, func(b *testing.B) {
			s := hardSchedule(spec, calendars)
			if strings.HasPrefix(claim, "that moves") {
				s.Spec.OnExcluded = OnExcludedNextDay
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Timing(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDueWithACalendar(b *testing.B) {
	for _, n := range []int{0, 15, 300, MaxDayRanges} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := hourly()
			s.Spec.Cron, s.Spec.Timezone, s.CreatedAt = "0 9 * * *", "America/New_York", clock(b, "00:00:00")
			if n > 0 {
				c := Calendar{Namespace: "default", Name: "c", Timezone: "America/New_York", Weekends: true}
				for i := range int64(n) {
					day := dateOf(20000 + 3*i)
					c.Days = append(c.Days, DayRange{From: day, To: day})
				}
				s.Spec.Exclude, s.Calendars = []string{"c"}, []Calendar{c}
			}
			cursor := Plan(s, Cursor{ChangedAt: clock(b, "00:00:00")}, time.Time{})
			for b.Loop() {
				Due(s, cursor, Turn{Now: cursor.FireAt}, Rules{MisfireAfter: time.Second})
			}
		})
	}
}

func BenchmarkNextWithACalendar(b *testing.B) {
	for _, onExcluded := range []OnExcluded{OnExcludedSkip, OnExcludedNextDay} {
		b.Run(string(onExcluded), func(b *testing.B) {
			timing := timingOf(b, Spec{Cron: "0 9 * * *", Timezone: "America/New_York", OnExcluded: onExcluded}, time.Time{},
				calendar(b, "c", "America/New_York", true, "2026-11-26 Thanksgiving, 2026-12-25 Christmas"))
			at := clock(b, "14:00:00")
			for b.Loop() {
				timing.Next(at)
			}
		})
	}
}
