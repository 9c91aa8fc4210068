package schedule

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustCron(t testing.TB, expr string) *Cron {
	t.Helper()
	c, err := ParseCron(expr)
	if err != nil {
		t.Fatalf("%q %v", expr, err)
	}
	return c
}

func TestParseCronRefusesWithAReasonThatTeaches(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ expr, reason string }{
		{"", `is empty: write five fields, such as "0 3 * * 1-5", or a nickname, such as "@daily"`},
		{"   ", `is empty: write five fields, such as "0 3 * * 1-5", or a nickname, such as "@daily"`},
		{"* * * *", `has 4 fields: it needs 5 (minute hour day-of-month month day-of-week), or 6 with the second first`},
		{"0 0 0 1 1 * 2027", `has 7 fields: it needs 5 (minute hour day-of-month month day-of-week), or 6 with the second first; the years are bounded by "start_at" and "end_at"`},
		{"5m", `has 1 field: it needs 5 (minute hour day-of-month month day-of-week), or 6 with the second first`},
		{strings.Repeat("1,", 128) + "1 * * * *", `is 265 bytes long: at most 256 are allowed`},
		{"٣ * * * *", `has '\u0663' at byte 1: only the digits 0 to 9, the letters A to Z and * / , - # ? @ are allowed`},
		{"* * * * \xff", `has '\ufffd' at byte 9: only the digits 0 to 9, the letters A to Z and * / , - # ? @ are allowed`},
		{"0 3\v* * *", `has the control character '\v' at byte 4: write one line, its fields separated by spaces or tabs`},
		{"0 3 * * *\n", `has the control character '\n' at byte 10: write one line, its fields separated by spaces or tabs`},
		{"TZ=UTC 0 3 * * *", `begins with TZ=: name the zone in "timezone" instead`},
		{"CRON_TZ=Asia/Tokyo 0 3 * * *", `begins with CRON_TZ=: name the zone in "timezone" instead`},
		{"TZ=Asia/Tokyo", `begins with TZ=: name the zone in "timezone" instead`},
		{"@reboot", `can't be @reboot, because no machine's start belongs to a schedule: use "at" to run once`},
		{"@every 5m", `can't hold @every: use "every" instead of "cron", as "every": "5m"`},
		{"@every now and then", `can't hold @every: use "every" instead of "cron", such as "every": "90m"`},
		{"@fortnightly", `has the unknown nickname "@fortnightly": there are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly`},
		{"@Daily @weekly", `has more than the nickname @daily: write it alone`},
		{"61 * * * *", `has 61 in its minute field: allowed are 0 to 59, ranges (1-5) and steps (*/2)`},
		{"99999999999999999999 * * * *", `has "99999999999999999999" in its minute field: allowed are 0 to 59, ranges (1-5) and steps (*/2)`},
		{"0 24 * * *", `has 24 in its hour field: midnight is 0; allowed are 0 to 23, ranges (1-5) and steps (*/2)`},
		{"0 0 32 * *", `has 32 in its day-of-month field: allowed are 1 to 31, L, L-n, LW and nW (such as 15W), ranges (1-5) and steps (*/2)`},
		{"0 0 * JUNE *", `has "JUNE" in its month field: write JUN; allowed are 1 to 12, JAN to DEC, ranges (1-6) and steps (*/3)`},
		{"0 0 * * 8", `has 8 in its day-of-week field: allowed are 0 to 7 (both are Sunday), SUN to SAT, n#k (such as 5#3), nL, ranges (1-5) and steps (*/2)`},
		{"0 0 * * Monday", `has "Monday" in its day-of-week field: write MON; allowed are 0 to 7 (both are Sunday), SUN to SAT, n#k (such as 5#3), nL, ranges (1-5) and steps (*/2)`},
		{"0 0 * * MONDAY-", `has "MONDAY-" in its day-of-week field: write MON; allowed are 0 to 7 (both are Sunday), SUN to SAT, n#k (such as 5#3), nL, ranges (1-5) and steps (*/2)`},
		{"0 0 * * MON-", `has "MON-" in its day-of-week field: allowed are 0 to 7 (both are Sunday), SUN to SAT, n#k (such as 5#3), nL, ranges (1-5) and steps (*/2)`},
		{"/5 * * * *", `has "/5" in its minute field: write */5; allowed are 0 to 59, ranges (1-5) and steps (*/2)`},
		{"-1 * * * *", `has "-1" in its minute field: allowed are 0 to 59, ranges (1-5) and steps (*/2)`},
		{"1.5 * * * *", `has "1.5" in its minute field: allowed are 0 to 59, ranges (1-5) and steps (*/2)`},
		{"1,,2 * * * *", `has an empty item in its minute field: remove the comma too many from "1,,2"`},
		{"0 22-2 * * *", `has the reversed range 22-2 in its hour field: write 22-23,0-2`},
		{"0 0 * * FRI-MON", `has the reversed range FRI-MON in its day-of-week field: write FRI-SAT,SUN-MON`},
		{"0 0 * * 5-1", `has the reversed range 5-1 in its day-of-week field: write 5-6,0-1`},
		{"0 0 * DEC-JAN *", `has the reversed range DEC-JAN in its month field: write DEC,JAN`},
		{"0 0 * * SAT-MON", `has the reversed range SAT-MON in its day-of-week field: write SAT,SUN-MON`},
		{"0 0 * nov-feb *", `has the reversed range nov-feb in its month field: write nov-DEC,JAN-feb`},
		{"*/0 * * * *", `has "*/0" in its minute field: the step after / must be a number from 1 to 60`},
		{"*/-5 * * * *", `has "*/-5" in its minute field: the step after / must be a number from 1 to 60`},
		{"*/90 * * * *", `has the step 90 in its minute field, which has 60 values: to run every 90m use "every": "90m" instead of "cron"`},
		{"0 */36 * * *", `has the step 36 in its hour field, which has 24 values: to run every 36h use "every": "36h" instead of "cron"`},
		{"0 0 1 */13 *", `has the step 13 in its month field, which has 12 values: the step must be from 1 to 12`},
		{"0 0 W * *", `has "W" in its day-of-month field: W, the nearest weekday, follows a day from 1 to 31, as in 15W, or L`},
		{"0 0 L-31 * *", `has "L-31" in its day-of-month field: L-n counts 1 to 30 days back from the last, which is L`},
		{"0 0 L-0 * *", `has "L-0" in its day-of-month field: L-n counts 1 to 30 days back from the last, which is L`},
		{"0 0 * * L", `has "L" in its day-of-week field: name the day as well, as in 5L, the month's last Friday`},
		{"0 0 * * MON#6", `has "MON#6" in its day-of-week field: # is followed by 1 to 5, or L for the last in the month`},
		{"0 0 30 2 *", `never fires: none of its months has such a day (L is the last day of any month, as in "0 0 L 2 *")`},
		{"0 0 31 4,6,9,11 ?", `never fires: none of its months has such a day (L is the last day of any month, as in "0 0 L 2 *")`},
		{"0 0 15W * */7", `never fires: none of its months has such a day (L is the last day of any month, as in "0 0 L 2 *")`},
	} {
		_, err := ParseCron(test.expr)
		if err == nil {
			t.Errorf("%q is accepted; want it refused because it %s", test.expr, test.reason)
		} else if err.Error() != test.reason {
			t.Errorf("%q is refused because it\n\t%v\nwant\n\t%s", test.expr, err, test.reason)
		}
	}
}

