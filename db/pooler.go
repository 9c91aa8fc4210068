package db

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"
)

// Pooled reports whether the pool reaches PostgreSQL through a pooler, such as
// PgBouncer. Its clients may share sessions, so that nothing of a session outlives
// a transaction: no LISTEN, no lock, no prepared statement. A pooler that keeps
// sessions counts too: from here they look alike.
func Pooled(ctx context.Context, pool *pgxpool.Pool) (pooled bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	err = pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) (err error) {
		pooled, err = isPooled(ctx, conn.Conn())
		return err
	})
	return pooled, wrap(err, "find out whether a pooler is in between")
}

// isPooled compares the process that the server has named when the connection was
// made, so that queries can be cancelled, with the one that answers: a pooler has
// to make the first one up.
func isPooled(ctx context.Context, conn *pgx.Conn) (bool, error) {
	pid, err := backendPID(ctx, conn)
	return pid != conn.PgConn().PID(), err
}

// backendPID takes one round trip, whatever is in between.
func backendPID(ctx context.Context, conn *pgx.Conn) (uint32, error) {
	var pid int32
	err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`, pgx.QueryExecModeSimpleProtocol).Scan(&pid)
	return uint32(pid), err
}

// detector finds out, before a pool's first connection, whether a pooler is in
// between, and has the connections do without prepared statements if so.
type detector struct {
	probe  singleflight.Group
	pooled atomic.Pointer[bool] // nil until PostgreSQL has answered once
}

// beforeConnect is the pool's hook. The way in which a connection runs queries
// can't be changed once it is made, so a connection of its own asks.
func (d *detector) beforeConnect(ctx context.Context, config *pgx.ConnConfig) error {
	if d.pooled.Load() == nil {
		// All who come meanwhile wait for this one, and fail with it.
		if _, err, _ := d.probe.Do("", func() (any, error) { return nil, d.ask(ctx, config.Copy()) }); err != nil {
			return err
		}
	}
	if *d.pooled.Load() {
		// Parameters and results are described in one round trip, with an unnamed
		// statement, and everything is sent in another. Neither needs what the other
		// has left in a session.
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		config.StatementCacheCapacity = 0
	}
	return nil
}

func (d *detector) ask(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	defer conn.Close(ctx)
	pooled, err := isPooled(ctx, conn)
	if err != nil {
		return wrap(err, "find out whether a pooler is in between")
	}
	d.pooled.Store(&pooled)
	return nil
}

// sharesSessions looks whether a pooler gives one client's session to another: two
// connections ask, time and again, which session they have. A no is no proof, since
// there may be several poolers at one address.
func sharesSessions(ctx context.Context, pool *pgxpool.Pool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var clients [2]*pgxpool.Conn
	for i := range clients {
		conn, err := pool.Acquire(ctx)
		if err != nil {
			return false, wrap(err, "find out whether sessions are shared")
		}
		defer conn.Release()
		clients[i] = conn
	}
	var session [2]uint32
	// Not by turns: a pooler that gives sessions out in turn would hide it.
	for _, i := range []int{0, 1, 0, 0, 1, 0, 1, 1, 0, 1} {
		pid, err := backendPID(ctx, clients[i].Conn())
		if err != nil {
			return false, wrap(err, "find out whether sessions are shared")
		}
		if pid == session[1-i] || session[i] != 0 && pid != session[i] {
			return true, nil
		}
		session[i] = pid
	}
	return false, nil
}
