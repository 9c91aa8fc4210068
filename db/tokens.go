package db

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// ErrNoToken is that of a token which doesn't exist, or is revoked already.
var ErrNoToken = errors.New("no such token, or it is revoked already")

// Hash is the SHA-256 of a secret, which is all that is kept of it.
type Hash [32]byte

// Token is what is kept of an API token.
type Token struct {
	ID         schedule.ID
	Name       string
	Hint       string // the first characters, to know it by
	Scopes     []string
	Namespaces []string // nil: all, as with the next two
	Kinds      []string
	Queues     []string
	ExpiresAt  time.Time // zero: never
	LastUsedAt time.Time // to the minute or so; zero: never
	CreatedAt  time.Time
	RevokedAt  time.Time // zero: it isn't
	Expired    bool      // by the database's clock
}

//nolint:gosec // G101: a statement holds no secret
const insertToken = `
INSERT INTO riverbeat.tokens (id, name, hash, hint, scopes, namespaces, kinds, queues, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING created_at, expires_at <= clock_timestamp() IS TRUE`

// InsertToken writes a new token and fills in what the database knows of it.
func (tx *Tx) InsertToken(ctx context.Context, t *Token, hash Hash) error {
	err := tx.QueryRow(ctx, insertToken, [16]byte(t.ID), t.Name, hash[:], t.Hint, t.Scopes, t.Namespaces, t.Kinds, t.Queues,
		nullTime(t.ExpiresAt)).Scan(&t.CreatedAt, &t.Expired)
	t.CreatedAt = t.CreatedAt.UTC()
	return wrap(err, "insert the token")
}

//nolint:gosec // G101: a statement holds no secret
const tokenColumns = `
id, name, hint, scopes, namespaces, kinds, queues, expires_at, last_used_at, created_at, revoked_at,
expires_at <= clock_timestamp() IS TRUE`

const listTokens = `
SELECT ` + tokenColumns + `
FROM riverbeat.tokens
WHERE id > $1
ORDER BY id
LIMIT $2`

// Tokens lists those behind the id, revoked and expired ones too, ordered by id,
// which is the order in which they were made.
func (s *Store) Tokens(ctx context.Context, after schedule.ID, limit int) ([]Token, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, listTokens, [16]byte(after), limit)
	if err != nil {
		return nil, wrap(err, "list tokens")
	}
	list, err := pgx.CollectRows(rows, scanToken)
	return list, wrap(err, "list tokens")
}

const selectToken = `
SELECT ` + tokenColumns + `
FROM riverbeat.tokens
WHERE id = $1`

// Token reads one token. The error is ErrNoToken when there is none.
func (s *Store) Token(ctx context.Context, id schedule.ID) (Token, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectToken, [16]byte(id))
	if err != nil {
		return Token{}, wrap(err, "read the token")
	}
	token, err := pgx.CollectExactlyOneRow(rows, scanToken)
	if errors.Is(err, pgx.ErrNoRows) {
		return Token{}, ErrNoToken
	}
	return token, wrap(err, "read the token")
}

func scanToken(row pgx.CollectableRow) (t Token, err error) {
	var expires, used, revoked *time.Time
	err = row.Scan((*[16]byte)(&t.ID), &t.Name, &t.Hint, &t.Scopes, &t.Namespaces, &t.Kinds, &t.Queues,
		&expires, &used, &t.CreatedAt, &revoked, &t.Expired)
	t.ExpiresAt, t.LastUsedAt, t.CreatedAt, t.RevokedAt = utc(expires), utc(used), t.CreatedAt.UTC(), utc(revoked)
	return t, err
}

const revokeToken = `
UPDATE riverbeat.tokens
SET revoked_at = clock_timestamp()
WHERE id = $1 AND revoked_at IS NULL`

// RevokeToken ends a token; its row stays, to show that it was there. The error is
// ErrNoToken when there is none that isn't revoked.
func (s *Store) RevokeToken(ctx context.Context, id schedule.ID) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	done, err := s.pool.Exec(ctx, revokeToken, [16]byte(id))
	if err == nil && done.RowsAffected() == 0 {
		return ErrNoToken
	}
	return wrap(err, "revoke the token")
}

// The list of tokens is read whole: so is it bounded.
//
//nolint:gosec // G101: a statement holds no secret
const countTokens = `
SELECT count(*)
FROM riverbeat.tokens
WHERE revoked_at IS NULL AND (expires_at > clock_timestamp()) IS NOT FALSE`

// CountTokens is how many tokens are valid.
func (s *Store) CountTokens(ctx context.Context) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	err = s.pool.QueryRow(ctx, countTokens).Scan(&n)
	return n, wrap(err, "count the tokens")
}

