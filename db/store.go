// Package db holds every SQL statement of riverbeat beside the Go that scans it.
package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Store reads and writes riverbeat's tables.
type Store struct {
	pool       *pgxpool.Pool
	namespaces []string // nil: all
}

// NewStore is a Store over the pool, which stays the caller's.
func NewStore(pool *pgxpool.Pool) *Store { return &Store{pool: pool} }

// Within is the store as seen from these namespaces: for its transactions, what is
// in others doesn't exist. nil is all of them.
func (s *Store) Within(namespaces []string) *Store {
	return &Store{pool: s.pool, namespaces: namespaces}
}

// Tx is one transaction. The embedded pgx.Tx is for those who must write in
// the same transaction, as River does.
type Tx struct {
	pgx.Tx
	// Namespaces are those that exist for whoever looks up schedules, calendars and
	// runs, or makes new ones; nil: all. A statement that takes a caller's key or
	// filter is to keep to them.
	Namespaces []string
}

// Home is the namespace that is meant where none is named: the only one of these, else
// the default one.
func Home(namespaces []string) string {
	if len(namespaces) == 1 {
		return namespaces[0]
	}
	return schedule.DefaultNamespace
}

// sees reports whether the namespace exists for the transaction.
func (tx *Tx) sees(namespace string) bool {
	return tx.Namespaces == nil || slices.Contains(tx.Namespaces, namespace)
}

// begin opens a transaction with its limits in the same round trip. They are
// SET LOCAL, so that they hold behind a transaction pooler too. A process that
// freezes with rows locked loses them within 6 s: the server ends a session that
// idles in its transaction, and one whose answers nobody takes.
//
// READ COMMITTED is said, because a default of the role or the database might be
// stricter: then definitions would be read as they were before the claim.
const begin = `
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL statement_timeout = '5s';
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '5s';
SET LOCAL tcp_user_timeout = '5s'`

// quiet is for a transaction whose changes the triggers don't announce.
const quiet = `;
SET LOCAL riverbeat.announce = 'off'`

// txDeadline bounds a transaction from this side, should the server be silent.
const txDeadline = 15 * time.Second

// beginDeadline bounds the wait for BEGIN, which has nothing to do.
const beginDeadline = 2 * time.Second

// retryAfter is the least rest before a transaction is tried again, and half of
// the most.
const retryAfter = 10 * time.Millisecond

// queryDeadline bounds a single short query.
const queryDeadline = 5 * time.Second

// InTx runs do in one transaction. It commits when do returns nil and rolls back
// otherwise. A deadlock or serialization failure runs do again, at most twice
// more, so do must start from nothing each time.
func (s *Store) InTx(ctx context.Context, do func(*Tx) error) error {
	return s.retryWithin(ctx, txDeadline, "", do)
}

// retryWithin begins with the settings beside the usual ones: statements, each behind
// a semicolon.
func (s *Store) retryWithin(ctx context.Context, deadline time.Duration, settings string, do func(*Tx) error) error {
	if outer := joinable(ctx); outer != nil {
		return s.join(ctx, outer, settings, do)
	}
	for attempt := 1; ; attempt++ {
		err := s.inTx(ctx, deadline, begin+settings, do)
		if attempt == 3 || !isAnyCode(err, "40001", "40P01") {
			return err
		}
		// A moment's rest: whoever tries again at once takes the lock before the one
		// that it was freed for, and they meet again.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(retryAfter + rand.N(retryAfter)):
		}
	}
}

