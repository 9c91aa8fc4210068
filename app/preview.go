package app

import (
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// PreviewRun is one run that a spec would have.
type PreviewRun struct {
	At    time.Time // UTC
	Local time.Time // the same instant in the spec's zone
	Note  string    // what is out of the ordinary; else empty
}

// Preview is what a spec would do.
type Preview struct {
	Runs  []PreviewRun // the first ones
	Total int64        // how many lie in the range, listed or not; only with an end
}

// PreviewSpec is the first runs of a spec after from and not after to (zero: the
// year 9998), at most count of them, as if its schedule were created at from. The
// error is a *schedule.InvalidError.
func PreviewSpec(spec schedule.Spec, from, to time.Time, count int) (Preview, error) {
	if err := spec.Validate(); err != nil {
		return Preview{}, err
	}
	timing, err := spec.Timing(from)
	if err != nil {
		return Preview{}, err
	}
	if at := spec.At; !at.IsZero() && !at.After(from) {
		return Preview{Runs: []PreviewRun{{At: at, Local: at.In(timing.Zone()), Note: "has passed: due at once"}}, Total: 1}, nil
	}
	var p Preview
	end := time.Date(9998, time.December, 31, 23, 59, 59, 0, time.UTC)
	if !to.IsZero() {
		end, p.Total = to, timing.Count(from, to)
	}
	if spec.MaxRuns > 0 {
		count = int(min(int64(count), spec.MaxRuns))
		p.Total = min(p.Total, spec.MaxRuns)
	}
	p.Runs = make([]PreviewRun, 0, min(count, 100))
	for at := timing.Next(from); len(p.Runs) < count && !at.IsZero() && !at.After(end); at = timing.Next(at) {
		p.Runs = append(p.Runs, PreviewRun{At: at, Local: at.In(timing.Zone()), Note: timing.Note(at)})
	}
	return p, nil
}

// IsUnavailable reports whether a later try may succeed where this one failed:
// the database is away or busy.
func IsUnavailable(err error) bool { return db.IsUnavailable(err) }
