package schedule

import (
	"slices"
	"time"
)

// Rules are the scheduler's settings that decide what is owed.
type Rules struct {
	// MisfireAfter is how late an occurrence may be claimed and still count as
	// punctual. Zero: DefaultMisfireAfter.
	MisfireAfter time.Duration
	// CatchUpRate is how many runs a second may make up for missed ones, over all
	// schedules and schedulers. Zero: DefaultCatchUpRate.
	CatchUpRate int
}

// DefaultMisfireAfter is longer than a scheduler that died holds up its runs.
const DefaultMisfireAfter = 10 * time.Second

// WithDefaults has every setting.
func (r Rules) WithDefaults() Rules {
	if r.MisfireAfter == 0 {
		r.MisfireAfter = DefaultMisfireAfter
	}
	if r.CatchUpRate == 0 {
		r.CatchUpRate = DefaultCatchUpRate
	}
	return r
}

// Occurrence is one run that a Decision owes.
type Occurrence struct {
	ScheduledFor time.Time
	Reason       Reason
}

// Stretch is a number of occurrences that one line of the ledger accounts for.
type Stretch struct {
	From, Until time.Time // the first and the last of them
	Count       int64     // zero: nobody has counted them
	Outcome     Outcome
	Why         string
}

// Decision is what a schedule's turn comes to: what to enqueue, what to record,
// and the cursor to leave behind.
//
// A stretch holds no occurrence of another one or of Enqueue. In time they lie
// apart, too, but for those that calendars took away among missed ones: they are
// a stretch of their own, which reaches into that of the missed ones.
type Decision struct {
	Enqueue []Occurrence // oldest first
	Record  []Stretch    // by From, oldest first
	Cursor  Cursor
}

// The reasons why an occurrence that was owed did not run.
const (
	WhyMisfire    = "misfire"    // the misfire policy leaves it out
	WhyGrace      = "grace"      // it was missed longer ago than misfire_grace
	WhyLimit      = "limit"      // older than the newest misfire_limit
	WhySuperseded = "superseded" // the timing was edited before it was claimed
	WhyPaused     = "paused"     // the schedule was paused before it was claimed
	WhyDeleted    = "deleted"    // the schedule was deleted before it was claimed
	WhyExcluded   = "excluded"   // a calendar takes it away
	WhyOverlap    = "overlap"    // the job of the run before it was unfinished
	WhyInvalid    = "invalid"    // it couldn't run, and was set aside
	WhyQueueFull  = "queue_full" // and another occurrence was waiting for that already
)

// Run is the stretch's line of the ledger.
func (r Stretch) Run(s *Schedule, now time.Time) Run {
	run := Run{
		ScheduleID: s.ID, Namespace: s.Namespace, ScheduleName: s.Name,
		ScheduledFor: r.From, Reason: ReasonSchedule, Outcome: r.Outcome, Why: r.Why, Count: r.Count, CreatedAt: now,
	}
	if r.Count != 1 {
		run.Until = r.Until
	}
	return run
}

// Run is the enqueued run's line of the ledger.
func (e Enqueue) Run(jobID int64, now time.Time) Run {
	return Run{
		ScheduleID: e.Schedule.ID, Namespace: e.Schedule.Namespace, ScheduleName: e.Schedule.Name,
		ScheduledFor: e.ScheduledFor, Reason: e.Reason, Outcome: OutcomeEnqueued, JobID: jobID, Count: 1, CreatedAt: now,
	}
}

// PlanAfter places a due cursor anew behind lastFor, the last instant of the spec
// that the ledger holds, when it stands before: a cursor that was set back, as by
// a restore.
func PlanAfter(s *Schedule, c Cursor, lastFor time.Time) Cursor {
	if lastFor.IsZero() || c.NextRunAt.After(lastFor) {
		return c
	}
	c.NextRunAt, c.ChangedAt = time.Time{}, earliest(c.ChangedAt, lastFor)
	return Plan(s, c, lastFor)
}

// Without takes out of the decision what the ledger already accounts for.
func (d *Decision) Without(recorded func(scheduledFor time.Time) bool) {
	before := len(d.Enqueue)
	d.Enqueue = slices.DeleteFunc(d.Enqueue, func(o Occurrence) bool { return recorded(o.ScheduledFor) })
	d.Record = slices.DeleteFunc(d.Record, func(r Stretch) bool { return recorded(r.From) })
	d.Cursor.RunCount -= int64(before - len(d.Enqueue))
}