func TestParseCronReadsTwoWritingsOfTheSame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ one, other string }{
		{"0 3 * * *", "0 0 3 * * *"},
		{"  0   3 * * * ", "0 3 * * *"},
		{"@yearly", "0 0 1 1 *"},
		{"@annually", "0 0 1 1 *"},
		{"@monthly", "0 0 1 * *"},
		{"@weekly", "0 0 * * 0"},
		{"@Daily", "0 0 * * *"},
		{"@midnight", "0 0 * * *"},
		{" @HOURLY ", "0 * * * *"},
		{"5/20 * * * *", "5-59/20 * * * *"},
		{"05 04 * * *", "5 4 * * *"},
		{"0 0 ? * mon-FRI", "0 0 * * 1-5"},
		{"0 0 * * 7", "0 0 * * 0"},
		{"0 0 * * FRI-SUN", "0 0 * * 5-7"},
		{"0 0 * * fri-7", "0 0 * * 0,5,6"},
		{"0 0 * * SUN-SUN", "0 0 * * 0"},
		{"0 0 * * 1/2", "0 0 * * 1,3,5"},
		{"0 0 * Jan-MAR/2 *", "0 0 * 1,3 *"},
		{"0 0 * * fri#l", "0 0 * * 5L"},
		{"0 0 * * 7#2", "0 0 * * sun#2"},
		{"0 0 l,lw,15w,l-3 * *", "0 0 L-3,15W,LW,L * *"},
		{"0 */24 */31 */12 */7", "0 */24 1 1 */7"},
	} {
		if diff := cmp.Diff(mustCron(t, test.one), mustCron(t, test.other), cmp.AllowUnexported(Cron{})); diff != "" {
			t.Errorf("%q and %q differ (-first +second):\n%s", test.one, test.other, diff)
		}
	}
}

