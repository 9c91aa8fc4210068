package schedule

import (
	"fmt"
	"strings"
	"time"
)

// Note says in English what is out of the ordinary about an occurrence: that the
// clock's change or a calendar moved it, or that it stands for several. It is
// empty where nothing is. The instant is one that Next returned.
func (t *Timing) Note(run time.Time) string {
	clock := stretchAt(run.Unix(), t.zone)
	wall := run.Unix() + clock.offset
	runs, leftOut := int64(0), int64(0) // occurrences in one, and the first time that no clock showed
	if t.baseLatest(run).Equal(run) {
		runs = 1
	}
	if c := t.cron; c != nil && !c.wildcard && runs == 1 && run.Unix() == clock.start {
		if reached := clock.reached(t.zone); c.catchesUp(reached, wall) {
			leftOut, _ = c.nextWall(reached)
			runs = c.countWalls(reached, wall+1)
		}
	}
	var movedFrom, joined time.Time // of moved ones the first: alone, or where the base has an occurrence, too
	many := false
	if !t.at.Equal(t.spec.At) {
		movedFrom = t.spec.At
	}
	for _, l := range t.lanes {
		day, count, first := l.movedTo(run)
		if count == 0 {
			continue
		}
		switch {
		case runs == 0 || !movedFrom.IsZero() && first.Before(movedFrom):
			movedFrom = first
		case movedFrom.IsZero() && (joined.IsZero() || first.Before(joined)):
			joined = first
		}
		if named := day*secondsPerDay + l.clock; l.zone == t.zone && named < wall && leftOut == 0 {
			leftOut = named
		}
		runs += count
		many = many || count == maxMerged
	}

	var notes []string
	switch {
	case leftOut != 0:
		notes = append(notes, clockText(leftOut)+" doesn't exist on this day: runs when the clocks have gone forward")
	case t.cron != nil && !t.cron.wildcard:
		if clock.end < ending && stretchAt(clock.end, t.zone).firstWall() <= wall {
			notes = append(notes, clockText(wall)+" comes twice on this day: runs the first time")
		}
	case wall < clock.reached(t.zone):
		notes = append(notes, "second "+clockText(wall)+" of this day")
	}
	if !movedFrom.IsZero() {
		calendar, _ := t.exclude.by(movedFrom)
		notes = append(notes, fmt.Sprintf("moved from %s by %s", movedFrom.In(t.zone).Format("Monday 2006-01-02"), calendar))
	}
	if runs > 1 {
		merged := fmt.Sprintf("merges %d runs", runs)
		if many {
			merged += " or more"
		}
		if !joined.IsZero() {
			calendar, _ := t.exclude.by(joined)
			merged += ", the others moved by " + calendar
		}
		notes = append(notes, merged)
	}
	return strings.Join(notes, "; ")
}

// maxMerged is how many excluded occurrences of a time of day are looked for.
const maxMerged = 100

// movedTo is the lane's day that has the instant, how many excluded occurrences
// moved there, maxMerged or more as maxMerged, and the first of them.
func (l lane) movedTo(run time.Time) (day, count int64, first time.Time) {
	q := search{looks: maxLooks / len(l.t.lanes)}
	day = l.from(&q, run)
	if !l.at(&q, day).Equal(run) || !l.free(&q, day) {
		return day, 0, time.Time{}
	}
	back := -l.move()
	last, _ := l.seek(&q, day+back, back)
	for source := day; count < maxMerged; count++ {
		var ok bool
		if source, ok = l.match(&q, source+back, back); !ok || (last-source)*back <= 0 {
			return day, count, first
		}
		at := l.at(&q, source)
		if !l.t.within(at) {
			return day, count, first
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return day, count, first
}

// clockText is what the local clock shows, with seconds where there are any.
func clockText(wall int64) string {
	shown := time.Unix(wall, 0).UTC()
	if shown.Second() != 0 {
		return shown.Format("15:04:05")
	}
	return shown.Format("15:04")
}