// Plan places a cursor whose timing changed: when the schedule runs next,
// counted from the instant of the change. lastFor is the last instant of the
// spec that the ledger holds (zero: none); the plan stays strictly after it, so
// that a clock set back plans nothing twice. A cursor that still has its
// NextRunAt, or one held behind which nothing comes, keeps it: then only the policy
// or the job changed.
func Plan(s *Schedule, c Cursor, lastFor time.Time) Cursor {
	c.Dirty, c.PlannedVersion = false, s.Version
	timing, err := s.Timing()
	if err != nil {
		return SetAside(c, err.Error())
	}
	if !c.NextRunAt.IsZero() || !c.Held.IsZero() && c.State != StateInvalid {
		before := c
		c = place(s, timing, c, c.NextRunAt)
		switch {
		case c.FireAt.IsZero():
		case before.Share > 0: // it keeps its slot
			c.FireAt, c.Share = before.FireAt, before.Share
		case !s.Spec.At.IsZero():
			c.FireAt = latest(c.FireAt, before.FireAt)
		}
		return c
	}
	return placeAnew(s, timing, c, latest(c.ChangedAt, lastFor), lastFor)
}

// maxShiftOfRules is more than new rules of a zone can move an instant, and more
// than the longest jitter: what was planned for before that isn't ahead of now.
const maxShiftOfRules = 26 * time.Hour

// Replan is the cursor by the zone rules of today, when it was placed by other
// rules and isn't due yet. What by today's rules has passed since the last run
// becomes due at once. A cursor that stands as today's rules have it, whose timing
// knows no zone, or that is due or not planned, stays as it is.
//
// lastFor is as for Plan, and now the database's clock. A dirty cursor is brought
// up to date with its definition first, as Plan does it.
func Replan(s *Schedule, c Cursor, lastFor, now time.Time) Cursor {
	if c.Dirty {
		placed := !c.NextRunAt.IsZero()
		if c = Plan(s, c, lastFor); !placed {
			return c
		}
	}
	if c.FireAt.IsZero() || !c.FireAt.After(now) || c.Share > 0 || s.Paused {
		return c
	}
	timing, err := s.Timing()
	if err != nil || !timing.followsRules() {
		return c
	}
	// The ledger may have forgotten the last run, and jitter may let it happen after
	// the instant that is planned now. What is held isn't in the ledger yet.
	ran := earliest(c.LastRunAt, c.NextRunAt.Add(-time.Nanosecond))
	after := latest(latest(c.ChangedAt, lastFor), latest(ran, now.Add(-maxShiftOfRules)))
	after = latest(after, c.Held)
	return placeAnew(s, timing, c, after, lastFor)
}

// Provisional marks a cursor that was placed while others know newer zone rules
// than this process. It stays dirty and keeps its next run, until one of them
// plans it anew.
func Provisional(s *Schedule, c Cursor) Cursor {
	if c.NextRunAt.IsZero() {
		return c
	}
	if timing, err := s.Timing(); err == nil && timing.followsRules() {
		c.Dirty = true
	}
	return c
}

// followsRules reports whether an occurrence depends on the rules of a zone.
func (t *Timing) followsRules() bool {
	if t.exclude != nil {
		return t.zone != time.UTC || slices.ContainsFunc(t.exclude.sets, func(s daySet) bool { return s.zone != time.UTC })
	}
	return t.cron != nil && t.zone != time.UTC
}

// placeAnew places the cursor at its first occurrence after the instant; that of
// at has no other.
func placeAnew(s *Schedule, timing *Timing, c Cursor, after, lastFor time.Time) Cursor {
	if s.Spec.At.IsZero() {
		c = place(s, timing, c, timing.Next(after))
		if c.State == StateCompleted && timing.silent(after) {
			c.StateReason = silentReason
		}
		return c
	}
	if timing.at.IsZero() {
		c = place(s, timing, c, time.Time{})
		c.StateReason = silentReason
		return c
	}
	if timing.at.Equal(lastFor) {
		return place(s, timing, c, time.Time{})
	}
	// An instant that had passed when it was written is due at once: its lateness
	// counts from the writing.
	c = place(s, timing, c, timing.at)
	if !c.FireAt.IsZero() {
		c.FireAt = latest(c.FireAt, c.ChangedAt)
	}
	return c
}

