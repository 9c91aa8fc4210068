package wake

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Subscriber hears the changes that Publishers announce on a Redis channel.
type Subscriber struct {
	// Client is from NewRedisClient. Required.
	Client *redis.Client
	// Channel is the channel to hear. Empty: DefaultRedisChannel.
	Channel string
	// OnChange is called, by one goroutine, for each message and with the zero
	// Change after every (re)subscribe. It must not block. Required.
	OnChange func(schedule.Change)
	// OnMessage, if set, is called for each message before OnChange, to count it.
	OnMessage func(Kind)
	// Log gets one line when the connection is lost and one when it is back.
	// Nil: slog.Default().
	Log *slog.Logger

	connected atomic.Bool
}

// Run hears messages until the context ends, and then returns nil. However long
// Redis is away, it comes back within about a second of Redis's return. It may
// be called once at a time.
func (s *Subscriber) Run(ctx context.Context) error {
	link := newLink("redis subscriber", s.Log, &s.connected)
	for {
		if err := link.pause(ctx); err != nil {
			return nil
		}
		link.down(ctx, s.hear(ctx, link))
	}
}

// Connected reports whether messages are being heard, as far as is known: a
// network that died silently shows after 11 s.
func (s *Subscriber) Connected() bool { return s.connected.Load() }

// hear subscribes and hears until the connection breaks or the context ends. It
// doesn't use go-redis's Go channels, which reconnect by themselves but don't
// say that they had to, and drop messages for a slow reader.
func (s *Subscriber) hear(ctx context.Context, link *link) error {
	channel := s.Channel
	if channel == "" {
		channel = DefaultRedisChannel
	}
	subscription := s.Client.Subscribe(ctx)
	defer subscription.Close()
	// Receive doesn't heed the context: only closing ends its wait.
	defer context.AfterFunc(ctx, func() { _ = subscription.Close() })()

	if err := subscription.Subscribe(ctx, channel); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	// The first answer is the subscription's, and due at once.
	message, err := subscription.ReceiveTimeout(ctx, connectTimeout)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	for {
		switch m := message.(type) {
		case *redis.Subscription:
			link.up(ctx)
			s.OnChange(schedule.Change{})
		case *redis.Message:
			change, kind := DecodeRedis(m.Payload)
			if s.OnMessage != nil {
				s.OnMessage(kind)
			}
			s.OnChange(change)
		}
		if message, err = subscription.Receive(ctx); err != nil {
			return fmt.Errorf("receive: %w", err)
		}
	}
}
