package schedule

import (
	"testing"
	"time"
)

// Whatever the text, ParseCron answers; whatever it accepts, Next moves on and
// Latest and Count agree with it.
func FuzzParseCron(f *testing.F) {
	for _, seed := range []string{
		"* * * * *", "*/20 * * * * *", "0 3 * * 1-5", "30 2 29 2 *", "0 0 L-2,15W,LW * *", "0 0 ? jan,JUL FRI#L,1#5,3L",
		"5/20 22-2 * * *", "@daily", "@every 5m", "TZ=UTC 0 0 * * *", "0 0 30 2 *", "0 0 */28 2 1#5", "1,,2 * * * *", "-1/- 7 ?/3 */12 7-7/7",
	} {
		f.Add(seed, int64(1772953200), uint16(0))
	}
	f.Add("30 23 29 2 *", int64(2240524800), uint16(311))
	zones := zoneNames(f)
	f.Fuzz(func(t *testing.T, expr string, unix int64, zoneNumber uint16) {
		c, err := ParseCron(expr)
		if err != nil {
			if err.Error() == "" {
				t.Fatalf("%q is refused without a reason", expr)
			}
			return
		}
		// The years 1 to 9959: where nothing cuts the horizon short.
		at := time.Unix(unix%126_000_000_000+126_000_000_000+minInstant, 0)
		loc := zone(t, zones[int(zoneNumber)%len(zones)])
		next := c.Next(at, loc)
		took := time.Hour
		for try := 0; took > time.Millisecond; try++ { // again, because the machine may be busy
			if try == 50 {
				t.Fatalf("%q in %s after %s takes %v", expr, loc, at, took)
			}
			start := time.Now()
			c.Next(at, loc)
			took = min(took, time.Since(start))
		}
		if next.IsZero() {
			return // it may always fall into a gap
		}
		if !next.After(at) {
			t.Fatalf("%q in %s after %s runs at %s", expr, loc, at, next)
		}
		if latest := c.Latest(next, loc); !latest.Equal(next) {
			t.Fatalf("%q in %s: the latest up to %s is %s", expr, loc, next, latest)
		}
		if latest := c.Latest(next.Add(-1), loc); latest.After(at) {
			t.Fatalf("%q in %s: between %s and %s runs %s", expr, loc, at, next, latest)
		}
		if n := c.Count(at, next, loc); n != 1 {
			t.Fatalf("%q in %s from %s to %s runs %d times, want 1", expr, loc, at, next, n)
		}
	})
}
