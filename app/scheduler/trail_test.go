package scheduler

import (
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

func plan(tr *trail, look Look) {
	tr.take()
	tr.plan(look)
}

func look(tr *trail, at time.Time) {
	tr.begin()
	tr.look(at)
}

func TestTrail(t *testing.T) {
	id, other := schedule.ID{1}, schedule.ID{2}
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for _, row := range []struct {
		claim string
		do    func(*trail)
		asked time.Time
		want  db.Learnt
		none  bool
	}{
		{"nothing is known at first", func(*trail) {}, at(0), db.Learnt{}, true},
		{"a change is in force once a look has followed its plan", func(tr *trail) {
			tr.learn(id, 3, schedule.PathRedis, time.Time{})
			plan(tr, Look{})
			look(tr, at(2))
			look(tr, at(3))
		}, at(1), db.Learnt{ScheduleID: id, Version: 3, Path: schedule.PathRedis, Since: at(2)}, false},
		{"a look before its plan doesn't count", func(tr *trail) {
			tr.learn(id, 3, schedule.PathRedis, time.Time{})
			look(tr, at(2))
		}, at(1), db.Learnt{}, true},
		{"nor does one that began before", func(tr *trail) {
			tr.learn(id, 3, schedule.PathRedis, time.Time{})
			tr.begin()
			plan(tr, Look{All: true, By: schedule.PathPoll})
			tr.look(at(2))
		}, at(1), db.Learnt{}, true},
		{"nor a plan of what came before", func(tr *trail) {
			tr.take()
			tr.learn(id, 3, schedule.PathRedis, time.Time{})
			tr.plan(Look{})
			look(tr, at(2))
		}, at(1), db.Learnt{}, true},
		{"the first path counts, and an older version hides no newer one", func(tr *trail) {
			tr.learn(id, 3, schedule.PathLocal, time.Time{})
			tr.learn(id, 3, schedule.PathRedis, time.Time{})
			tr.learn(id, 2, schedule.PathNotify, time.Time{})
			plan(tr, Look{})
			look(tr, at(2))
		}, at(1), db.Learnt{ScheduleID: id, Version: 3, Path: schedule.PathLocal, Since: at(2)}, false},
		{"what nobody named was found by the first look at everything after it", func(tr *trail) {
			for i, by := range []schedule.Path{schedule.PathPoll, schedule.PathNotify, schedule.PathRedis} {
				plan(tr, Look{All: true, By: by})
				look(tr, at(2*i))
			}
		}, at(1), db.Learnt{ScheduleID: id, Path: schedule.PathNotify, Since: at(2)}, false},
		{"of a change that isn't in force the one before it is known", func(tr *trail) {
			tr.learn(id, 3, schedule.PathNotify, time.Time{})
			plan(tr, Look{})
			look(tr, at(2))
		}, at(5), db.Learnt{ScheduleID: id, Version: 3, Path: schedule.PathNotify, Since: at(2)}, false},
		{"the last 10,000 changes are kept", func(tr *trail) {
			tr.learn(id, 3, schedule.PathNotify, at(1))
			for v := range int64(maxTrail - 1) {
				tr.learn(other, v+1, schedule.PathRedis, at(2))
			}
		}, at(1), db.Learnt{ScheduleID: id, Version: 3, Path: schedule.PathNotify, Since: at(1)}, false},
		{"older ones are forgotten", func(tr *trail) {
			tr.learn(id, 3, schedule.PathNotify, at(1))
			for v := range int64(maxTrail) {
				tr.learn(other, v+1, schedule.PathRedis, at(2))
			}
		}, at(1), db.Learnt{}, true},
	} {
		t.Run(row.claim, func(t *testing.T) {
			tr := newTrail()
			row.do(tr)
			got, ok := tr.find(id, row.asked)
			if ok == row.none || ok && got != row.want {
				t.Errorf("%+v, %v", got, ok)
			}
			if len(tr.newest) > maxTrail || len(tr.changes.held) > maxTrail {
				t.Errorf("it keeps %d changes of %d schedules", len(tr.changes.held), len(tr.newest))
			}
		})
	}
}
