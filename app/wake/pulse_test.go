package wake

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The times of these tests are seconds, and heartbeats are a second apart.
func at(seconds float64) time.Time {
	return time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

func TestAPathIsUpWhileItsHeartbeatIsFresh(t *testing.T) {
	t.Parallel()
	p := &pulse{}
	expect := func(now float64, want Status) {
		t.Helper()
		if diff := cmp.Diff(want, p.status(at(now))); diff != "" {
			t.Errorf("at %v s (-want +got):\n%s", now, diff)
		}
	}
	expect(0, Status{State: StateDown, Reason: "not connected"})
	p.start(at(0), time.Second)
	expect(1, Status{State: StateDown, Since: at(0), Reason: "not connected"})
	p.opened(at(2))
	expect(3, Status{State: StateUnproven, Since: at(2), Reason: "no heartbeat has come back yet"})

	p.proven(at(4), time.Millisecond)
	expect(4, Status{State: StateUp, Since: at(4), RoundTrip: time.Millisecond})
	p.proven(at(6), 2*time.Millisecond)
	expect(9, Status{State: StateUp, Since: at(4), Heartbeat: 3 * time.Second, RoundTrip: 2 * time.Millisecond})
	// Nobody has to look for it to be so.
	expect(9.5, Status{State: StateUnproven, Since: at(9), Heartbeat: 3500 * time.Millisecond, RoundTrip: 2 * time.Millisecond, Reason: "no heartbeat has come back for 3.5s"})
	p.proven(at(10), 4*time.Second)
	expect(10, Status{State: StateUp, Since: at(10), RoundTrip: 4 * time.Second, Losses: 1})

	p.closed(at(11), "")
	expect(12, Status{State: StateDown, Since: at(11), Heartbeat: 2 * time.Second, RoundTrip: 4 * time.Second, Losses: 2, Reason: "not connected"})
	// A heartbeat of the old connection says nothing of the new one.
	p.opened(at(12))
	expect(12.5, Status{State: StateUnproven, Since: at(12), Heartbeat: 2500 * time.Millisecond, RoundTrip: 4 * time.Second, Losses: 2, Reason: "no heartbeat has come back yet"})
	p.closed(at(13), "for a reason")
	expect(13, Status{State: StateDown, Since: at(13), Heartbeat: 3 * time.Second, RoundTrip: 4 * time.Second, Losses: 2, Reason: "for a reason"})
}

func TestSilenceIsThreeIntervalsInWhichSomethingHadToCome(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		lived func(*pulse)
		from  float64 // silent from then on; 0: never
	}{
		"nothing is sent": {func(*pulse) {}, 0},
		"nothing ever came": {func(p *pulse) {
			p.sent(at(0.1))
			p.sent(at(1.1))
			p.sent(at(2.1))
		}, 3},
		"it froze between two heartbeats": {func(p *pulse) {
			p.sent(at(0.1))
			p.message(at(0.2))
			p.sent(at(1.1))
			p.sent(at(2.1))
		}, 3.2},
		"the answer was faster than the sender": {func(p *pulse) {
			p.message(at(0.2))
			p.sent(at(0.1))
		}, 0},
		"something else came": {func(p *pulse) {
			p.sent(at(0.1))
			p.sent(at(1.1))
			p.message(at(2))
		}, 0},
		// The pool was down for a minute: the heartbeat that follows gets its time.
		"nothing could be sent for long": {func(p *pulse) {
			p.sent(at(0.1))
			p.message(at(0.2))
			p.sent(at(60))
		}, 62},
		"it is closed": {func(p *pulse) {
			p.sent(at(0.1))
			p.closed(at(0.2), "")
		}, 0},
	} {
		p := &pulse{}
		p.start(at(0), time.Second)
		p.opened(at(0))
		row.lived(p)
		for now := 0.0; now < 100; now += 0.05 {
			if want := row.from > 0 && now >= row.from-0.001; p.silent(at(now+0.001)) != want {
				t.Errorf("%s: silent is %v at %.2f s", name, !want, now)
				break
			}
		}
	}
}
