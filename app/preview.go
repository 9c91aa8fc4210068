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

// Preview is the first runs of a spec after from, at most count of them and none
// after the year 9998, as if its schedule were created at from. The error is a
// *schedule.InvalidError.
func Preview(spec schedule.Spec, from time.Time, count int) ([]PreviewRun, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	timing, err := spec.Timing(from)
	if err != nil {
		return nil, err
	}
	if at := spec.At; !at.IsZero() && !at.After(from) {
		return []PreviewRun{{At: at, Local: at.In(timing.Zone()), Note: "has passed: due at once"}}, nil
	}
	if spec.MaxRuns > 0 {
		count = int(min(int64(count), spec.MaxRuns))
	}
	runs := make([]PreviewRun, 0, count)
	for at := timing.Next(from); len(runs) < count && !at.IsZero() && at.Year() < 9999; at = timing.Next(at) {
		runs = append(runs, PreviewRun{At: at, Local: at.In(timing.Zone())})
	}
	return runs, nil
}

// IsUnavailable reports whether a later try may succeed where this one failed:
// the database is away or busy.
func IsUnavailable(err error) bool { return db.IsUnavailable(err) }
