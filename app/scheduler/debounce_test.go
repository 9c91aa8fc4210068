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
		verdict Verdict
		all     bool
		ids     int
	}
	add := func(after time.Duration, c schedule.Change, verdict Verdict) step {
		return step{after: after, add: &c, verdict: verdict}
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
		{"the first look at everything is taken at once", []step{add(0, everything, Fresh), all(0), none(0)}},
		{"those that are asked for meanwhile come as one when the interval is over", []step{
			add(0, everything, Fresh), all(0), add(1*s, everything, Fresh), none(1 * s), add(2*s, everything, Merged), none(4900 * time.Millisecond), all(5 * s), none(11 * s),
		}},
		{"a known change is looked at at once, also within the interval", []step{add(0, everything, Fresh), all(0), add(1*s, known(1, 1), Fresh), ids(1*s, 1), none(1 * s)}},
		{"a known change is looked at once, however often it comes", []step{add(0, known(1, 1), Fresh), ids(0, 1), add(0, known(1, 1), Duplicate), none(0)}},
		{"an older version never hides a newer one", []step{add(0, known(1, 2), Fresh), ids(0, 1), add(0, known(1, 1), Fresh), ids(0, 1), add(0, known(1, 3), Fresh), ids(0, 1)}},
		{"changes of one schedule wait as one", []step{add(0, known(1, 1), Fresh), add(0, known(1, 2), Fresh), add(0, known(2, 1), Fresh), ids(0, 2)}},
		{"a change without version is never a duplicate", []step{
			add(0, schedule.Change{ID: schedule.ID{1}}, Fresh), all(0), add(6*s, schedule.Change{ID: schedule.ID{1}}, Fresh), all(6 * s),
		}},
		{"what was named is looked at first, then everything", []step{
			add(0, known(1, 1), Fresh), add(0, everything, Fresh), {all: true, ids: 1}, none(0),
		}},
		{"an id that is written anew after its delete is looked at again", []step{
			add(0, known(1, 1), Fresh), ids(0, 1), add(0, deleted, Fresh), ids(0, 1), add(0, known(1, 1), Fresh), ids(0, 1),
		}},
		{"a version of an id that is written anew isn't the delete that had its number", []step{
			add(0, deleted, Fresh), ids(0, 1), add(0, known(1, 1), Fresh), ids(0, 1), add(0, known(1, 2), Fresh), ids(0, 1),
			add(0, deleted, Duplicate), add(0, known(1, 2), Duplicate), none(0),
		}},
	} {
		t.Run(row.claim, func(t *testing.T) {
			d := NewDebouncer(5 * s)
			for i, step := range row.steps {
				if step.add != nil {
					if got := d.Add(*step.add, schedule.PathNotify); got != step.verdict {
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

// model is what a Debouncer must do, said plainly: it forgets nothing.
type model struct {
	told    map[schedule.Change]bool // by id and version
	pending map[schedule.ID]bool
	asked   time.Time // since when everything is to be looked at
	due     time.Time
}

func (m *model) add(c schedule.Change, now time.Time) Verdict {
	if !c.Known() {
		if !m.asked.IsZero() {
			return Merged
		}
		m.asked = now
		return Fresh
	}
	version := schedule.Change{ID: c.ID, Version: c.Version}
	if c.Op == schedule.OpDeleted { // it has a number that the id may get once more
		version.Op = c.Op
	}
	if m.told[version] {
		return Duplicate
	}
	if c.Op == schedule.OpDeleted { // the id may be written anew
		for told := range m.told {
			if told.ID == c.ID {
				delete(m.told, told)
			}
		}
	}
	m.told[version], m.pending[c.ID] = true, true
	if !c.NextRunAt.IsZero() && (m.due.IsZero() || c.NextRunAt.Before(m.due)) {
		m.due = c.NextRunAt
	}
	return Fresh
}

// However hints come, by both paths, in any order, doubled or late: each version
// is looked at once, by the next Take; looks at everything keep their distance,
// none that was asked for is forgotten, and a steady stream puts none off.
func TestDebouncerDoesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const interval = 5 * time.Second
		d := NewDebouncer(interval)
		m := &model{told: map[schedule.Change]bool{}, pending: map[schedule.ID]bool{}}
		now := begin
		var looks []time.Time // at everything
		var sent []schedule.Change
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 2000).Draw(t, "ms")) * time.Millisecond)
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2: // a change
				c := known(rapid.Byte().Draw(t, "id")%4+1, rapid.Int64Range(1, 9).Draw(t, "version"))
				c.Op = rapid.SampledFrom([]schedule.Op{"", schedule.OpCreated, schedule.OpUpdated, schedule.OpUpdated, schedule.OpDeleted}).Draw(t, "op")
				if rapid.Bool().Draw(t, "due") {
					c.NextRunAt = now.Add(time.Duration(rapid.IntRange(-10, 100).Draw(t, "in")) * time.Second)
				}
				sent = append(sent, c)
				check(t, d, m, c, schedule.PathLocal, now)
			case 3, 4: // the same by another path, or again, or late
				if len(sent) > 0 {
					check(t, d, m, rapid.SampledFrom(sent).Draw(t, "again"), schedule.PathRedis, now)
				}
			case 5, 6: // nobody knows what changed
				check(t, d, m, schedule.Change{ID: schedule.ID{rapid.Byte().Draw(t, "id") % 2}}, schedule.PathNotify, now)
			case 7: // the poll
				d.LookedAtAll(now)
				clear(m.told)
				m.asked = time.Time{}
				looks = append(looks, now)
			case 8: // what a look has found: later versions were made up, or are of an earlier life
				if id, version := (schedule.ID{rapid.Byte().Draw(t, "id")%4 + 1}), rapid.Int64Range(0, 9).Draw(t, "version"); rapid.Bool().Draw(t, "found") {
					d.Found(id, version)
					for told := range m.told {
						if told.ID == id && max(told.Version, -told.Version) > version {
							delete(m.told, told)
						}
					}
				}
				if due := d.TakeDue(); !due.Equal(m.due) {
					t.Fatalf("the alarm moves to %v, not %v", due, m.due)
				}
				m.due = time.Time{}
			default:
				wait, ok := d.Wait(now)
				if !ok {
					break
				}
				now = now.Add(wait)
				look := d.Take(now)
				switch {
				case look.Empty():
					t.Fatalf("after its wait of %v there is nothing to look at", wait)
				case look.All && m.asked.IsZero():
					t.Fatal("it looks at everything, which nobody asked for")
				case look.All:
					if n := len(looks); n > 0 && now.Sub(looks[n-1]) < interval {
						t.Fatalf("it looks at everything %v after the last time", now.Sub(looks[n-1]))
					}
					looks, m.asked = append(looks, now), time.Time{}
					clear(m.told) // versions may be counted anew
				}
				if len(look.IDs) != len(m.pending) {
					t.Fatalf("it looks at %d of %d that changed", len(look.IDs), len(m.pending))
				}
				for _, id := range look.IDs {
					if !m.pending[id] {
						t.Fatalf("it looks at %v, which hasn't changed", id)
					}
				}
				clear(m.pending)
			}
			wait, ok := d.Wait(now)
			if want := len(m.pending) > 0 || !m.asked.IsZero(); ok != want {
				t.Fatalf("Wait says %v with %d pending and everything asked for at %v", ok, len(m.pending), m.asked)
			}
			if len(m.pending) > 0 && wait != 0 {
				t.Fatalf("a change that is known has to wait %v", wait)
			}
			if wait > interval {
				t.Fatalf("everything has to wait %v longer", wait)
			}
		}
	})
}

func check(t *rapid.T, d *Debouncer, m *model, c schedule.Change, by schedule.Path, now time.Time) {
	if got, want := d.Add(c, by), m.add(c, now); got != want {
		t.Fatalf("%+v is %s, not %s", c, got, want)
	}
}

func TestDebouncerRemembersABoundedNumber(t *testing.T) {
	d := NewDebouncer(time.Second)
	for i := range 5 * maxSeen {
		d.Add(schedule.Change{ID: schedule.ID{byte(i), byte(i >> 8), byte(i >> 16), 1}, Version: 1}, schedule.PathNotify)
		if i%100 == 0 {
			d.Add(known(9, int64(i+1)), schedule.PathNotify)
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
	// Nor does what can't be looked at for hours grow.
	var left Look
	for range 11 {
		left = Look{IDs: make([]schedule.ID, maxPending/10)}.and(left)
		if len(left.IDs) > maxPending {
			t.Fatalf("%d are left", len(left.IDs))
		}
	}
	if !left.All {
		t.Error("what is left past the bound isn't looked at")
	}
}