func (s *Store) inTx(ctx context.Context, deadline time.Duration, begin string, do func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := s.begin(ctx, conn, begin)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if err := do(&Tx{Tx: tx, Namespaces: s.namespaces}); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

type joinKey struct{}

// joinable is the transaction that whatever is done with the context joins; nil: none.
func joinable(ctx context.Context) pgx.Tx {
	tx, _ := ctx.Value(joinKey{}).(pgx.Tx)
	return tx
}

// Joining is a context with which the transactions of every Store are parts of this
// one: what one of them has done is undone when it fails, and is committed with tx
// alone. It is for one goroutine.
func (tx *Tx) Joining(ctx context.Context) context.Context {
	return context.WithValue(ctx, joinKey{}, tx.Tx)
}

// Apart is a context with which transactions are their own again.
func Apart(ctx context.Context) context.Context {
	return context.WithValue(ctx, joinKey{}, nil)
}

func (s *Store) join(ctx context.Context, outer pgx.Tx, settings string, do func(*Tx) error) error {
	return pgx.BeginFunc(ctx, outer, func(tx pgx.Tx) error {
		if settings != "" {
			if _, err := tx.Exec(ctx, strings.TrimPrefix(settings, ";\n")); err != nil {
				return err
			}
		}
		return do(&Tx{Tx: tx, Namespaces: s.namespaces})
	})
}

// begin waits no longer than BEGIN may take. Where nothing answers, the way to the
// server is likely to be gone without a word, and with it that of every connection.
func (s *Store) begin(ctx context.Context, conn *pgxpool.Conn, begin string) (pgx.Tx, error) {
	limited, cancel := context.WithTimeout(ctx, beginDeadline)
	defer cancel()
	tx, err := conn.BeginTx(limited, pgx.TxOptions{BeginQuery: begin})
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		s.pool.Reset()
	}
	return tx, err
}

// Try runs do on a savepoint: what it has done is undone when it fails, and the
// transaction goes on.
func (tx *Tx) Try(ctx context.Context, do func(*Tx) error) error {
	return pgx.BeginFunc(ctx, tx.Tx, func(nested pgx.Tx) error { return do(&Tx{Tx: nested, Namespaces: tx.Namespaces}) })
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

const notify = `
SELECT pg_notify($1, $2)`

// Notify sends a NOTIFY of its own. Changes of schedules need none: the triggers
// announce them.
func (s *Store) Notify(ctx context.Context, channel, payload string) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, notify, channel, payload)
	return wrap(err, "notify")
}

// UniqueViolation is the name of the constraint that the error says was
// violated, or "".
func UniqueViolation(err error) string { return constraint(err, "23505") }

// CheckViolation is the name of the CHECK constraint that the error says was
// violated, or "".
func CheckViolation(err error) string { return constraint(err, "23514") }

func constraint(err error, code string) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == code {
		return pgErr.ConstraintName
	}
	return ""
}

// IsDataError reports whether the server refused a value, so that trying again
// with the same value can't help: SQLSTATE classes 22 (data exception), 23
// (integrity constraint violation) and P0 (a trigger's RAISE EXCEPTION).
func IsDataError(err error) bool {
	return isClass(err, "22") || isClass(err, "23") || isClass(err, "P0")
}

// IsTimeout reports whether a transaction took too long, so that less may do.
func IsTimeout(err error) bool {
	return isAnyCode(err, "57014", "25P03") || errors.Is(err, context.DeadlineExceeded)
}

func isClass(err error, class string) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && strings.HasPrefix(pgErr.Code, class)
}

// IsUnavailable reports whether the database could not be reached, is starting or
// stopping, isn't migrated yet, or was too busy to answer in time: what a later
// try may cure.
func IsUnavailable(err error) bool {
	var connectErr *pgconn.ConnectError // whatever the server said: it let nobody in
	if errors.As(err, &connectErr) {
		return true
	}
	for _, class := range []string{"08", "53", "57", "55", "40"} { // connection, resources, intervention, lock not available, rollback
		if isClass(err, class) {
			return true
		}
	}
	// A standby, which can't write, nor read the unlogged list of schedulers; idled in
	// its transaction; tables, a schema or columns that a migration is to bring.
	if isAnyCode(err, "25006", "0A000", "25P03", "42P01", "3F000", "42703") {
		return true
	}
	return errors.Is(err, context.DeadlineExceeded) ||
		pgconn.Timeout(err) || pgconn.SafeToRetry(err) || isConnectionLoss(err)
}

func isAnyCode(err error, codes ...string) bool {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return false
	}
	for _, code := range codes {
		if pgErr.Code == code {
			return true
		}
	}
	return false
}

// null is nil for the zero value: how Go's zero values become SQL's NULL.
func null[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// value is the zero value for nil: the way back.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func utc(p *time.Time) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.UTC()
}

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
