package db

import (
	"context"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// bulkDeadline bounds a transaction that writes many schedules: far more than
// 100,000 take.
const bulkDeadline = 45 * time.Second

// bulkLimits are those of such a transaction, instead of the usual 5 s. A lock is
// waited for no longer than by others.
const bulkLimits = `;
SET LOCAL statement_timeout = '40s'`

// InBulkTx is InTx, or InQuietTx if quiet, for one statement that writes many rows.
func (s *Store) InBulkTx(ctx context.Context, quiet bool, do func(*Tx) error) error {
	begin := begin
	if quiet {
		begin = quietly
	}
	return s.retryWithin(ctx, bulkDeadline, begin+bulkLimits, do)
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
