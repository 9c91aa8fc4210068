package wake

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
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
	path      string // which connection, in the log
	log       *slog.Logger
	connected *atomic.Bool // for everybody else

	told     bool // the loss is in the log
	since    time.Time
	failures int
}

func newLink(path string, log *slog.Logger, connected *atomic.Bool) *link {
	if log == nil {
		log = slog.Default()
	}
	return &link{path: path, log: log, connected: connected, since: time.Now()}
}

// up is called whenever the connection proves to work.
func (k *link) up(ctx context.Context) {
	if k.connected.Swap(true) {
		return
	}
	if k.told {
		k.log.InfoContext(ctx, "wake path is back", "path", k.path, "away", time.Since(k.since).Round(time.Millisecond))
	} else {
		k.log.DebugContext(ctx, "wake path is open", "path", k.path)
	}
	k.told, k.since = false, time.Now()
}

// down is called for every failed attempt and every loss. What a stop breaks is
// not a loss.
func (k *link) down(ctx context.Context, err error) {
	wasUp := k.connected.Swap(false)
	if ctx.Err() != nil {
		return
	}
	if wasUp && time.Since(k.since) >= steady {
		k.failures = 0
	}
	if wasUp {
		k.since = time.Now()
	}
	k.failures++
	if k.told {
		k.log.DebugContext(ctx, "wake path is still lost", "path", k.path, "failures", k.failures, "err", err)
		return
	}
	k.told = true
	k.log.WarnContext(ctx, "wake path is lost; trying to get it back", "path", k.path, "err", err)
}

// pause waits until the next attempt is due, which the first one is at once. It
// returns the context's error if that ends before.
func (k *link) pause(ctx context.Context) error {
	if k.failures == 0 {
		return ctx.Err()
	}
	longest := lastPause
	if doublings := k.failures - 1; doublings < 4 {
		longest = min(firstPause<<doublings, lastPause)
	}
	timer := time.NewTimer(longest - rand.N(longest/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
