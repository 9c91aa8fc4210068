package db

import (
	"context"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// bulkDeadline bounds a transaction that writes many schedules: more than 100,000 take,
// on a slow machine 26 s.
const bulkDeadline = 45 * time.Second

// bulkLimits are those of such a transaction, instead of the usual 5 s. A lock is
// waited for no longer than by others.
const bulkLimits = `;
SET LOCAL statement_timeout = '40s'`

// How says by which way a schedule was changed.
type How string

// The ways. A change that says nothing is SQL's.
const (
	HowAPI   How = "api"
	HowSQL   How = "sql"
	HowApply How = "apply"
)

// Writing is how a transaction changes schedules, and who does it: what their revisions
// say.
type Writing struct {
	Actor string // empty: the database's user
	How   How    // empty: HowSQL
	Quiet bool   // no NOTIFY is sent: the caller announces
	Bulk  bool   // a statement may write many rows, and take as long
}

// The actor is a caller's own words: no quoting can go wrong with hexadecimal digits.
const acting = `;
SELECT set_config('riverbeat.actor', convert_from(decode('%x', 'hex'), 'UTF8'), true),
       set_config('riverbeat.how', '%s', true)`

// InWriteTx is InTx for changes of schedules.
func (s *Store) InWriteTx(ctx context.Context, w Writing, do func(*Tx) error) error {
	settings, deadline := "", txDeadline
	if w.Quiet {
		settings += quiet
	}
	if w.Bulk {
		settings, deadline = settings+bulkLimits, bulkDeadline
	}
	if w.How != "" {
		settings += fmt.Sprintf(acting, w.Actor, w.How)
	}
	return s.retryWithin(ctx, deadline, settings, do)
}

// patiently is for a transaction within which other things are done than to ask the
// database.
const patiently = `;
SET LOCAL idle_in_transaction_session_timeout = '30s'`

// InLongTx is InTx for what may take long and can't be done again: a deadlock is an error
// at once.
func (s *Store) InLongTx(ctx context.Context, do func(*Tx) error) error {
	return s.inTx(ctx, bulkDeadline, begin+patiently, do)
}

// Selection names schedules by what they have in common.
type Selection struct {
	Namespaces []string          // nil: of all
	Selector   schedule.Selector // by labels; nil: any
	Kinds      []string          // of jobs; nil: any
	Queues     []string          // of jobs; nil: any
}

func (sel *Selection) conditions() (c conditions) {
	if sel.Namespaces != nil {
		c.add("s.namespace = ANY(%s)", sel.Namespaces)
	}
	c.addSelector(sel.Selector)
	if sel.Kinds != nil {
		c.add("s.job_kind = ANY(%s)", sel.Kinds)
	}
	if sel.Queues != nil {
		c.add("s.job_queue = ANY(%s)", sel.Queues)
	}
	return c
}

// What is locked is locked in the order of the ids, as the cursors are behind it: two
// of these at once wait for one another instead of both.
const setPaused = `
WITH chosen AS (
    SELECT s.id
    FROM riverbeat.schedules s
    WHERE %s
    ORDER BY s.id
    FOR UPDATE
)
UPDATE riverbeat.schedules s
SET paused = %s, pause_reason = %s
FROM chosen
WHERE s.id = chosen.id`

const countPaused = `
SELECT count(*), count(*) FILTER (WHERE %s)
FROM riverbeat.schedules s
WHERE %s`

// SetPaused pauses or resumes all schedules of a selection, in one statement, of
// which its triggers announce that many have changed. Those that are as they are to
// be stay untouched. It says how many there are and how many of them change; with
// dryRun nothing is written.
func (tx *Tx) SetPaused(ctx context.Context, sel Selection, paused bool, reason string, dryRun bool) (matched, changed int64, err error) {
	c := sel.conditions()
	differs := conditions{args: c.args}
	differs.add("(s.paused, s.pause_reason) <> (%s::boolean, %s::text)", paused, reason)
	err = tx.QueryRow(ctx, fmt.Sprintf(countPaused, differs.all(), c.all()), differs.args...).Scan(&matched, &changed)
	if err != nil || dryRun || changed == 0 {
		return matched, changed, wrap(err, "count the schedules of a selection")
	}
	c.add("(s.paused, s.pause_reason) <> (%s::boolean, %s::text)", paused, reason)
	n := len(c.args)
	tag, err := tx.Exec(ctx, fmt.Sprintf(setPaused, c.all(), fmt.Sprint("$", n-1), fmt.Sprint("$", n)), c.args...)
	if err != nil {
		return 0, 0, wrap(err, "pause or resume schedules")
	}
	return matched, tag.RowsAffected(), nil
}
