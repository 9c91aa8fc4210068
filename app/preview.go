package app

import (
	"cmp"
	"context"
	"fmt"
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
	Spec     schedule.Spec
	Runs     []PreviewRun // the first ones
	Excluded []PreviewRun // what calendars take away meanwhile, at most 1,000; their notes say which
	Total    int64        // how many runs lie in the range, listed or not; only with an end
}

// PreviewRange says which runs to show: those after From and not after To (zero:
// the year 9998), at most Count of them.
type PreviewRange struct {
	From, To time.Time
	Count    int
}

// PreviewSpec is what a spec would do in a namespace, as if its schedule were
// created at the range's beginning; without one, in the caller's own. The error may
// be a *schedule.InvalidError or schedule.ErrNoNamespace.
func (s *Service) PreviewSpec(ctx context.Context, namespace string, spec schedule.Spec, r PreviewRange) (Preview, error) {
	namespace = cmp.Or(namespace, CallerOf(ctx).Home())
	if err := may(ctx, ScopeRead, namespace); err != nil {
		return Preview{}, err
	}
	if err := spec.Validate(); err != nil {
		return Preview{}, err
	}
	if err := mayFire(spec, r.From); err != nil {
		return Preview{}, err
	}
	unsaved := schedule.Schedule{Namespace: namespace, Spec: spec, CreatedAt: r.From}
	if len(spec.Exclude) > 0 {
		if err := s.read(ctx, func(tx *db.Tx) error { return checkCalendars(ctx, tx, &unsaved) }); err != nil {
			return Preview{}, err
		}
	}
	p, err := preview(&unsaved, spec.MaxRuns, r)
	if err != nil || spec.At.IsZero() || spec.At.After(r.From) {
		return p, err
	}
	// An instant that has passed when it is written runs all the same.
	timing, err := unsaved.Timing()
	if err != nil {
		return Preview{}, err
	}
	if at := timing.Latest(r.From); !at.IsZero() {
		p.Runs, p.Total = []PreviewRun{{At: at, Local: at.In(timing.Zone()), Note: "has passed: due at once"}}, 1
	}
	p.Excluded = excluded(timing, spec.At.Add(-time.Nanosecond), spec.At)
	return p, nil
}

// mayFire refuses a spec that never fires. A window that is over by now, or at
// from, is none: it shows that nothing is left.
func mayFire(spec schedule.Spec, from time.Time) error {
	switch {
	case !spec.At.IsZero():
		return nil
	case spec.EndAt.IsZero():
		return neverFires(spec, from, from)
	case spec.StartAt.IsZero():
		return nil
	}
	return neverFires(spec, from, spec.StartAt.Add(-time.Nanosecond))
}

// PreviewSchedule is what a stored schedule would do, were it active. The error
// may be schedule.ErrNotFound or a *schedule.InvalidError.
func (s *Service) PreviewSchedule(ctx context.Context, key Key, r PreviewRange) (Preview, error) {
	status, err := s.Get(ctx, key)
	if err != nil {
		return Preview{}, err
	}
	left := status.Schedule.Spec.MaxRuns
	if left > 0 {
		if left -= status.Cursor.RunCount; left <= 0 {
			return Preview{Spec: status.Schedule.Spec}, nil
		}
	}
	return preview(&status.Schedule, left, r)
}

// preview shows at most maxRuns, if it isn't zero.
func preview(s *schedule.Schedule, maxRuns int64, r PreviewRange) (Preview, error) {
	timing, err := s.Timing()
	if err != nil {
		return Preview{}, err
	}
	p := Preview{Spec: s.Spec}
	end := time.Date(9998, time.December, 31, 23, 59, 59, 0, time.UTC)
	if !r.To.IsZero() {
		end, p.Total = r.To, timing.Count(r.From, r.To)
	}
	count := r.Count
	if maxRuns > 0 {
		count = int(min(int64(count), maxRuns))
		p.Total = min(p.Total, maxRuns)
	}
	p.Runs = make([]PreviewRun, 0, min(count, 100))
	at := timing.Next(r.From)
	for ; len(p.Runs) < count && !at.IsZero() && !at.After(end); at = timing.Next(at) {
		p.Runs = append(p.Runs, PreviewRun{At: at, Local: at.In(timing.Zone()), Note: note(s, timing, at)})
	}
	if !at.IsZero() && at.Before(end) { // the list ends before the range does
		end = at
	}
	p.Excluded = excluded(timing, r.From, end)
	return p, nil
}

// maxExcluded is the most that a preview shows of what calendars take away.
const maxExcluded = 1000

// excluded is what calendars take away after from and not after to.
func excluded(timing *schedule.Timing, from, to time.Time) (runs []PreviewRun) {
	for _, taken := range timing.Taken(from, to, maxExcluded) {
		runs = append(runs, PreviewRun{
			At: taken.At, Local: taken.At.In(timing.Zone()), Note: fmt.Sprintf("excluded by %s: %s", taken.Calendar, taken.Day),
		})
	}
	return runs
}

// note is the timing's, and what jitter does to the run.
func note(s *schedule.Schedule, timing *schedule.Timing, at time.Time) string {
	text := timing.Note(at)
	if s.Spec.Jitter <= 0 {
		return text
	}
	if text != "" {
		text += "; "
	}
	if s.ID.IsZero() { // the delay depends on the id that it will get
		return text + "jitter: due up to " + schedule.FormatDuration(s.Spec.Jitter) + " later"
	}
	return text + "jitter: due " + schedule.FormatDuration(timing.FireAt(s.ID, at).Sub(at)) + " later"
}

// IsUnavailable reports whether a later try may succeed where this one failed:
// the database is away or busy.
func IsUnavailable(err error) bool { return db.IsUnavailable(err) }
