package wake

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgxlisten"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// connectTimeout limits an attempt to connect, which pgx and go-redis would
// otherwise drag out or never end.
const connectTimeout = 5 * time.Second

// keepAlive finds out within 11 s that the other machine or the network is gone.
// A connection that only listens would not notice by itself: it sends nothing.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}

// Listener hears the NOTIFY that the database's triggers send. It keeps one
// connection for that alone, never in a transaction; PostgreSQL must be reached
// directly or through a pooler that keeps sessions.
type Listener struct {
	// Config is where to connect, made by pgx.ParseConfig. It isn't changed.
	// Required. Without connect_timeout an attempt may take 5 s.
	Config *pgx.ConnConfig
	// OnChange is called, by one goroutine, for each message and with the zero
	// Change after every (re)connect. It must not block. Required.
	OnChange func(schedule.Change)
	// OnMessage, if set, is called for each message before OnChange, to count it.
	OnMessage func(Kind)
	// Log gets one line when the connection is lost and one when it is back.
	// Nil: slog.Default().
	Log *slog.Logger

	connected atomic.Bool
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

	link := newLink("postgresql", l.Log, &l.connected)
	feed := pgxlisten.Listener{
		Connect: func(ctx context.Context) (*pgx.Conn, error) {
			if err := link.pause(ctx); err != nil {
				return nil, err
			}
			conn, err := pgx.ConnectConfig(ctx, config)
			if err != nil {
				return nil, err
			}
			// LISTEN is to be answered in time, too; HandleBacklog comes after
			// it and lifts the limit.
			if err := conn.PgConn().Conn().SetDeadline(time.Now().Add(config.ConnectTimeout)); err != nil {
				_ = conn.Close(ctx)
				return nil, fmt.Errorf("limit the wait for LISTEN: %w", err)
			}
			return conn, nil
		},
		LogError: link.down,
		// Its own pause never grows and has no jitter: link.pause does the
		// waiting, and this is as short as can be.
		ReconnectDelay: time.Nanosecond,
	}
	feed.Handle(NotifyChannel, &listenHandler{listener: l, link: link})
	err := feed.Listen(ctx)
	l.connected.Store(false)
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("listen for changes: %w", err)
}

// Connected reports whether notifications are being heard, as far as is known: a
// network that died silently shows after 11 s.
func (l *Listener) Connected() bool { return l.connected.Load() }

// listenHandler is the Listener as pgxlisten wants it.
type listenHandler struct {
	listener *Listener
	link     *link
}

// HandleBacklog runs once LISTEN is in force, on every connection.
func (h *listenHandler) HandleBacklog(ctx context.Context, _ string, conn *pgx.Conn) error {
	if err := conn.PgConn().Conn().SetDeadline(time.Time{}); err != nil {
		// The connection is broken, which the wait that follows reports.
		return nil
	}
	h.link.up(ctx)
	h.listener.OnChange(schedule.Change{})
	return nil
}

// HandleNotification never fails: there is no message that can't be acted on.
func (h *listenHandler) HandleNotification(_ context.Context, n *pgconn.Notification, _ *pgx.Conn) error {
	change, kind := DecodeNotify(n.Payload)
	if h.listener.OnMessage != nil {
		h.listener.OnMessage(kind)
	}
	h.listener.OnChange(change)
	return nil
}