// silentReason explains a schedule that is completed before it ran.
const silentReason = "calendars exclude every run to come"

// Refuse sets a schedule aside that was due and can't run. What it owed by then is
// missed, but for a single instant, which runs once the schedule is mended.
func Refuse(s *Schedule, c Cursor, now time.Time, reason string) Decision {
	var d Decision
	if s.Spec.At.IsZero() && !c.Held.IsZero() {
		d.Record = append(d.Record, Stretch{From: c.Held, Until: c.Held, Count: 1, Outcome: OutcomeMissed, Why: WhyInvalid})
	}
	c.Held, c.HeldSince, c.HeldReason = time.Time{}, time.Time{}, ""
	if s.Spec.At.IsZero() && !c.NextRunAt.IsZero() && !c.NextRunAt.After(now) {
		d.Record = append(d.Record, Stretch{From: c.NextRunAt, Until: now, Outcome: OutcomeMissed, Why: WhyInvalid})
	}
	d.Cursor = SetAside(c, reason)
	return d
}

// SetAside is the cursor of a schedule that can't run until it is edited.
func SetAside(c Cursor, reason string) Cursor {
	c.Dirty, c.NextRunAt, c.FireAt, c.Share = false, time.Time{}, time.Time{}, 0
	c.State, c.StateReason = StateInvalid, reason
	return c
}

// place sets the next run and what follows from it.
func place(s *Schedule, timing *Timing, c Cursor, next time.Time) Cursor {
	if s.Spec.MaxRuns > 0 && c.RunCount >= s.Spec.MaxRuns {
		next = time.Time{}
	}
	c.NextRunAt, c.FireAt, c.Share = next, time.Time{}, 0
	c.State, c.StateReason = StateActive, ""
	switch {
	case next.IsZero() && c.Held.IsZero():
		c.State = StateCompleted
	case s.Paused:
		c.NextRunAt = time.Time{}
	case !c.Held.IsZero(): // looked at again at once: the policy may be another by now
		c.FireAt = c.HeldSince
	default:
		c.FireAt = timing.FireAt(s.ID, next)
	}
	return c
}

// Due decides what a planned cursor owes at its turn, and where it stands
// afterwards. Occurrences that fired at most MisfireAfter ago are punctual, each of
// them is owed; older ones were missed, and the misfire policy decides. What is
// owed runs as the overlap policy lets it.
func Due(s *Schedule, c Cursor, turn Turn, rules Rules) Decision {
	now := turn.Now
	timing, err := s.Timing()
	if err != nil {
		return Refuse(s, c, now, err.Error())
	}
	if s.Paused || c.FireAt.IsZero() || c.FireAt.After(now) {
		return Decision{Cursor: place(s, timing, c, c.NextRunAt)}
	}
	d := Decision{Cursor: c}
	next := c.NextRunAt
	fired := func(occurrence time.Time) time.Time {
		// With one held, the cursor is due when that is looked at again; with a share,
		// at its slot.
		if occurrence.Equal(c.NextRunAt) && c.Held.IsZero() && c.Share == 0 {
			return c.FireAt
		}
		at := timing.FireAt(s.ID, occurrence)
		if !s.Spec.At.IsZero() {
			at = latest(at, c.ChangedAt)
		}
		return at
	}

	// The missed ones are those up to the last that fired before the cut.
	var owed []Occurrence
	left := 0 // of those, for a later slot
	if cut := now.Add(-rules.MisfireAfter); !next.IsZero() && fired(next).Before(cut) {
		// An At may be planned for later than it says.
		last := latest(firedBefore(timing, fired, cut), next)
		owed = d.missed(s, timing, fired, next, last, now)
		next = timing.Next(last)
		n, wait := d.paced(s, len(owed), turn, rules)
		if wait {
			return Decision{Cursor: d.Cursor}
		}
		if left = len(owed) - n; left > 0 {
			owed, next = owed[:n], owed[n].ScheduledFor
		}
	}
	for left == 0 && !next.IsZero() && !fired(next).After(now) {
		owed = append(owed, Occurrence{ScheduledFor: next, Reason: ReasonSchedule})
		next = timing.Next(next)
	}
	d.settle(s, owed, turn)
	if !c.NextRunAt.IsZero() {
		// What the calendars took away since the run before, or since the plan began.
		d.excluded(timing, latest(timing.Latest(c.NextRunAt.Add(-time.Nanosecond)), c.ChangedAt))
	}
	d.Cursor = place(s, timing, d.Cursor, next)
	switch {
	case left > 0 && d.Cursor.State == StateActive:
		d.Cursor.FireAt, d.Cursor.Share = turn.Slots.take(left)
	case !d.Cursor.Held.IsZero():
		d.Cursor.FireAt = time.Time{}
		if !next.IsZero() {
			d.Cursor.FireAt = timing.FireAt(s.ID, next)
		}
		d.Cursor = d.Cursor.recheck(now)
	}
	return d
}

