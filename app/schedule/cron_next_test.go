package schedule

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Known answers, each with its reason. Those that need newer zone data than this
// machine has are held to the embedded data in package zonedata.
func TestNextKeepsTheFacts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../testdata/next/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Facts []struct {
			ID, Group, Expr, TZ, Note string
			From                      time.Time
			Expect                    []time.Time
			Refused                   bool
			MinTZData                 string `json:"min_tzdata"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Facts) != 113 {
		t.Fatalf("there are %d facts, want 113", len(file.Facts))
	}
	version := zoneDataVersion(t)
	for _, fact := range file.Facts {
		t.Run(fact.ID, func(t *testing.T) {
			t.Parallel()
			if fact.MinTZData > version {
				t.Skipf("needs zone data %s, these are %s: %s", fact.MinTZData, version, fact.Note)
			}
			c, err := ParseCron(fact.Expr)
			if fact.Refused {
				if err == nil || len(fact.Expect) > 0 {
					t.Fatalf("%q is accepted, want it refused: %s", fact.Expr, fact.Note)
				}
				return
			}
			if err != nil {
				t.Fatalf("%q %v; want it accepted: %s", fact.Expr, err, fact.Note)
			}
			if len(fact.Expect) == 0 {
				t.Fatalf("%q has no answers to hold it to", fact.Expr)
			}
			loc, at := zone(t, fact.TZ), fact.From
			for _, want := range fact.Expect {
				got := c.Next(at, loc)
				if !got.Equal(want) {
					t.Fatalf("%q in %s after %s runs at %s, want %s: %s",
						fact.Expr, fact.TZ, at.Format(time.RFC3339), got.UTC().Format(time.RFC3339), want.Format(time.RFC3339), fact.Note)
				}
				if latest := c.Latest(want, loc); !latest.Equal(want) {
					t.Errorf("%q in %s: the latest up to %s is %s, want that instant itself", fact.Expr, fact.TZ, want, latest.UTC())
				}
				at = got
			}
			if n := c.Count(fact.From, at, loc); n != int64(len(fact.Expect)) {
				t.Errorf("%q in %s from %s to %s runs %d times, want %d: %s", fact.Expr, fact.TZ, fact.From, at, n, len(fact.Expect), fact.Note)
			}
		})
	}
}

// What is beyond the facts: history, calendar changes, the ends of time.
func TestNextAtTheEdges(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ claim, expr, tz, from, want string }{
		{"a whole day repeats (Kwajalein went back 23 hours): the first time counts", "0 12 * * *", "Pacific/Kwajalein", "1969-09-29T12:00:00Z", "1969-09-30T01:00:00Z"},
		{"and the repeated noon is not run again", "0 12 * * *", "Pacific/Kwajalein", "1969-09-30T01:00:00Z", "1969-10-02T00:00:00Z"},
		{"a wildcard runs in both", "0 12 * * * *", "Pacific/Kwajalein", "1969-09-30T12:12:00Z", "1969-09-30T13:12:00Z"},
		{"a whole day is missing (Kwajalein went ahead): a calendar change is not caught up", "0 12 21 8 *", "Pacific/Kwajalein", "1993-01-01T00:00:00Z", "1994-08-21T00:00:00Z"},
		{"a gap of exactly 3 hours is caught up (Casey, 2009)", "30 3 18 10 *", "Antarctica/Casey", "2009-10-01T00:00:00Z", "2009-10-17T18:00:00Z"},
		{"local mean time with seconds (Paris, UTC+0:09:21)", "0 12 * * *", "Europe/Paris", "1900-01-01T00:00:00Z", "1900-01-01T11:50:39Z"},
		{"the day New York gave up local mean time: noon came twice, the first counts", "0 12 * * *", "America/New_York", "1883-11-18T00:00:00Z", "1883-11-18T16:56:02Z"},
		{"and the second is not a run", "0 12 * * *", "America/New_York", "1883-11-18T16:56:02Z", "1883-11-19T17:00:00Z"},
		{"the last second of a year", "59 59 23 31 12 *", "UTC", "2026-01-01T00:00:00Z", "2026-12-31T23:59:59Z"},
		{"negative DST (Dublin's winter)", "30 1 * * *", "Europe/Dublin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"no leap day in 2100", "0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", "2104-02-29T00:00:00Z"},
		{"31 December of a leap year far ahead", "30 12 * * *", "America/New_York", "2040-12-31T00:00:00Z", "2040-12-31T17:30:00Z"},
		{"and the day after", "30 12 * * *", "America/New_York", "2040-12-31T17:30:00Z", "2041-01-01T17:30:00Z"},
		{"a time that the clock leaves out every year never comes", "*/15 2 * 3 0#2", "America/New_York", "2040-01-01T00:00:00Z", ""},
		{"the end of the year 9999", "* * * * *", "UTC", "9999-12-31T23:59:00Z", ""},
		{"the beginning", "0 0 * * *", "UTC", "0001-01-01T00:00:00Z", "0001-01-02T00:00:00Z"},
	} {
		from, err := time.Parse(time.RFC3339, test.from)
		if err != nil {
			t.Fatal(err)
		}
		var want time.Time
		if test.want != "" {
			if want, err = time.Parse(time.RFC3339, test.want); err != nil {
				t.Fatal(err)
			}
		}
		if got := mustCron(t, test.expr).Next(from, zone(t, test.tz)); !got.Equal(want) {
			t.Errorf("%s: %q in %s after %s runs at %s, want %s", test.claim, test.expr, test.tz, test.from, got.UTC().Format(time.RFC3339), test.want)
		}
	}
}

func TestLatestEndsWhereNothingCame(t *testing.T) {
	t.Parallel()
	leftOut := mustCron(t, "*/15 2 * 3 0#2") // since 2007
	if latest := leftOut.Latest(time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), zone(t, "America/New_York")); !latest.IsZero() {
		t.Errorf("%s is within a gap of the clock, want none", latest)
	}
	leapDay := mustCron(t, "0 0 29 2 *")
	if latest := leapDay.Latest(time.Date(4, 2, 28, 0, 0, 0, 0, time.UTC), time.UTC); !latest.IsZero() {
		t.Errorf("%s is before the year 1, want none", latest)
	}
}

func TestInstantsOutsideTheCalendarHaveNoNextOrLatest(t *testing.T) {
	t.Parallel()
	c, loc := mustCron(t, "* * * * *"), zone(t, "America/New_York")
	for _, at := range []time.Time{
		time.Unix(math.MaxInt64, 0), time.Unix(math.MinInt64, 0), time.Unix(1<<55, 0), time.Unix(-1<<55, 0),
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 23, 0, 0, 0, time.UTC),
	} {
		if next := c.Next(at, loc); !next.IsZero() {
			t.Errorf("after %d comes %s, want none", at.Unix(), next)
		}
		if latest := c.Latest(at, loc); !latest.IsZero() {
			t.Errorf("up to %d came %s, want none", at.Unix(), latest)
		}
	}
	decade := c.Count(time.Date(9990, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<55, 0), time.UTC)
	if want := int64((10*365+2)*24*60 - 1); decade != want {
		t.Errorf("the last ten years have %d minutes, want %d", decade, want)
	}
	if n := c.Count(time.Unix(60, 0), time.Unix(0, 0), loc); n != 0 {
		t.Errorf("a window that ends before it begins has %d runs, want 0", n)
	}
}

// The simulation's size, and where its random numbers begin: make nightly sets both.
var (
	triples = flag.Int("triples", 200_000, "schedules, zones and instants to simulate")
	seed    = flag.Uint64("seed", 20261123, "where the simulation's random numbers begin")
)

// Schedules and instants at random in every zone, most of them near a change of
// the clock, against a simulation that steps through real time.
func TestNextIsWhatTheSimulatedCronDoes(t *testing.T) {
	t.Parallel()
	zones := zoneNames(t)
	var next, runs, near atomic.Int64
	for worker := range runtime.GOMAXPROCS(0) {
		t.Run(fmt.Sprint("worker ", worker), func(t *testing.T) {
			t.Parallel()
			for !t.Failed() {
				number := int(next.Add(1)) - 1
				if number >= len(zones) {
					return
				}
				z := simulatedZone{name: zones[number], loc: zone(t, zones[number]), r: rand.New(rand.NewPCG(*seed, uint64(number)))}
				for range *triples/len(zones) + 1 {
					z.compare(t)
				}
				runs.Add(z.runs)
				near.Add(z.near)
			}
		})
	}
	t.Cleanup(func() {
		t.Logf("seed %d: %d triples, %d of them near a change of the clock, %d runs", *seed, (*triples/len(zones)+1)*len(zones), near.Load(), runs.Load())
	})
}

// simulatedZone is where schedules are simulated.
type simulatedZone struct {
	name string
	loc  *time.Location
	r    *rand.Rand

	changes    map[int][]int64   // of the years that were asked for
	named      map[string][]bool // which values a field names
	runs, near int64
}

// compare holds Next, Latest and Count to one simulation.
func (z *simulatedZone) compare(t *testing.T) {
	expr := randomSpec(z.r)
	c, err := ParseCron(expr)
	for err != nil { // it never fires
		expr = randomSpec(z.r)
		c, err = ParseCron(expr)
	}
	tick, span, before := int64(60), int64(30*3600), int64(6*3600)
	year := 1973 + z.r.IntN(80)
	for try := 0; try < 10 && len(z.changesIn(year)) == 0; try++ {
		year = 1973 + z.r.IntN(80)
	}
	if z.r.IntN(40) == 0 { // when clocks went back by up to a day
		year, before = 1870+z.r.IntN(103), 26*3600
	}
	if len(strings.Fields(expr)) == 6 || year < 1973 { // until then some offsets had seconds
		tick, span = 1, 3*3600
	}
	start := z.instant(year, span)
	simulated, end := z.simulate(expr, start, start+span, tick, before)
	z.runs += int64(len(simulated))

	from := time.Unix(start, z.r.Int64N(1e9))
	fail := func(format string, args ...any) {
		t.Helper()
		t.Fatalf("seed %d: %q in %s from %s: "+format, append([]any{*seed, expr, z.name, from.In(z.loc)}, args...)...)
	}
	at := from
	for _, want := range simulated {
		next := c.Next(at, z.loc)
		if next.Unix() != want || !next.After(at) {
			fail("after %s it runs at %s, in the simulation at %s", at.In(z.loc), next, time.Unix(want, 0).In(z.loc))
		}
		at = next
	}
	if next := c.Next(at, z.loc); !next.IsZero() && next.Unix() <= end {
		fail("after %s it runs at %s, in the simulation not before %s", at.In(z.loc), next, time.Unix(end, 0).In(z.loc))
	}
	upTo := start + 1 + z.r.Int64N(end-start)
	n, _ := slices.BinarySearch(simulated, upTo+1)
	if got := c.Count(from, time.Unix(upTo, 0), z.loc); got != int64(n) {
		fail("up to %s it runs %d times, in the simulation %d times", time.Unix(upTo, 0).In(z.loc), got, n)
	}
	latest := c.Latest(time.Unix(upTo, 999), z.loc)
	if n > 0 && latest.Unix() != simulated[n-1] {
		fail("the latest up to %s is %s, in the simulation %s", time.Unix(upTo, 0).In(z.loc), latest, time.Unix(simulated[n-1], 0).In(z.loc))
	}
	if n == 0 && latest.Unix() > start {
		fail("the latest up to %s is %s, in the simulation there is none", time.Unix(upTo, 0).In(z.loc), latest)
	}
}

// instant is some instant of the year, four times in five shortly before a change
// of the clock, where there is one.
func (z *simulatedZone) instant(year int, span int64) int64 {
	changes := z.changesIn(year)
	if z.r.IntN(5) == 0 || len(changes) == 0 {
		return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix() + z.r.Int64N(365*secondsPerDay)
	}
	z.near++
	return changes[z.r.IntN(len(changes))] - z.r.Int64N(span>>z.r.IntN(10))
}

func (z *simulatedZone) changesIn(year int) []int64 {
	changes, known := z.changes[year]
	if !known {
		if z.changes == nil {
			z.changes = map[int][]int64{}
		}
		start := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
		changes = changesOf(z.loc, start, start+366*secondsPerDay)
		z.changes[year] = changes
	}
	return changes
}

// mostRuns end a simulation.
const mostRuns = 8

// simulate is Vixie cron as its manual tells it: wake at every tick of real time
// and look at the clock on the wall. A wildcard schedule fires when the clock
// shows its time. For any other, remember how far the clock has come: fire for
// what it shows for the first time, and after a leap of up to 3 hours for what
// it left out. The result is what fires after from and not after to, or the first
// few of that, and how far it looked. Before says how much earlier it begins, to
// see how far the clock came before it went back.
func (z *simulatedZone) simulate(expr string, from, to, tick, before int64) (fired []int64, end int64) {
	fields := strings.Fields(expr)
	if len(fields) == 5 {
		fields = append([]string{"0"}, fields...)
	}
	seconds, minutes, hours := z.values(fields[0], 60), z.values(fields[1], 60), z.values(fields[2], 24)
	today, todayMatches := int64(math.MinInt64), false
	matches := func(wall int64) bool {
		clock := (wall%secondsPerDay + secondsPerDay) % secondsPerDay
		if !hours[clock/3600] || !minutes[clock/60%60] || !seconds[clock%60] {
			return false
		}
		if day := (wall - clock) / secondsPerDay; day != today {
			today, todayMatches = day, plainDay(fields[3], fields[4], fields[5], time.Unix(day*secondsPerDay, 0).UTC())
		}
		return todayMatches
	}
	wildcard := false
	for _, field := range fields[:3] {
		wildcard = wildcard || field[0] == '*'
	}

	begin := from - before
	begin -= (begin%tick + tick) % tick
	changes := changesOf(z.loc, begin, to+1)
	offset, reached := offsetAt(begin, z.loc), int64(math.MinInt64)
	for at := begin; at <= to; at += tick {
		for len(changes) > 0 && changes[0] <= at {
			offset, changes = offsetAt(changes[0], z.loc), changes[1:]
		}
		wall := at + offset
		fires := false
		if wildcard {
			fires = at > from && matches(wall)
		} else if wall >= reached {
			if at > from {
				fires = matches(wall)
				for left := reached; !fires && wall-reached <= 3*3600 && left < wall; left += tick {
					fires = matches(left)
				}
			}
			reached = wall + tick
		}
		if fires {
			if fired = append(fired, at); len(fired) == mostRuns {
				return fired, at
			}
		}
	}
	return fired, to
}

// values is which values the field names.
func (z *simulatedZone) values(field string, size int) []bool {
	key := fmt.Sprint(size, " ", field)
	has, known := z.named[key]
	if !known {
		if z.named == nil {
			z.named = map[string][]bool{}
		}
		has = make([]bool, size)
		for value := range has {
			has[value] = plainHas(field, value, 0, size-1)
		}
		z.named[key] = has
	}
	return has
}

// changesOf finds the instants at which the zone's offset changes, by asking for
// the offset alone.
func changesOf(loc *time.Location, from, to int64) []int64 {
	var changes []int64
	offset := offsetAt(from, loc)
	for at := from; at < to; at += secondsPerDay {
		next := offsetAt(at+secondsPerDay, loc)
		if next == offset {
			continue
		}
		before, after := at, at+secondsPerDay
		for after-before > 1 {
			if middle := before + (after-before)/2; offsetAt(middle, loc) == offset {
				before = middle
			} else {
				after = middle
			}
		}
		changes, offset = append(changes, after), next
	}
	return changes
}

// Whatever time.ZoneBounds says, the stretches of every zone follow one another
// without end, and the clock changes exactly where they meet.
func TestStretchesMeetWhereTheClockChanges(t *testing.T) {
	t.Parallel()
	zones := map[string]*time.Location{}
	for _, name := range zoneNames(t) {
		zones[name] = zone(t, name)
	}
	eras := [][2]int{{1880, 1884}, {1916, 1920}, {1940, 1948}, {2005, 2031}, {2037, 2042}}
	if *triples > 200_000 {
		eras = [][2]int{{1840, 2110}}
	}
	for name, loc := range zones {
		for _, era := range eras {
			from := time.Date(era[0], 1, 1, 0, 0, 0, 0, time.UTC).Unix()
			to := time.Date(era[1], 1, 1, 0, 0, 0, 0, time.UTC).Unix()
			var met []int64
			for at := from; at < to; {
				s := stretchAt(at, loc)
				if s.start > at || s.end <= at {
					t.Fatalf("%s: the stretch of %d is from %d to %d", name, at, s.start, s.end)
				}
				if back := stretchAt(min(s.end, to)-1, loc); len(met) > 0 && back.start < met[len(met)-1] {
					t.Fatalf("%s: seen from its end, the stretch of %s begins at %s", name, time.Unix(at, 0).UTC(), time.Unix(back.start, 0).UTC())
				}
				at = s.end
				if at <= to && offsetAt(at, loc) != s.offset {
					met = append(met, at)
				}
			}
			if changes := changesOf(loc, from, to); !slices.Equal(met, changes) {
				t.Errorf("%s: in the years from %d the stretches meet at %v, the clock changes at %v", name, era[0], met, changes)
			}
		}
	}
}

// Zones that only a rule describes are the ones that time.ZoneBounds gets wrong,
// and a rule may be as odd as it likes: every answer is later than the question.
func TestRuleOnlyZonesGoOnForEver(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{
		"EST5EDT,M3.2.0,M11.1.0", "<-02>2<-01>,M3.5.0/-1,M10.5.0/0", "AEST-10AEDT,M10.1.0,M4.1.0/3", "IST-1GMT0,M10.5.0,M3.5.0/1",
		"AAA0BBB,J1/0,J365/24", "AAA0BBB,0/0,J365/25", "AAA24BBB-24,M6.1.0,M6.2.0", "AAA-24BBB24,J1/0,J2/0", "AAA12BBB,M12.5.0/167,M1.1.0/-167",
	} {
		loc := ruleZone(t, rule)
		for _, expr := range []string{"30 2 * * *", "*/7 1 * * *", "0 0 29 2 *", "0-59/13 23 31 12 *", "0 0 1-7 1 *"} {
			c := mustCron(t, expr)
			for _, year := range []int{2023, 2024, 2040} {
				first := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
				at := first
				for n := int64(1); n <= 400; n++ {
					next := c.Next(at, loc)
					if !next.After(at) {
						t.Fatalf("%q in %s after %s runs at %s", expr, rule, at, next)
					}
					if latest := c.Latest(next, loc); !latest.Equal(next) {
						t.Fatalf("%q in %s: the latest up to %s is %s", expr, rule, next, latest)
					}
					if n%50 == 0 {
						if counted := c.Count(first, next, loc); counted != n {
							t.Fatalf("%q in %s from %s to %s runs %d times, want %d", expr, rule, first, next, counted, n)
						}
					}
					at = next
				}
			}
		}
	}
}

// triple draws a schedule, a zone and an instant.
func triple(t *rapid.T, zones []string) (expr string, c *Cron, loc *time.Location, at time.Time) {
	expr = randomSpec(drawer{t})
	c, err := ParseCron(expr)
	if err != nil {
		t.Skip("never fires")
	}
	name := rapid.SampledFrom(zones).Draw(t, "zone")
	if loc, err = time.LoadLocation(name); err != nil {
		t.Fatal(err)
	}
	at = time.Unix(rapid.Int64Range(-3e9, 5e9).Draw(t, "at"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanosecond"))
	t.Logf("%q in %s from %s", expr, name, at.In(loc))
	return expr, c, loc, at
}

type drawer struct{ t *rapid.T }

func (d drawer) IntN(n int) int { return rapid.IntRange(0, n-1).Draw(d.t, "choice") }

func TestLatestAndCountAgreeWithNext(t *testing.T) {
	t.Parallel()
	zones := zoneNames(t)
	rapid.Check(t, func(t *rapid.T) {
		_, c, loc, from := triple(t, zones)
		at := from
		for n := int64(1); n <= 30; n++ {
			next := c.Next(at, loc)
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("after %s comes %s", at, next)
			}
			gap := int64(next.Sub(at))
			between := at.Add(time.Duration(rapid.Int64Range(0, gap-1).Draw(t, "between")))
			if again := c.Next(between, loc); !again.Equal(next) {
				t.Fatalf("after %s comes %s, but after %s comes %s", at, next, between, again)
			}
			if latest := c.Latest(next, loc); !latest.Equal(next) {
				t.Fatalf("the latest up to %s is %s", next, latest)
			}
			if latest := c.Latest(between, loc); n > 1 && !latest.Equal(at) {
				t.Fatalf("the latest up to %s is %s, want %s", between, latest, at)
			}
			if counted := c.Count(from, next, loc); counted != n {
				t.Fatalf("from %s to %s there are %d, want %d", from, next, counted, n)
			}
			if counted := c.Count(from, next.Add(-1), loc); counted != n-1 {
				t.Fatalf("from %s to just before %s there are %d, want %d", from, next, counted, n-1)
			}
			at = next
		}
	})
}

func TestZonesWithOneOffsetAreUTCShifted(t *testing.T) {
	t.Parallel()
	etc := zone(t, "Etc/UTC")
	rapid.Check(t, func(t *rapid.T) {
		_, c, _, at := triple(t, []string{"UTC"})
		offset := rapid.IntRange(-15*3600, 15*3600).Draw(t, "offset")
		fixed, shift := time.FixedZone("fixed", offset), time.Duration(offset)*time.Second
		for _, ask := range []func(time.Time, *time.Location) time.Time{c.Next, c.Latest} {
			want := ask(at, time.UTC)
			if got := ask(at, etc); !got.Equal(want) {
				t.Fatalf("in UTC it is %s, in Etc/UTC %s", want, got)
			}
			if got := ask(at.Add(-shift), fixed).Add(shift); !want.IsZero() && !got.Equal(want) {
				t.Fatalf("in UTC it is %s, %v away it is %s", want, shift, got)
			}
		}
		// The count of a thousand days is that of its halves.
		middle, end := at.AddDate(0, 0, 400), at.AddDate(0, 0, 1000)
		whole, halves := c.Count(at, end, fixed), c.Count(at, middle, fixed)+c.Count(middle, end, fixed)
		if whole != halves {
			t.Fatalf("a thousand days have %d, their parts %d", whole, halves)
		}
	})
}

func TestNextLatestAndCountAllocateNothing(t *testing.T) {
	loc := zone(t, "America/New_York")
	c := mustCron(t, "30 2 * * *")
	at := time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC)
	if n := testing.AllocsPerRun(100, func() {
		c.Next(at, loc)
		c.Latest(at, loc)
		c.Count(at, at.AddDate(1, 0, 0), loc)
	}); n != 0 {
		t.Errorf("they allocate %v times, want 0", n)
	}
}

// The costliest questions: a leap day eight years away that ZoneBounds answers
// from a rule, and a time that the clock always leaves out, looked for in vain.
func BenchmarkNextAtWorst(b *testing.B) {
	for _, test := range []struct {
		expr, zone string
		year       int
	}{
		{"* 0 29 2 *", "America/New_York", 2096},
		{"0 0 29 2 *", "America/New_York", 2096},
		{"0 0 */28 2 3#5", "America/New_York", 2076},
		{"*/15 2 * 3 0#2", "America/New_York", 2040},
	} {
		b.Run(test.expr, func(b *testing.B) {
			c, loc, at := mustCron(b, test.expr), zone(b, test.zone), time.Date(test.year, 3, 1, 0, 0, 0, 0, time.UTC)
			b.ReportAllocs()
			for b.Loop() {
				c.Next(at, loc)
			}
		})
	}
}

func BenchmarkLatest(b *testing.B) {
	c, loc, at := mustCron(b, "0 3 * * 1-5"), zone(b, "America/New_York"), time.Date(2026, 11, 23, 12, 34, 56, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		c.Latest(at, loc)
	}
}

func BenchmarkCountATenYearStretch(b *testing.B) {
	c, loc, at := mustCron(b, "* * * * * *"), zone(b, "America/New_York"), time.Date(2026, 11, 23, 12, 34, 56, 0, time.UTC)
	b.ReportAllocs()
	for b.Loop() {
		c.Count(at, at.AddDate(10, 0, 0), loc)
	}
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// zoneNames are all names of the time zone database that this machine knows.
func zoneNames(t testing.TB) []string {
	t.Helper()
	text, err := os.ReadFile("../../testdata/next/zones.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := slices.DeleteFunc(strings.Fields(string(text)), func(name string) bool {
		_, err := time.LoadLocation(name)
		return err != nil
	})
	if len(names) < 400 {
		t.Fatalf("only %d zones can be loaded", len(names))
	}
	return names
}

// zoneDataVersion is the release of the zone data that time.LoadLocation reads,
// such as "2025b". Where nothing says so, Winnipeg tells whether they are as new
// as the newest facts: since 2026f its clocks no longer go back in November.
func zoneDataVersion(t testing.TB) string {
	dirs := []string{"/usr/share/zoneinfo", "/usr/share/lib/zoneinfo", "/usr/lib/locale/TZ", "/etc/zoneinfo"}
	if set := os.Getenv("ZONEINFO"); set != "" {
		dirs = []string{set}
	}
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "America", "Winnipeg")); err != nil {
			continue
		}
		if text, err := os.ReadFile(filepath.Join(dir, "tzdata.zi")); err == nil {
			line, _, _ := strings.Cut(string(text), "\n")
			return strings.TrimPrefix(line, "# version ")
		}
		break
	}
	december := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Unix()
	if offsetAt(december, zone(t, "America/Winnipeg")) == -5*3600 {
		return "2026f"
	}
	return "2026e or older"
}

// ruleZone is a zone without a table of changes (RFC 9636: a header, an empty
// block of version 1, and one type without a change).
func ruleZone(t testing.TB, rule string) *time.Location {
	t.Helper()
	header := "TZif2" + strings.Repeat("\x00", 15+4*4) + "\x00\x00\x00\x01\x00\x00\x00\x04"
	block := "\x00\x00\x00\x00\x00\x00" + "LMT\x00"
	loc, err := time.LoadLocationFromTZData(rule, []byte(header+block+header+block+"\n"+rule+"\n"))
	if err != nil {
		t.Fatalf("%s: %v", strconv.Quote(rule), err)
	}
	return loc
}
