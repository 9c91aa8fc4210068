package wake

import (
	"fmt"
	"sync"
	"time"
)

// DefaultHeartbeat is how often a path is proven unless another interval is set.
const DefaultHeartbeat = 2 * time.Second

// maxMissed is how many heartbeats a path may stay without one that comes back
// before it isn't believed any more.
const maxMissed = 3

// State is how far a path can be relied on. It serves as a word in logs and
// JSON.
type State string

// The states of a path.
const (
	StateUp       State = "up"       // proven: a heartbeat came back within the last three intervals
	StateUnproven State = "unproven" // connected, but nothing proves it
	StateDown     State = "down"     // not connected
)

// Status is how a path of messages is.
type Status struct {
	State     State
	Since     time.Time     // when it became so; zero before Run
	Heartbeat time.Duration // since the last heartbeat that came back; 0 when there has been none, which no path that is up has
	RoundTrip time.Duration // of that heartbeat
	Losses    int64         // how often it has ceased to be up since the start
	Reason    string        // why it isn't up, in words for everybody: no address, no secret
}

// pulse is what is known of a path. The zero pulse is of one that is down. It is
// told the time. One goroutine writes, any may ask for the status.
type pulse struct {
	mu       sync.Mutex
	interval time.Duration

	open  bool
	since time.Time // when it opened or closed
	heard time.Time // when anything came over this connection last; at first: when it opened
	// owed is when the first heartbeat went out of those that nothing has come
	// after; zero: none.
	owed time.Time

	upSince   time.Time // zero: not up, or so it was when somebody looked last
	beat      time.Time // when a heartbeat came back last, over this connection or one before
	roundTrip time.Duration
	losses    int64

	trouble string // what is known of why it isn't proven; empty: nothing
}

func (p *pulse) start(now time.Time, interval time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interval, p.since = interval, now
}

// opened is called when a connection is ready to hear.
func (p *pulse) opened(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open, p.since, p.heard, p.owed = true, now, now, time.Time{}
}

// closed is called when that connection is given up.
func (p *pulse) closed(now time.Time, trouble string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open, p.since, p.trouble = false, now, trouble
	p.lose()
}

// lose has the lock.
func (p *pulse) lose() {
	if !p.upSince.IsZero() {
		p.upSince = time.Time{}
		p.losses++
	}
}

// sent is called when a heartbeat went out at that time, and no sooner than it
// is certain that it did: one that couldn't be sent proves nothing.
func (p *pulse) sent(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owed.IsZero() && p.heard.Before(at) {
		p.owed = at
	}
}

// message is called for whatever comes: who hears isn't deaf.
func (p *pulse) message(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard, p.owed = now, time.Time{}
}

// proven is called for a heartbeat that comes back.
func (p *pulse) proven(now time.Time, roundTrip time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.fresh(now) {
		p.lose()
	}
	if p.upSince.IsZero() {
		p.upSince = now
	}
	p.beat, p.roundTrip, p.trouble = now, roundTrip, ""
}

// everProven reports whether a heartbeat has ever come back.
func (p *pulse) everProven() bool { return !p.beat.IsZero() }

// silent reports whether nothing comes although something must: nothing was heard
// for three intervals, and the first heartbeat that is missing went out two ago.
func (p *pulse) silent(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open && !p.owed.IsZero() &&
		now.Sub(p.heard) >= maxMissed*p.interval && now.Sub(p.owed) >= (maxMissed-1)*p.interval
}

// stale reports whether the connection is open and nothing has proven it for three
// intervals.
func (p *pulse) stale(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open || now.Sub(p.since) < maxMissed*p.interval || p.fresh(now) {
		return false
	}
	p.lose()
	return true
}

// hearing reports whether anything was heard within three intervals.
func (p *pulse) hearing(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard.After(p.since) && now.Sub(p.heard) < maxMissed*p.interval
}

// fresh has the lock.
func (p *pulse) fresh(now time.Time) bool { return now.Sub(p.beat) <= maxMissed*p.interval }

func (p *pulse) troubled(trouble string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trouble = trouble
}

func (p *pulse) status(now time.Time) Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{State: StateDown, Since: p.since, RoundTrip: p.roundTrip, Losses: p.losses, Reason: "not connected"}
	if !p.beat.IsZero() {
		s.Heartbeat = now.Sub(p.beat)
	}
	switch {
	case !p.open:
	case !p.upSince.IsZero() && p.fresh(now):
		s.State, s.Since, s.Reason = StateUp, p.upSince, ""
		return s
	case p.beat.Before(p.since):
		s.State, s.Reason = StateUnproven, "no heartbeat has come back yet"
	default:
		s.State, s.Since = StateUnproven, p.beat.Add(maxMissed*p.interval)
		s.Reason = fmt.Sprintf("no heartbeat has come back for %v", s.Heartbeat.Round(100*time.Millisecond))
	}
	if p.trouble != "" {
		s.Reason = p.trouble
	}
	return s
}