//nolint:gosec // G101: a statement holds no secret
const haveTokens = `
SELECT EXISTS (SELECT FROM riverbeat.tokens WHERE revoked_at IS NULL)`

// HaveTokens reports whether there is a token that isn't revoked, expired or not.
func (s *Store) HaveTokens(ctx context.Context) (some bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	err = s.pool.QueryRow(ctx, haveTokens).Scan(&some)
	return some, wrap(err, "look for tokens")
}

// ValidToken is a token that lets somebody in.
type ValidToken struct {
	Token
	Hash Hash
	Left time.Duration // until it expires, by the database's clock; negative: it doesn't
}

// Session is a browser that has signed in with a token.
type Session struct {
	Hash    Hash
	TokenID schedule.ID
	Left    time.Duration // until it expires
}

const (
	validTokens = `
SELECT ` + tokenColumns + `, hash, coalesce(extract(epoch FROM expires_at - clock_timestamp())::float8, -1)
FROM riverbeat.tokens
WHERE revoked_at IS NULL AND (expires_at > clock_timestamp()) IS NOT FALSE`
	validSessions = `
SELECT hash, token_id, extract(epoch FROM expires_at - clock_timestamp())::float8
FROM riverbeat.sessions
WHERE expires_at > clock_timestamp()`
)

// Valid reads who is let in: all valid tokens and sessions. some is HaveTokens.
func (s *Store) Valid(ctx context.Context) (tokens []ValidToken, sessions []Session, some bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var all pgx.Batch
	all.Queue(haveTokens).QueryRow(func(row pgx.Row) error { return row.Scan(&some) })
	all.Queue(validTokens).Query(func(rows pgx.Rows) (err error) {
		tokens, err = pgx.CollectRows(rows, scanValid)
		return err
	})
	all.Queue(validSessions).Query(func(rows pgx.Rows) (err error) {
		sessions, err = pgx.CollectRows(rows, scanSession)
		return err
	})
	err = s.pool.SendBatch(ctx, &all).Close()
	return tokens, sessions, some, wrap(err, "read the valid tokens")
}

func scanValid(row pgx.CollectableRow) (v ValidToken, err error) {
	var expires, used, revoked *time.Time
	var hash []byte
	var left float64
	err = row.Scan((*[16]byte)(&v.ID), &v.Name, &v.Hint, &v.Scopes, &v.Namespaces, &v.Kinds, &v.Queues,
		&expires, &used, &v.CreatedAt, &revoked, &v.Expired, &hash, &left)
	copy(v.Hash[:], hash)
	v.Left = seconds(min(left, never.Seconds()))
	return v, err
}

func scanSession(row pgx.CollectableRow) (s Session, err error) {
	var hash []byte
	var left float64
	err = row.Scan(&hash, (*[16]byte)(&s.TokenID), &left)
	copy(s.Hash[:], hash)
	s.Left = seconds(left)
	return s, err
}

// A last use is written at most once a minute, whoever writes it.
const tokensUsed = `
UPDATE riverbeat.tokens
SET last_used_at = clock_timestamp()
WHERE id = ANY($1) AND (last_used_at < clock_timestamp() - interval '1 minute') IS NOT FALSE`

// TokensUsed notes that the tokens were used just now.
func (s *Store) TokensUsed(ctx context.Context, ids []schedule.ID) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, tokensUsed, uuids(ids))
	return wrap(err, "note the use of tokens")
}

// maxSessions is how many browsers may be signed in with one token; beyond, the
// oldest is signed out.
const maxSessions = 100

const (
	tidySessions = `
DELETE FROM riverbeat.sessions
WHERE expires_at < clock_timestamp()
   OR hash IN (SELECT hash FROM riverbeat.sessions WHERE token_id = $1 ORDER BY created_at DESC OFFSET $2)`
	insertSession = `
INSERT INTO riverbeat.sessions (hash, token_id, expires_at)
VALUES ($1, $2, clock_timestamp() + $3::float8 * interval '1 s')`
	deleteSession = `
DELETE FROM riverbeat.sessions
WHERE hash = $1`
)

// InsertSession signs a browser in, for so long.
func (s *Store) InsertSession(ctx context.Context, hash Hash, token schedule.ID, lifetime time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var both pgx.Batch
	both.Queue(tidySessions, [16]byte(token), maxSessions-1)
	both.Queue(insertSession, hash[:], [16]byte(token), lifetime.Seconds())
	return wrap(s.pool.SendBatch(ctx, &both).Close(), "sign in")
}

// DeleteSession signs a browser out.
func (s *Store) DeleteSession(ctx context.Context, hash Hash) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, deleteSession, hash[:])
	return wrap(err, "sign out")
}
