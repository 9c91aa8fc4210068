package wake

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Subscriber hears the changes that Publishers announce on a Redis channel.
type Subscriber struct {
	// Client is from NewRedisClient. Heartbeats go out through it, too. Required.
	Client *redis.Client
	// Channel is the channel to hear. Empty: DefaultRedisChannel. Heartbeats go
	// through channels whose names begin with it and ":heartbeat:"; if Redis denies
	// those, changes are heard all the same and nothing is proven.
	Channel string
	// Heartbeat is how often the connection is proven. One on which nothing was
	// heard for three of them is given up. Zero: DefaultHeartbeat.
	Heartbeat time.Duration
	// OnChange is called, by one goroutine, for each message, and with the zero
	// Change once for every connection, when it is proven. It must not block. Nil:
	// nobody is told, and all there is to it is the status.
	OnChange func(schedule.Change)
	// OnMessage, if set, is called for each message before OnChange, to count it.
	OnMessage func(Kind)
	// Log gets one line when the connection is lost and one when it is back.
	// Nil: slog.Default().
	Log *slog.Logger

	pulse pulse
}

// Run hears messages until the context ends, and then returns nil. However long
// Redis is away, it comes back within about a second of Redis's return. It may
// be called once at a time.
func (s *Subscriber) Run(ctx context.Context) error {
	channel := s.Channel
	if channel == "" {
		channel = DefaultRedisChannel
	}
	p := newPath("redis subscriber", s.Log, &s.pulse, s.Heartbeat, channel+":heartbeat:")
	p.open = func(ctx context.Context) (wire, error) { return openRedis(ctx, s.Client, channel, p.channel) }
	p.send = func(ctx context.Context, channel, payload string) error {
		return denied(s.Client.Publish(ctx, channel, payload).Err())
	}
	p.onChange = s.OnChange
	if s.OnChange == nil {
		p.onChange = func(schedule.Change) {}
	}
	p.onMessage = func(payload string) {
		change, kind := DecodeRedis(payload)
		if s.OnMessage != nil {
			s.OnMessage(kind)
		}
		p.onChange(change)
	}
	p.hint = "does the URL lead to more than one Redis?"
	p.run(ctx)
	return nil
}

// Status is how the connection is.
func (s *Subscriber) Status() Status { return s.pulse.status(time.Now()) }

// openRedis subscribes over a connection of its own. It doesn't use go-redis's Go
// channels, which reconnect by themselves but don't say that they had to, and
// drop messages for a slow reader.
func openRedis(ctx context.Context, client *redis.Client, channel, heartbeats string) (w wire, err error) {
	subscription := client.Subscribe(ctx)
	// Receive doesn't heed the context: only closing ends its wait.
	context.AfterFunc(ctx, func() { _ = subscription.Close() })
	w.close = func() { _ = subscription.Close() }
	// Heartbeats first: nobody sends any yet, so that no message comes in between
	// that would have to be kept.
	if w.denied = subscribe(ctx, subscription, heartbeats); w.denied != nil && !redis.IsPermissionError(w.denied) {
		w.close()
		return w, w.denied
	}
	w.denied = denied(w.denied)
	if err := subscribe(ctx, subscription, channel); err != nil {
		w.close()
		return w, err
	}
	w.receive = func(ctx context.Context) (message, error) {
		for {
			received, err := subscription.Receive(ctx)
			if err != nil {
				return message{}, fmt.Errorf("receive: %w", err)
			}
			if m, ok := received.(*redis.Message); ok {
				return message{m.Channel, m.Payload}, nil
			}
		}
	}
	return w, nil
}

// subscribe waits for the answer, which is due at once. A message that is faster
// is covered by the look at everything that follows.
func subscribe(ctx context.Context, subscription *redis.PubSub, channel string) error {
	if err := subscription.Subscribe(ctx, channel); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for {
		answer, err := subscription.ReceiveTimeout(ctx, connectTimeout)
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		if a, ok := answer.(*redis.Subscription); ok && a.Channel == channel {
			return nil
		}
	}
}

// denied marks the error if Redis doesn't allow what was tried.
func denied(err error) error {
	if redis.IsPermissionError(err) {
		return fmt.Errorf("%w: %w", errDenied, err)
	}
	return err
}
