package wake

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// NewRedisClient is a client for Publisher and Subscriber, made from a redis://,
// rediss:// or unix:// URL. It connects when it is used; whoever makes it closes
// it. Timeouts and max_retries in the URL's query win over ours.
//
// go-redis has one logger for the whole process, and a line for each failed
// attempt. This sends it to slog.Default() at debug level.
func NewRedisClient(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		// The error would quote the URL, and with it the password.
		return nil, errors.New(`isn't a URL like "redis://user:password@host:6379/0"`)
	}
	// Deadlines of contexts count for reads and writes, too.
	options.ContextTimeoutEnabled = true
	// One attempt is one attempt: who uses the client does the waiting.
	options.DialerRetries = 1
	if options.MaxRetries == 0 {
		options.MaxRetries = -1
	}
	if options.DialTimeout == 0 {
		options.DialTimeout = connectTimeout
	}
	if options.ReadTimeout == 0 {
		options.ReadTimeout = time.Second
	}
	// A feature of Redis Enterprise: without it, connecting asks nothing more
	// of the server than the commands in use.
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	dialer := &net.Dialer{Timeout: options.DialTimeout, KeepAliveConfig: keepAlive}
	options.Dialer = dialer.DialContext
	if options.TLSConfig != nil {
		options.Dialer = (&tls.Dialer{NetDialer: dialer, Config: options.TLSConfig}).DialContext
	}
	redis.SetLogger(redisLog{})
	return redis.NewClient(options), nil
}

// redisLog is go-redis's own log. What matters of it, link says.
type redisLog struct{}

func (redisLog) Printf(ctx context.Context, format string, v ...any) {
	if log := slog.Default(); log.Enabled(ctx, slog.LevelDebug) {
		log.DebugContext(ctx, "go-redis", "message", fmt.Sprintf(format, v...))
	}
}
