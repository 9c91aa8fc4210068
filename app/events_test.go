package app

import (
	"slices"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

func TestAPositionIsGoneOnFromOnlyWhereAllThatFollowsIsKnown(t *testing.T) {
	t.Parallel()
	begun, err := db.ParseSnapshot("100:110:100,105")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tail := &Tail{since: now, begun: begun, max: 200}
	for _, row := range []struct {
		p     position
		known bool
	}{
		{position{at: now, next: 150}, true},
		{position{at: now, next: 150, inside: 150}, true},
		{position{at: now, next: 200}, true},
		{position{at: now.Add(-time.Microsecond), next: 150}, false},
		{position{at: now, next: 201}, false},
		{position{at: now, next: 150, late: []uint64{100, 105, 120}}, true}, // seen to end by this tail
		{position{at: now, next: 150, late: []uint64{101}}, false},
		{position{at: now, next: 150, inside: 105}, true},
		{position{at: now, next: 150, inside: 99}, false},
	} {
		s := &Stream{tail: tail, resume: &row.p}
		if why := s.unknown(); (why == "") != row.known {
			t.Errorf("%+v: %q", row.p, why)
		}
	}
}

// Two processes may have told the same in another order. Whoever comes from one to the
// other is told what is missing, and the ids say so at each step.
func TestWhoChangesProcessesIsToldTheRestOnceWhateverTheirOrders(t *testing.T) {
	t.Parallel()
	seal, err := newSeal(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	event := func(transaction uint64, after position) *Event {
		e := &Event{Event: db.Event{Kind: db.RunEnqueued, Transaction: transaction, ScheduleID: schedule.ID{byte(transaction)}}}
		e.key = keyOf(&e.Event)
		after.inside, after.last, after.at = transaction, e.key, time.Now()
		e.after, e.id = after, seal.text(&after)
		return e
	}
	// 95 and 97 were late where they come from, here only 97 was.
	tail := &Tail{seal: seal, news: make(chan struct{}), first: 1, now: position{next: 103}, max: 103, events: []*Event{
		event(90, position{next: 90}),
		event(95, position{next: 95}),
		event(100, position{next: 100, late: []uint64{97}}),
		event(101, position{next: 101, late: []uint64{97}}),
		event(97, position{next: 102}),
		event(102, position{next: 102}),
	}}
	tail.nowID = seal.text(&tail.now)
	tail.events = slices.Insert(tail.events, 3, event(100, position{next: 100, late: []uint64{97}}))
	tail.events[3].key[24]++
	p := position{next: 100, late: []uint64{95, 97}, inside: 100, last: tail.events[2].key}
	var told []uint64
	for range 5 {
		s := &Stream{tail: tail, resume: &p, next: tail.first, caller: Operator("test")}
		s.finish()
		events, err := s.Next(t.Context(), time.Millisecond)
		if err != nil || len(events) == 0 {
			t.Fatal(events, err)
		}
		told = append(told, events[0].Transaction) // and then they are cut off
		if p, err = seal.position(events[0].ID); err != nil {
			t.Fatal(err)
		}
	}
	if want := []uint64{100, 95, 101, 97, 102}; !slices.Equal(told, want) {
		t.Errorf("told: %v, not %v", told, want)
	}
}
