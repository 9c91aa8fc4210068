package scheduler

import (
	"slices"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Bounds of what a Debouncer remembers. Past maxPending ids one look at
// everything is cheaper; past maxSeen schedules the older half is forgotten,
// which costs a second look and nothing else.
const (
	maxPending      = 10_000
	maxSeen         = 10_000
	maxSeenVersions = 16
)

// Debouncer decides which hints are worth a look at the database, and when. A
// change that names a schedule and a version is looked at at once, and once,
// whatever path it comes by and in whatever order. A look at everything is taken
// at most once an interval: the first at once, those that are asked for meanwhile
// as one when the interval is over.
//
// It is pure: it owns no clock and no goroutine, and isn't safe for concurrent
// use.
type Debouncer struct {
	interval time.Duration
	pending  []schedule.ID
	isIn     map[schedule.ID]bool
	all      bool
	allBy    schedule.Path // who asked first for it
	lastAll  time.Time
	due      time.Time // the earliest that new hints name

	recent, older map[schedule.ID][]int64 // the versions seen, newest last; a delete's is negative
}

// Verdict is what became of a hint.
type Verdict string

// The verdicts.
const (
	Fresh     Verdict = "fresh"     // worth a look
	Duplicate Verdict = "duplicate" // this version of this schedule was told of before
	Merged    Verdict = "merged"    // a look at everything that is to come answers it
)

// NewDebouncer is a Debouncer that lets looks at everything pass an interval
// apart.
func NewDebouncer(interval time.Duration) *Debouncer {
	return &Debouncer{
		interval: interval,
		isIn:     map[schedule.ID]bool{},
		recent:   map[schedule.ID][]int64{},
	}
}

// Add takes a hint that came by the path.
func (d *Debouncer) Add(c schedule.Change, by schedule.Path) Verdict {
	if !c.Known() {
		return d.addAll(by)
	}
	if !d.remember(c) {
		return Duplicate
	}
	if !c.NextRunAt.IsZero() && (d.due.IsZero() || c.NextRunAt.Before(d.due)) {
		d.due = c.NextRunAt
	}
	switch {
	case d.isIn[c.ID]:
	case len(d.pending) >= maxPending:
		d.addAll(by)
	default:
		d.pending = append(d.pending, c.ID)
		d.isIn[c.ID] = true
	}
	return Fresh
}

func (d *Debouncer) addAll(by schedule.Path) Verdict {
	if d.all {
		return Merged
	}
	d.all, d.allBy = true, by
	return Fresh
}

// remember reports whether this version of the schedule is new. An older version
// than one seen is new too: messages come in any order.
func (d *Debouncer) remember(c schedule.Change) bool {
	versions, ok := d.recent[c.ID]
	if !ok {
		versions = d.older[c.ID]
	}
	version := c.Version
	if c.Op == schedule.OpDeleted {
		version = -version // an edit of what is written anew may have the same number
	}
	if slices.Contains(versions, version) {
		return false
	}
	if c.Op == schedule.OpDeleted {
		versions = nil // the id may be written anew, from version 1
	}
	if len(versions) >= maxSeenVersions {
		versions = versions[1:]
	}
	if !ok && len(d.recent) >= maxSeen/2 {
		d.older, d.recent = d.recent, map[schedule.ID][]int64{}
	}
	d.recent[c.ID] = append(slices.Clip(versions), version)
	return true
}

// Found says that a look has found the version of a schedule; 0: none. Versions
// beyond it that were told of are forgotten: they are of an earlier life of the
// database, or made up, and may come yet.
func (d *Debouncer) Found(id schedule.ID, version int64) {
	for _, seen := range []map[schedule.ID][]int64{d.recent, d.older} {
		versions, ok := seen[id]
		if !ok {
			continue
		}
		versions = slices.DeleteFunc(slices.Clone(versions), func(v int64) bool { return max(v, -v) > version })
		if seen[id] = versions; len(versions) == 0 {
			delete(seen, id)
		}
	}
}

// Look is what is to be looked at.
type Look struct {
	IDs []schedule.ID // these schedules first
	All bool          // then everything
	By  schedule.Path // who asked first for that
}

// Empty reports whether there is nothing to look at.
func (l Look) Empty() bool { return !l.All && len(l.IDs) == 0 }

// and is both looks in one.
func (l Look) and(other Look) Look {
	if !l.All {
		l.All, l.By = other.All, other.By
	}
	if l.IDs = slices.Concat(l.IDs, other.IDs); len(l.IDs) > maxPending {
		l.IDs = nil
		if !l.All {
			l.All, l.By = true, schedule.PathPoll
		}
	}
	return l
}

// Take is what is to be looked at at the instant now. What it returns is the
// caller's to look at.
func (d *Debouncer) Take(now time.Time) Look {
	look := Look{IDs: d.TakeNamed()}
	if d.all && (d.lastAll.IsZero() || now.Sub(d.lastAll) >= d.interval) {
		look.All, look.By = true, d.allBy
		d.LookedAtAll(now)
	}
	return look
}

// TakeNamed is those of them that were named.
func (d *Debouncer) TakeNamed() []schedule.ID {
	ids := d.pending
	d.pending = nil
	clear(d.isIn)
	return ids
}

// TakeDue is the earliest instant at which a change that was added since the last
// call is due, or the zero time. It is a hint as all that a change says: the run
// may come later.
func (d *Debouncer) TakeDue() time.Time {
	due := d.due
	d.due = time.Time{}
	return due
}

// LookedAtAll says that everything is being looked at for another reason, which
// answers those who asked for that so far. What was told of before is forgotten:
// versions are counted anew when a schedule is written anew or a backup restored.
func (d *Debouncer) LookedAtAll(now time.Time) {
	d.all, d.lastAll = false, now
	clear(d.recent)
	d.older = nil
}

// Wait is how long after now Take has something to return; ok is false when it
// has not been told anything.
func (d *Debouncer) Wait(now time.Time) (wait time.Duration, ok bool) {
	switch {
	case len(d.pending) > 0:
		return 0, true
	case !d.all:
		return 0, false
	case d.lastAll.IsZero():
		return 0, true
	default:
		return max(d.interval-now.Sub(d.lastAll), 0), true
	}
}
