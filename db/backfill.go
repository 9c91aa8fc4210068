package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const runColumns = `
schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, job_id, until, count, created_at`

// The line before the range may reach into it. None before that one does: stretches
// lie apart, but for those that calendars took away.
const linesOfRange = `
(SELECT ` + runColumns + `
 FROM riverbeat.runs
 WHERE schedule_id = $1 AND scheduled_for < $2 AND reason <> 'manual' AND why <> 'excluded'
 ORDER BY scheduled_for DESC
 LIMIT 1)
UNION ALL
(SELECT ` + runColumns + `
 FROM riverbeat.runs
 WHERE schedule_id = $1 AND scheduled_for >= $2 AND scheduled_for < $3
 ORDER BY scheduled_for
 LIMIT $4)`

// maxLines is more lines than a range may hold that is backfilled, with as many runs
// that were asked for between them.
const maxLines = 2 * schedule.MaxBackfillRange

// LinesOfRange are the lines of a schedule's ledger that may cover occurrences from
// start to before end, oldest first, as schedule.PlanBackfill takes them. What is
// behind the most that a range may hold is left out.
func (tx *Tx) LinesOfRange(ctx context.Context, id schedule.ID, start, end time.Time) ([]schedule.Run, error) {
	rows, err := tx.Query(ctx, linesOfRange, [16]byte(id), start, end, maxLines)
	if err != nil {
		return nil, wrap(err, "read the ledger of a range")
	}
	lines, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r schedule.Run, err error) {
		err = scanRun(row, &r)
		return r, err
	})
	return lines, wrap(err, "read the ledger of a range")
}

const removeLines = `
DELETE FROM riverbeat.runs
WHERE schedule_id = $1 AND scheduled_for = ANY($2) AND outcome <> 'enqueued'`

// RemoveLines removes lines of a schedule's ledger that others come in place of.
func (tx *Tx) RemoveLines(ctx context.Context, id schedule.ID, scheduledFor []time.Time) error {
	_, err := tx.Exec(ctx, removeLines, [16]byte(id), scheduledFor)
	return wrap(err, "part lines of the ledger")
}
