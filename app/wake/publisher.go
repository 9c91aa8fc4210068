package wake

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const (
	// queueLength is how many changes may wait for Redis. More are not worth
	// keeping one by one.
	queueLength = 10_000
	// batchLength is how many messages go out together: some 20 KB, which a slow
	// line, too, takes well within sendTimeout.
	batchLength = 100
	// sendTimeout limits one attempt to send.
	sendTimeout = 300 * time.Millisecond
	// drainTimeout limits what a stop still tries to send.
	drainTimeout = time.Second
)

// Publisher announces changes on a Redis channel. A nil Publisher announces
// nothing, which is how Redis is done without.
type Publisher struct {
	// OnLost, if set before Run, is called when Redis stops taking what is
	// announced: once for each time that Healthy turns false, by Run's goroutine,
	// with the changes that are waiting, so that they can be told in another way.
	// What is announced while it isn't Healthy is the caller's to tell. It must not
	// block.
	OnLost func(waiting []schedule.Change)

	client    *redis.Client
	channel   string
	log       *slog.Logger
	queue     chan schedule.Change
	backlog   []schedule.Change // taken from the queue, for Run alone
	dropped   atomic.Int64
	failing   atomic.Bool
	overflown atomic.Bool // something was dropped that nobody has been told of
}

// NewPublisher announces on the channel (empty: DefaultRedisChannel) through a
// client from NewRedisClient. Nothing is sent until Run. A nil log is
// slog.Default().
func NewPublisher(client *redis.Client, channel string, log *slog.Logger) *Publisher {
	if channel == "" {
		channel = DefaultRedisChannel
	}
	if log == nil {
		log = slog.Default()
	}
	return &Publisher{client: client, channel: channel, log: log, queue: make(chan schedule.Change, queueLength)}
}

// Announce has the change sent soon. It never blocks, and the change may be lost:
// call it after the commit, once. Many may call it at a time.
func (p *Publisher) Announce(c schedule.Change) {
	if p == nil {
		return
	}
	select {
	case p.queue <- c:
	default:
		p.dropped.Add(1)
		p.overflown.Store(true)
	}
}

// Healthy reports whether Redis took what was announced last; before anything was,
// that is assumed. Who relies on Redis alone for a change asks after Announce: when
// Healthy is true then, either the change is sent or OnLost is called. A nil
// Publisher isn't healthy.
func (p *Publisher) Healthy() bool { return p != nil && !p.failing.Load() }

// Dropped is how many changes were given up since the start, because Redis was
// away for too long. It only grows.
func (p *Publisher) Dropped() int64 { return p.dropped.Load() }

// Run sends what is announced until the context ends; then it has a second for
// what is left, and returns nil. While Redis is away changes wait, up to 10,000,
// and as many again of which OnLost was told. If there were more, "look at everything" is announced in their place once
// Redis is back. It may be called once at a time.
func (p *Publisher) Run(ctx context.Context) error {
	link := newLink("redis publisher", p.log)
	// What is being sent when the context ends is sent to the end.
	unstopped := context.WithoutCancel(ctx)
	var batch []schedule.Change
	for ctx.Err() == nil {
		if batch = p.gather(batch); len(batch) == 0 {
			select {
			case <-ctx.Done():
			case c := <-p.queue:
				batch = append(batch, c)
			}
			continue
		}
		if err := p.send(unstopped, batch); err != nil {
			link.down(ctx, err)
			_ = link.pause(ctx)
			continue
		}
		link.up(ctx)
		batch = batch[:0]
	}
	p.drain(unstopped, batch)
	return nil
}

// drain sends the batch and what is still queued, while that works.
func (p *Publisher) drain(ctx context.Context, batch []schedule.Change) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	for batch = p.gather(batch); len(batch) > 0; batch = p.gather(batch[:0]) {
		if err := p.send(ctx, batch); err != nil {
			left := len(batch) + len(p.backlog) + len(p.queue)
			p.dropped.Add(int64(left))
			p.log.WarnContext(ctx, "changes were not announced", "path", "redis publisher", "changes", left, "err", err)
			return
		}
	}
}

// gather adds to the batch what is waiting, without waiting itself.
func (p *Publisher) gather(batch []schedule.Change) []schedule.Change {
	if p.overflown.Swap(false) {
		batch = append(batch, schedule.Change{})
	}
	if n := min(len(p.backlog), batchLength-len(batch)); n > 0 {
		batch, p.backlog = append(batch, p.backlog[:n]...), p.backlog[n:]
	}
	for len(batch) < batchLength {
		select {
		case c := <-p.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// send publishes the batch, and minds what that says of Redis.
func (p *Publisher) send(ctx context.Context, batch []schedule.Change) error {
	err := p.publish(ctx, batch)
	if wasFailing := p.failing.Swap(err != nil); err != nil && !wasFailing && p.OnLost != nil {
		for range len(p.queue) { // only this goroutine takes from it
			p.backlog = append(p.backlog, <-p.queue)
		}
		p.OnLost(slices.Concat(batch, p.backlog))
		// Redis may come and go for hours, for a batch each time.
		if over := len(p.backlog) - queueLength; over > 0 {
			p.backlog = p.backlog[over:]
			p.dropped.Add(int64(over))
			p.overflown.Store(true)
		}
	}
	return err
}

// publish takes one round trip. If it fails, some may have arrived.
func (p *Publisher) publish(ctx context.Context, batch []schedule.Change) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := p.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, c := range batch {
			pipe.Publish(ctx, p.channel, encodeRedis(c, time.Now()))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("publish %d changes: %w", len(batch), err)
	}
	return nil
}
