package jobs

import (
	"context"
	"sync"
	"time"
)

// hostLimit bounds how many webhooks are under way to one host at once, in this
// process: a schedule must not become a flood for whoever it calls, nor one slow
// host take every worker.
type hostLimit struct {
	most int

	mu    sync.Mutex
	hosts map[string]*hostSlots
}

type hostSlots struct {
	free  chan struct{} // holds a token for each one under way
	users int           // under way or waiting
}

func newHostLimit(most int) *hostLimit {
	return &hostLimit{most: most, hosts: map[string]*hostSlots{}}
}

// acquire waits for a slot no longer than the patience; it isn't ok when none came
// free, or the context ended. Who has a slot releases it.
func (l *hostLimit) acquire(ctx context.Context, host string, patience time.Duration) (release func(), ok bool) {
	slots := l.join(host)
	release = func() { <-slots.free; l.leave(host, slots) }
	select {
	case slots.free <- struct{}{}:
		return release, true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case slots.free <- struct{}{}:
		return release, true
	case <-timer.C:
	case <-ctx.Done():
	}
	l.leave(host, slots)
	return nil, false
}

func (l *hostLimit) join(host string) *hostSlots {
	l.mu.Lock()
	defer l.mu.Unlock()
	slots := l.hosts[host]
	if slots == nil {
		slots = &hostSlots{free: make(chan struct{}, l.most)}
		l.hosts[host] = slots
	}
	slots.users++
	return slots
}

func (l *hostLimit) leave(host string, slots *hostSlots) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slots.users--; slots.users == 0 {
		delete(l.hosts, host)
	}
}
