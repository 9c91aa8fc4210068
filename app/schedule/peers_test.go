package schedule_test

import (
	"testing"
	"time"

	netresearch "github.com/netresearch/go-cron"
	robfig "github.com/robfig/cron/v3"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// nexter is what the engines have in common.
type nexter interface{ Next(time.Time) time.Time }

// ours has the zone that its peers take from the instant.
type ours struct {
	*schedule.Cron
	zone *time.Location
}

func (o ours) Next(at time.Time) time.Time { return o.Cron.Next(at, o.zone) }

// BenchmarkNext asks the engines for the same schedules at the same instants,
// spread over six years. The specs that run every month at least are common, the
// others rare. A peer that can't read a spec is said to, in the log of -v.
func BenchmarkNext(b *testing.B) {
	const seconds = robfig.Second | robfig.Minute | robfig.Hour | robfig.Dom | robfig.Month | robfig.Dow
	engines := []struct {
		name  string
		parse func(expr string, sixFields bool, zone *time.Location) (nexter, error)
	}{
		{"riverbeat", func(expr string, _ bool, zone *time.Location) (nexter, error) {
			c, err := schedule.ParseCron(expr)
			return ours{c, zone}, err
		}},
		{"robfig", func(expr string, six bool, _ *time.Location) (nexter, error) {
			if six {
				return robfig.NewParser(seconds).Parse(expr)
			}
			return robfig.ParseStandard(expr)
		}},
		{"netresearch", func(expr string, six bool, _ *time.Location) (nexter, error) {
			fields := netresearch.Minute | netresearch.Hour | netresearch.Dom | netresearch.Month | netresearch.Dow | netresearch.DowOrDom | netresearch.Extended
			if six {
				fields |= netresearch.Second
			}
			return netresearch.MustNewParser(fields).Parse(expr)
		}},
	}
	for _, spec := range []struct {
		kind, expr string
		six        bool
		zones      []string
	}{
		{"common", "* * * * *", false, []string{"UTC", "Europe/Berlin"}},
		{"common", "*/5 * * * *", false, []string{"UTC", "Asia/Tokyo"}},
		{"common", "0 3 * * 1-5", false, []string{"Asia/Tokyo", "America/New_York"}},
		{"common", "30 2 * * *", false, []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"}},
		{"common", "*/15 9-17 * * 1-5", false, []string{"America/New_York"}},
		{"common", "0 0 1 * *", false, []string{"Europe/Berlin"}},
		{"common", "*/10 * * * * *", true, []string{"UTC", "Europe/Berlin"}},
		{"common", "0 0 L * *", false, []string{"Europe/Berlin"}},
		{"rare", "0 0 29 2 *", false, []string{"UTC", "America/New_York"}},
		{"rare", "0 0 1 1 1#1", false, []string{"Europe/Berlin"}},
		{"rare", "0 0 L 2 *", false, []string{"Asia/Tokyo"}},
	} {
		for _, name := range spec.zones {
			zone, err := time.LoadLocation(name)
			if err != nil {
				b.Fatal(err)
			}
			var instants [1024]time.Time
			for i := range instants {
				instants[i] = time.Unix(1767225600+int64(i)*184_771, int64(i)*977_000).In(zone) // from 2026 on, 51 hours apart
			}
			for _, engine := range engines {
				schedule, err := engine.parse(spec.expr, spec.six, zone)
				if err != nil {
					b.Logf("%s can't read %q: %v", engine.name, spec.expr, err)
					continue
				}
				b.Run("is="+spec.kind+"/spec="+spec.expr+"/zone="+name+"/by="+engine.name, func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						schedule.Next(instants[i%len(instants)])
					}
				})
			}
		}
	}
}
