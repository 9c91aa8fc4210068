package wake

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// connectTimeout limits an attempt to connect, which pgx and go-redis would
// otherwise drag out or never end.
const connectTimeout = 5 * time.Second

// keepAlive finds out within 11 s that the other machine or the network is gone,
// also when no heartbeat can be sent.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// Listener hears the NOTIFY that the database's triggers send. It keeps one
// connection for that alone, never in a transaction; PostgreSQL must be reached
// directly or through a pooler that keeps sessions. Where it isn't, it says so
// once and tries again at most once a minute.
type Listener struct {
	// Config is where to connect, made by pgx.ParseConfig. It isn't changed.
	// Required. Without connect_timeout an attempt may take 5 s.
	Config *pgx.ConnConfig
	// Send sends a NOTIFY to the same database, over another connection and within
	// the context. Heartbeats go out by it; when it fails, nothing is proven, and
	// nothing is given up. Nil: nothing is ever proven.
	Send func(ctx context.Context, channel, payload string) error
	// Heartbeat is how often the connection is proven. One on which nothing was
	// heard for three of them is given up. Zero: DefaultHeartbeat.
	Heartbeat time.Duration
	// OnChange is called, by one goroutine, for each message, and with the zero
	// Change once for every connection, when it is proven. It must not block.
	// Required.
	OnChange func(schedule.Change)
	// OnMessage, if set, is called for each message before OnChange, to count it.
	OnMessage func(Kind)
	// Hint says what to do when LISTEN has no effect. It stands in the log and in
	// the status.
	Hint string
	// Log gets one line when the connection is lost and one when it is back.
	// Nil: slog.Default().
	Log *slog.Logger

	pulse pulse
}

// Run listens until the context ends, and then returns nil. However long
// PostgreSQL is away, it comes back within about a second of PostgreSQL's
// return. It may be called once at a time.
func (l *Listener) Run(ctx context.Context) error {
	config := l.Config.Copy()
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	config.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	config.RuntimeParams["application_name"] = "riverbeat-listener"

	p := newPath("postgresql", l.Log, &l.pulse, l.Heartbeat, "riverbeat_heartbeat_")
	p.open = func(ctx context.Context) (wire, error) {
		wire, err := openPostgres(ctx, config, NotifyChannel, p.channel)
		if l.Send == nil {
			wire.denied = fmt.Errorf("%w: there is nothing to send them by", errDenied)
		}
		return wire, err
	}
	p.send = l.Send
	p.onMessage = func(payload string) {
		change, kind := DecodeNotify(payload)
		if l.OnMessage != nil {
			l.OnMessage(kind)
		}
		l.OnChange(change)
	}
	p.onChange = l.OnChange
	p.hint = l.Hint
	p.run(ctx)
	return nil
}

// Status is how the connection is.
func (l *Listener) Status() Status { return l.pulse.status(time.Now()) }

// openPostgres listens on the channels over a connection of its own.
func openPostgres(ctx context.Context, config *pgx.ConnConfig, channels ...string) (wire, error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return wire{}, err
	}
	limited, cancel := context.WithTimeout(ctx, config.ConnectTimeout)
	defer cancel()
	for _, channel := range channels {
		if _, err := conn.Exec(limited, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
			_ = conn.Close(limited)
			return wire{}, fmt.Errorf("listen: %w", err)
		}
	}
	return wire{
		receive: func(ctx context.Context) (message, error) {
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return message{}, fmt.Errorf("wait for a notification: %w", err)
			}
			return message{n.Channel, n.Payload}, nil
		},
		close: func() {
			// What says good-bye must not wait for somebody who is gone.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
			defer cancel()
			_ = conn.Close(ctx)
		},
	}, nil
}