func TestParseCronTakesAtMostAMillisecond(t *testing.T) {
	t.Parallel()
	costly := []string{
		"0 0 15W * */7",
		"0 0 " + strings.TrimSuffix(strings.Repeat("1W,15W,31W,LW,L-30,", 12), ",") + " 2 */7",
		"0 0 * * " + strings.TrimSuffix(strings.Repeat("1#1,5#L,", 30), ","),
		strings.Repeat(",", 256),
		strings.Repeat("*/59,", 50) + "1 * * * *",
		strings.Repeat("9", 256),
	}
	for _, expr := range costly {
		// The least of several, because the machine may be busy.
		least := time.Hour
		for range 20 {
			start := time.Now()
			_, _ = ParseCron(expr)
			least = min(least, time.Since(start))
		}
		if least > time.Millisecond {
			t.Errorf("%q takes %v", expr, least)
		}
	}
}

// The days that a schedule fires on, for many schedules and every day of twelve
// years, are those that a plain reading of its day fields names.
func TestDaysAreThoseOfAPlainReading(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 120 {
		expr := "0 0 " + randomDays(r)
		c, err := ParseCron(expr)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "never fires") {
				t.Fatalf("%q %v", expr, err)
			}
			continue
		}
		fields := strings.Fields(expr)
		day := time.Date(2019, 12, 31, 0, 0, 0, 0, time.UTC)
		for range 12 * 366 {
			next := c.Next(day, time.UTC)
			day = day.AddDate(0, 0, 1)
			if got, want := next.Equal(day), plainDay(fields[2], fields[3], fields[4], day); got != want {
				t.Fatalf("%q fires on %s: %v, want %v", expr, day.Format("Monday 2006-01-02"), got, want)
			}
		}
	}
}

// A 29 February that must be a certain day of the week returns after at most 40
// years, and no other date takes longer: the horizon loses nothing.
func TestTheRarestDateIsWithinTheHorizon(t *testing.T) {
	t.Parallel()
	for _, name := range dayOfWeekField.names {
		c := mustCron(t, "0 0 */28 2 "+name+"#5")
		day := c.Next(time.Date(1599, 1, 1, 0, 0, 0, 0, time.UTC), time.UTC)
		var longest int
		for day.Year() < 2450 {
			next := c.Next(day, time.UTC)
			if next.IsZero() {
				t.Fatalf("29 February on %s after %s: none is found", name, day)
			}
			if back := c.Latest(next.Add(-1), time.UTC); !back.Equal(day) {
				t.Fatalf("29 February on %s before %s is %s, want %s", name, next, back, day)
			}
			longest = max(longest, next.Year()-day.Year())
			day = next
		}
		if longest != 40 {
			t.Errorf("29 February on %s takes at most %d years, want 40", name, longest)
		}
	}
}

// chooser draws a number from 0 to below n.
type chooser interface{ IntN(n int) int }

// randomSpec is a valid expression, with seconds in one of twenty.
func randomSpec(r chooser) string {
	spec := randomTime(r, 60) + " " + randomTime(r, 24) + " " + randomDays(r)
	if r.IntN(20) == 0 {
		spec = randomTime(r, 60) + " " + spec
	}
	return spec
}

func randomTime(r chooser, size int) string {
	low := r.IntN(size)
	high := low + r.IntN(size-low)
	switch r.IntN(9) {
	case 0, 1:
		return "*"
	case 2:
		return "*/" + strconv.Itoa(1+r.IntN(size))
	case 3:
		return strconv.Itoa(low) + "-" + strconv.Itoa(high)
	case 4:
		return strconv.Itoa(low) + "-" + strconv.Itoa(high) + "/" + strconv.Itoa(1+r.IntN(6))
	case 5:
		return strconv.Itoa(low) + "/" + strconv.Itoa(1+r.IntN(size))
	case 6:
		return strconv.Itoa(high) + "," + strconv.Itoa(low) + "," + strconv.Itoa(r.IntN(size))
	}
	return strconv.Itoa(low % 4) // the hours in which clocks change
}

