package db

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ParseURL reads where a database is. The error doesn't repeat the text, which
// holds a password.
func ParseURL(url string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New(`isn't a URL like "postgres://user:password@host:5432/database" or a list of key=value pairs that PostgreSQL's clients take`)
	}
	return config, nil
}

// OpenPool makes a pool for the URL, of maxConns connections unless the URL says
// pool_max_conns. It connects when first used, so a database that is away is no
// error here. Connecting takes at most 5 s; a peer that has vanished without a
// word is noticed within about 11 s. Through a pooler no statement is prepared,
// unless the URL says default_query_exec_mode.
func OpenPool(ctx context.Context, url, application string, maxConns int) (*pgxpool.Pool, error) {
	config, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = int32(maxConns)
	}
	config.MaxConnIdleTime = 5 * time.Minute
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.HealthCheckPeriod = 15 * time.Second
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = application
	}
	config.ConnConfig.DialFunc = (&net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3},
	}).DialContext
	if !strings.Contains(url, "default_query_exec_mode") {
		config.BeforeConnect = new(detector).beforeConnect
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	return pool, wrap(err, "make the connection pool")
}

// isConnectionLoss reports whether the connection broke under a statement.
func isConnectionLoss(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