// firedBefore is the last occurrence that fired before the instant, or the zero
// time. Jitter keeps the order, so it is one of the last two before it.
func firedBefore(timing *Timing, fired func(time.Time) time.Time, t time.Time) time.Time {
	last := timing.Latest(t.Add(-time.Nanosecond))
	if !last.IsZero() && !fired(last).Before(t) {
		last = timing.Latest(last.Add(-time.Nanosecond))
	}
	return last
}

// missed applies the misfire policy to the occurrences from first to last. It
// records what the policy leaves out and returns the rest, oldest first.
func (d *Decision) missed(s *Schedule, timing *Timing, fired func(time.Time) time.Time, first, last, now time.Time) []Occurrence {
	// What was due longer ago than the grace is not made up for.
	if edge := now.Add(-s.MisfireGrace); s.MisfireGrace > 0 && fired(first).Before(edge) {
		old := earliest(latest(firedBefore(timing, fired, edge), first), last)
		d.record(timing, first, old, WhyGrace)
		if first = timing.Next(old); first.IsZero() || first.After(last) {
			return nil
		}
	}
	keep := 0
	why := WhyMisfire
	switch s.Misfire {
	case MisfireOnce:
		keep = 1
	case MisfireAll:
		keep, why = s.MisfireLimit, WhyLimit
	}
	// Step back from the newest: at most MisfireLimit steps, however long the
	// stretch is.
	kept := make([]Occurrence, 0, min(keep, 64))
	at := last
	for len(kept) < keep && !at.Before(first) && !at.IsZero() {
		kept = append(kept, Occurrence{ScheduledFor: at, Reason: ReasonCatchUp})
		at = timing.Latest(at.Add(-time.Nanosecond))
	}
	slices.Reverse(kept)
	if len(kept) == 0 {
		d.record(timing, first, last, why)
	} else if oldest := kept[0].ScheduledFor; first.Before(oldest) {
		d.record(timing, first, timing.Latest(oldest.Add(-time.Nanosecond)), why)
	}
	return kept
}

// record accounts for the occurrences from first to last, both included.
func (d *Decision) record(timing *Timing, first, last time.Time, why string) {
	count := max(timing.Count(first.Add(-time.Nanosecond), last), 1)
	d.Record = append(d.Record, Stretch{From: first, Until: last, Count: count, Outcome: OutcomeMissed, Why: why})
}

// excluded accounts for what calendars took away after the instant, up to the
// last occurrence that the decision deals with: one stretch at most for each.
func (d *Decision) excluded(timing *Timing, after time.Time) {
	if timing.exclude == nil || timing.moves() || !timing.spec.At.IsZero() {
		return
	}
	ends := make([]time.Time, 0, len(d.Record)+len(d.Enqueue)+1)
	for _, r := range d.Record {
		ends = append(ends, r.Until)
	}
	for _, o := range d.Enqueue {
		ends = append(ends, o.ScheduledFor)
	}
	ends = append(ends, d.Cursor.Held)
	slices.SortFunc(ends, time.Time.Compare)
	for _, end := range ends {
		if !end.After(after) { // nothing, or what was held before this turn
			continue
		}
		if taken, ok := timing.taken(after, end); ok {
			d.Record = append(d.Record, taken)
		}
		after = end
	}
	slices.SortFunc(d.Record, func(a, b Stretch) int { return a.From.Compare(b.From) })
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
