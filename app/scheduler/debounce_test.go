package scheduler

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
)

var (
	begin      = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	everything = schedule.Change{}
)

func known(id byte, version int64) schedule.Change {
	return schedule.Change{Op: schedule.OpUpdated, ID: schedule.ID{id}, Version: version}
}

func TestDebouncer(t *testing.T) {
	// A step adds a change at a time, or takes what may be looked at.
	type step struct {
		after   time.Duration
		add     *schedule.Change
		isFresh bool
		all     bool
		ids     int
	}
	add := func(after time.Duration, c schedule.Change, isFresh bool) step {
		return step{after: after, add: &c, isFresh: isFresh}
	}
	none := func(after time.Duration) step { return step{after: after} }
	all := func(after time.Duration) step { return step{after: after, all: true} }
	ids := func(after time.Duration, n int) step { return step{after: after, ids: n} }
	const s = time.Second
	deleted := schedule.Change{Op: schedule.OpDeleted, ID: schedule.ID{1}, Version: 2}

	for _, row := range []struct {
		claim string
		steps []step
	}{
		{"the first look at everything is taken at once", []step{add(0, everything, true), all(0), none(0)}},
		{"those that are asked for meanwhile come as one when the interval is over", []step{
			add(0, everything, true), all(0), add(1*s, everything, true), none(1 * s), add(2*s, everything, true), none(4900 * time.Millisecond), all(5 * s), none(11 * s),
		}},
		{"a known change is looked at at once, also within the interval", []step{add(0, everything, true), all(0), add(1*s, known(1, 1), true), ids(1*s, 1), none(1 * s)}},
		{"a known change is looked at once, however often it comes", []step{add(0, known(1, 1), true), ids(0, 1), add(0, known(1, 1), false), none(0)}},
		{"an older version never hides a newer one", []step{add(0, known(1, 2), true), ids(0, 1), add(0, known(1, 1), true), ids(0, 1), add(0, known(1, 3), true), ids(0, 1)}},
		{"changes of one schedule wait as one", []step{add(0, known(1, 1), true), add(0, known(1, 2), true), add(0, known(2, 1), true), ids(0, 2)}},
		{"a change without version is never a duplicate", []step{
			add(0, schedule.Change{ID: schedule.ID{1}}, true), all(0), add(6*s, schedule.Change{ID: schedule.ID{1}}, true), all(6 * s),
		}},
		{"a look at everything answers what was known too", []step{add(0, known(1, 1), true), add(0, everything, true), all(0), none(0)}},
		{"an id that is written anew after its delete is looked at again", []step{
			add(0, known(1, 1), true), ids(0, 1), add(0, deleted, true), ids(0, 1), add(0, known(1, 1), true), ids(0, 1),
		}},
	} {
		t.Run(row.claim, func(t *testing.T) {
			d := NewDebouncer(5 * s)
			for i, step := range row.steps {
				if step.add != nil {
					if got := d.Add(*step.add); got != step.isFresh {
						t.Fatalf("step %d: Add says %v", i, got)
					}
					continue
				}
				look := d.Take(begin.Add(step.after))
				if look.All != step.all || len(look.IDs) != step.ids {
					t.Fatalf("step %d: Take says %+v", i, look)
				}
			}
		})
	}
}

// However hints come: looks at everything keep their distance, none that was
// asked for is forgotten, and every known change is looked at by the next Take.
func TestDebouncerNeverStarvesAndNeverHurries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const interval = 5 * time.Second
		d := NewDebouncer(interval)
		now := begin
		var lastAll, asked time.Time
		pending := map[schedule.ID]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "add") {
				c := schedule.Change{}
				if rapid.Bool().Draw(t, "known") {
					c = known(rapid.Byte().Draw(t, "id")%4, rapid.Int64Range(1, 5).Draw(t, "version"))
				}
				if d.Add(c) {
					if c.Known() {
						pending[c.ID] = true
					} else if asked.IsZero() {
						asked = now
					}
				}
			}
			wait, ok := d.Wait(now)
			if want := len(pending) > 0 || !asked.IsZero(); ok != want {
				t.Fatalf("Wait says %v with %d pending and everything asked for at %v", ok, len(pending), asked)
			}
			if ok && rapid.Bool().Draw(t, "take") {
				now = now.Add(wait)
				look := d.Take(now)
				if look.Empty() {
					t.Fatalf("after its wait of %v there is nothing to look at", wait)
				}
				if look.All {
					if !lastAll.IsZero() && now.Sub(lastAll) < interval {
						t.Fatalf("looks at everything %v apart", now.Sub(lastAll))
					}
					lastAll, asked = now, time.Time{}
				} else if len(look.IDs) != len(pending) {
					t.Fatalf("%d of %d known changes", len(look.IDs), len(pending))
				}
				clear(pending)
			}
			if !asked.IsZero() {
				if wait, _ := d.Wait(now); wait > interval {
					t.Fatalf("everything is to wait %v longer", wait)
				}
			}
		}
	})
}

func TestDebouncerRemembersABoundedNumber(t *testing.T) {
	d := NewDebouncer(time.Second)
	for i := range 5 * maxSeen {
		d.Add(schedule.Change{ID: schedule.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Version: 1})
		if i%100 == 0 {
			d.Add(known(9, int64(i+1)))
		}
	}
	if n := len(d.recent) + len(d.older); n > maxSeen {
		t.Errorf("it remembers %d schedules", n)
	}
	if n := len(d.recent[schedule.ID{9}]); n > maxSeenVersions {
		t.Errorf("it remembers %d versions of one", n)
	}
	if len(d.pending) > maxPending || !d.Take(begin).All {
		t.Error("past the bound it doesn't look at everything")
	}
}
