package app

import (
	"context"
	"errors"

	"github.com/riverbeat/riverbeat/db"
)

// Answer is what a request was answered with; see db.Answer.
type Answer = db.Answer

// ErrKeyInUse is that of a request whose key another one has at this moment.
var ErrKeyInUse = db.ErrKeyInUse

// ErrKeyReused refuses a key that the caller has used for another request.
var ErrKeyReused = errors.New("the idempotency key was used for another request")

// mostOnce is how many keys may be held at once: each holds a connection, and what is
// done with it may need one more for a moment.
const mostOnce = 8

type unfinishedKey struct{}

// unfinished is what is to be done once the transaction has ended that a context joins.
type unfinished struct{ steps []func(error) }

// afterCommit does something about a transaction that has ended with err: at once, or,
// when the context's joins another, once that one has ended.
func afterCommit(ctx context.Context, err error, do func(error)) {
	u, joins := ctx.Value(unfinishedKey{}).(*unfinished)
	switch {
	case !joins:
		do(err)
	case err == nil: // else nothing of it is left to be committed
		u.steps = append(u.steps, do)
	}
}

// Once does what the caller asks for with an idempotency key, which they have chosen,
// and returns what it was answered with: the first time do's answer, later the kept one.
// Everything that do does through the service with the context that it is given is
// committed together with its answer, or not at all. An error of do undoes it, and keeps
// nothing. request tells requests apart: another one with the same key is an
// ErrKeyReused, and one at the same moment an ErrKeyInUse.
func (s *Service) Once(ctx context.Context, key string, request [32]byte, do func(context.Context) (*Answer, error)) (answer *Answer, again bool, err error) {
	caller := CallerOf(ctx)
	u := &unfinished{}
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	// Whoever has a key may ask again, should it come to a deadlock.
	err = s.database.InLongTx(ctx, func(tx *db.Tx) error {
		if answer, err = tx.Answered(ctx, caller.TokenID, key); err != nil {
			return err
		}
		if again = answer != nil; again {
			if answer.Request != request {
				return ErrKeyReused
			}
			return nil
		}
		if answer, err = do(context.WithValue(tx.Joining(ctx), unfinishedKey{}, u)); err != nil {
			return err
		}
		answer.Request = request
		return tx.KeepAnswer(ctx, caller.TokenID, key, answer)
	})
	for _, step := range u.steps {
		step(err)
	}
	return answer, again, err
}
