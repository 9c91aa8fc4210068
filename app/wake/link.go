package wake

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Attempts to connect follow one another after firstPause at first, then twice
// as long each time, up to lastPause: soon enough that nobody waits for the
// poll, seldom enough for a server that is starting. Each pause is shortened at
// random by up to half, so that many processes don't come at once.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Second
	// steady is how long a connection must have held for the next loss to count
	// as the first. One that breaks again and again stays at lastPause.
	steady = 10 * time.Second
)

// link follows one connection for the goroutine that keeps it up. It logs the
// loss once and the return once, however many attempts lie between.
type link struct {
	path string // which connection, in the log
	log  *slog.Logger

	isUp        bool
	told        bool // the loss is in the log
	since       time.Time
	failures    int
	first, last time.Duration // of the pauses between attempts
	isSwallowed bool
}

func newLink(path string, log *slog.Logger) *link {
	if log == nil {
		log = slog.Default()
	}
	return &link{path: path, log: log, since: time.Now(), first: firstPause, last: lastPause}
}

// up is called whenever the connection proves to work.
func (k *link) up(ctx context.Context) {
	if k.isUp {
		return
	}
	if k.told {
		k.log.InfoContext(ctx, "wake path is back", "path", k.path, "away", time.Since(k.since).Round(time.Millisecond))
	} else {
		k.log.DebugContext(ctx, "wake path is open", "path", k.path)
	}
	k.isUp, k.told, k.since = true, false, time.Now()
	k.isSwallowed, k.first, k.last = false, firstPause, lastPause
}

// down is called for every failed attempt and every loss. What a stop breaks is
// not a loss.
func (k *link) down(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if k.isUp && time.Since(k.since) >= steady {
		k.failures = 0
	}
	k.failures++
	if !k.warn(ctx, "wake path is lost; trying to get it back", "err", err) {
		k.log.DebugContext(ctx, "wake path is still lost", "path", k.path, "failures", k.failures, "err", err)
	}
}

// warn says once that the path isn't up; more is not said until it is. It
// reports whether it did.
func (k *link) warn(ctx context.Context, message string, attrs ...any) bool {
	if k.isUp {
		k.isUp, k.since = false, time.Now()
	}
	if k.told {
		return false
	}
	k.told = true
	k.log.WarnContext(ctx, message, append([]any{"path", k.path}, attrs...)...)
	return true
}

// swallowed is called for every connection that works in all but what it is for.
// From the first on, pauses are long until one works.
func (k *link) swallowed(ctx context.Context, first time.Duration, hint string) {
	if k.last != lastSwallowedPause {
		k.first, k.last, k.failures = first, lastSwallowedPause, 0
	}
	k.failures++
	if k.isSwallowed {
		k.log.DebugContext(ctx, "wake path is still lost", "path", k.path, "failures", k.failures, "err", errSwallowed)
	} else {
		k.isSwallowed = true
		k.told = false // of why it is lost, this says more
		k.warn(ctx, "wake path hears nothing: what is sent doesn't come back; the other paths and the poll carry on", "hint", hint)
	}
}

// pause waits until the next attempt is due, which the first one is at once. It
// returns the context's error if that ends before.
func (k *link) pause(ctx context.Context) error {
	if k.failures == 0 {
		return ctx.Err()
	}
	longest := min(k.first<<min(k.failures-1, 10), k.last)
	timer := time.NewTimer(longest - rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
