package scheduler

import (
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// What a trail keeps.
const (
	maxTrail = 10_000 // changes
	maxLooks = 1_000  // looks at everything
)

// trail remembers how the last changes came, for who asks. No decision rests on
// it. It is pure, and isn't safe for concurrent use.
type trail struct {
	changes ring[db.Learnt] // Since is zero until a look has followed
	newest  map[schedule.ID]int

	// How far they have come: the changes before these numbers are being planned, are
	// planned, are seen by the look at the alarm that is under way, are in force.
	taken, planned, seen, looked int

	looks ring[fullLook]
	// What asked for the look at everything that is planned, and for the one that the
	// look at the alarm sees; "": none.
	plannedAll, seenAll schedule.Path
}

type fullLook struct {
	at time.Time
	by schedule.Path
}

func newTrail() *trail { return &trail{newest: map[schedule.ID]int{}} }

// learn takes a version of a schedule that the scheduler came to know of, and since
// when it is in force here; zero: a look is to follow.
func (t *trail) learn(id schedule.ID, version int64, by schedule.Path, since time.Time) {
	if n, ok := t.newest[id]; ok && t.changes.at(n).Version >= version {
		return
	}
	if n := t.changes.next - maxTrail; n >= 0 {
		if old := t.changes.at(n); t.newest[old.ScheduleID] == n {
			delete(t.newest, old.ScheduleID)
		}
	}
	t.newest[id] = t.changes.next
	t.changes.add(db.Learnt{ScheduleID: id, Version: version, Path: by, Since: since}, maxTrail)
}

// take says that what has come so far is going to be planned.
func (t *trail) take() { t.taken = t.changes.next }

// plan says that what was taken is planned, and everything if the look says so.
func (t *trail) plan(look Look) {
	t.planned = t.taken
	if look.All && t.plannedAll == "" {
		t.plannedAll = look.By
	}
}

// begin says that a look at the alarm begins, which sees what is planned by now.
func (t *trail) begin() {
	t.seen = t.planned
	if t.seenAll == "" {
		t.seenAll, t.plannedAll = t.plannedAll, ""
	}
}

// look says that it has ended: the alarm stands as the database had it at the
// instant.
func (t *trail) look(at time.Time) {
	for n := max(t.looked, t.changes.next-maxTrail); n < t.seen; n++ {
		if change := t.changes.at(n); change.Since.IsZero() {
			change.Since = at
		}
	}
	t.looked = t.seen
	if t.seenAll != "" {
		t.looks.add(fullLook{at, t.seenAll}, maxLooks)
		t.seenAll = ""
	}
}

// find says how the scheduler came to have what was made of a schedule at the
// instant changedAt: told of it by name or, with the version 0, by a look at
// everything. It may return an earlier version, or nothing.
func (t *trail) find(id schedule.ID, changedAt time.Time) (db.Learnt, bool) {
	var known db.Learnt
	if n, ok := t.newest[id]; ok {
		known = *t.changes.at(n)
	}
	if !known.Since.IsZero() && !known.Since.Before(changedAt) {
		return known, true
	}
	for n := max(0, t.looks.next-maxLooks); n < t.looks.next; n++ {
		if look := t.looks.at(n); !look.at.Before(changedAt) {
			return db.Learnt{ScheduleID: id, Path: look.by, Since: look.at}, true
		}
	}
	return known, !known.Since.IsZero()
}

// ring is the last of a number of things, which are numbered from 0.
type ring[T any] struct {
	held []T
	next int // the number of the next one
}

func (r *ring[T]) add(v T, most int) {
	if len(r.held) < most {
		r.held = append(r.held, v)
	} else {
		r.held[r.next%most] = v
	}
	r.next++
}

// at is number n, which must still be held.
func (r *ring[T]) at(n int) *T { return &r.held[n%len(r.held)] }
