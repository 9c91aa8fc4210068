package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// ErrKeyInUse is that of a request whose idempotency key another one has, which is being
// answered.
var ErrKeyInUse = errors.New("a request with this idempotency key is being answered")

// Answer is what a request was answered with.
type Answer struct {
	Request Hash // of what was asked
	Status  int
	Headers map[string]string
	Body    []byte // nil: it wasn't kept
}

const tryKey = `
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || ' ' || $2, 0))`

const selectAnswer = `
SELECT request, status, headers, body
FROM riverbeat.idempotency_keys
WHERE caller = $1 AND key = $2`

// Answered takes the key for the transaction, and reads what the caller's request with
// it was answered with before; nil: there was none. The error may be ErrKeyInUse.
func (tx *Tx) Answered(ctx context.Context, caller schedule.ID, key string) (*Answer, error) {
	var mine bool
	if err := tx.QueryRow(ctx, tryKey, caller.String(), key).Scan(&mine); err != nil {
		return nil, wrap(err, "take the idempotency key")
	}
	if !mine {
		return nil, ErrKeyInUse
	}
	a := &Answer{}
	var request []byte
	err := tx.QueryRow(ctx, selectAnswer, [16]byte(caller), key).Scan(&request, &a.Status, &a.Headers, &a.Body)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	copy(a.Request[:], request)
	return a, wrap(err, "read the answer")
}

const insertAnswer = `
INSERT INTO riverbeat.idempotency_keys (caller, key, request, status, headers, body)
VALUES ($1, $2, $3, $4, $5, $6)`

// KeepAnswer keeps the answer under the key that Answered has taken.
func (tx *Tx) KeepAnswer(ctx context.Context, caller schedule.ID, key string, a *Answer) error {
	_, err := tx.Exec(ctx, insertAnswer, [16]byte(caller), key, a.Request[:], a.Status, a.Headers, a.Body)
	return wrap(err, "keep the answer")
}