// randomDays is the last three fields; most of them let every day pass.
func randomDays(r chooser) string {
	n := func(low, high int) string { return strconv.Itoa(low + r.IntN(high-low+1)) }
	one := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	dayOfMonth, month, dayOfWeek := "*", "*", "*"
	if r.IntN(3) == 0 {
		dayOfMonth = one("?", "*/"+n(1, 31), n(1, 31), n(1, 15)+"-"+n(15, 31), n(1, 31)+","+n(1, 31),
			"L", "LW", "L-"+n(1, 30), n(1, 31)+"W", n(1, 28)+"/"+n(1, 9), "1,L", "lw,"+n(1, 31)+"w")
	}
	if r.IntN(4) == 0 {
		month = one("*/"+n(1, 12), n(1, 12), n(1, 6)+"-"+n(6, 12), "feb", "Mar,NOV", "APR-oct/2")
	}
	if r.IntN(3) == 0 {
		dayOfWeek = one("?", "*/"+n(1, 7), n(0, 7), n(0, 3)+"-"+n(3, 7), "MON-fri", "sat,SUN", "Fri-sun",
			n(0, 7)+"#"+n(1, 5), n(0, 7)+"L", "thu#L", "1#1,"+n(0, 7))
	}
	return dayOfMonth + " " + month + " " + dayOfWeek
}

// plainDay reads the day fields as a person would, one date at a time.
func plainDay(dayOfMonth, month, dayOfWeek string, date time.Time) bool {
	if !plainHas(month, int(date.Month()), 1, 12) {
		return false
	}
	lastDay := time.Date(date.Year(), date.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	isNearest := func(target int) bool {
		best, bestDistance := 0, 99
		for day := 1; day <= lastDay; day++ {
			weekday := time.Date(date.Year(), date.Month(), day, 0, 0, 0, 0, time.UTC).Weekday()
			distance := max(day-target, target-day)
			if weekday != time.Saturday && weekday != time.Sunday && distance < bestDistance {
				best, bestDistance = day, distance
			}
		}
		return target <= lastDay && date.Day() == best
	}
	inMonth, inWeek := false, false
	for _, item := range strings.Split(strings.ToUpper(dayOfMonth), ",") {
		switch {
		case item == "L":
			inMonth = inMonth || date.Day() == lastDay
		case item == "LW":
			inMonth = inMonth || isNearest(lastDay)
		case strings.HasPrefix(item, "L-"):
			inMonth = inMonth || date.Day() == lastDay-atoi(item[2:])
		case strings.HasSuffix(item, "W"):
			inMonth = inMonth || isNearest(atoi(strings.TrimSuffix(item, "W")))
		default:
			inMonth = inMonth || plainHas(item, date.Day(), 1, 31)
		}
	}
	for _, item := range strings.Split(strings.ToUpper(dayOfWeek), ",") {
		day, k, found := strings.Cut(item, "#")
		if !found && strings.HasSuffix(item, "L") {
			day, k, found = strings.TrimSuffix(item, "L"), "L", true
		}
		weekday := int(date.Weekday())
		is := plainHas(day, weekday, 0, 6) || weekday == 0 && plainHas(day, 7, 0, 6)
		if found && k == "L" {
			is = is && date.Day()+7 > lastDay
		} else if found {
			is = is && (date.Day()-1)/7+1 == atoi(k)
		}
		inWeek = inWeek || is
	}
	if strings.ContainsAny(dayOfMonth[:1]+dayOfWeek[:1], "*?") {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

var plainNames = strings.NewReplacer("-SUN", "-7", "SUN", "0", "MON", "1", "TUE", "2", "WED", "3", "THU", "4", "FRI", "5", "SAT", "6",
	"JAN", "1", "FEB", "2", "MAR", "3", "APR", "4", "MAY", "5", "JUN", "6", "JUL", "7", "AUG", "8", "SEP", "9", "OCT", "10", "NOV", "11", "DEC", "12")

// plainHas reports whether a list of a valid expression names the value.
func plainHas(list string, value, low, high int) bool {
	for _, item := range strings.Split(plainNames.Replace(strings.ToUpper(list)), ",") {
		body, step, stepped := strings.Cut(item, "/")
		from, to := low, high
		if body != "*" && body != "?" {
			first, last, ranged := strings.Cut(body, "-")
			from = atoi(first)
			if ranged {
				to = atoi(last)
			} else if !stepped {
				to = from
			}
		}
		every := 1
		if stepped {
			every = atoi(step)
		}
		if from <= value && value <= to && (value-from)%every == 0 {
			return true
		}
	}
	return false
}

func atoi(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(err)
	}
	return n
}

func BenchmarkParseCron(b *testing.B) {
	for _, expr := range []string{"* * * * *", "0 3 * * 1-5", "0 0 LW,15W * 5#3"} {
		b.Run(expr, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseCron(expr); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
