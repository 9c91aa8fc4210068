package db

import (
	"context"
	"time"
)

// MaxBacklog is the most that Backlog counts.
const MaxBacklog = 10_000

const selectBacklog = `
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(fire_at))::float8, 0)
FROM (
    SELECT fire_at
    FROM riverbeat.cursors
    WHERE fire_at <= (SELECT clock_timestamp())
    ORDER BY fire_at
    LIMIT $1
) due`

// Backlog is how many schedules are due and not yet claimed, up to MaxBacklog, and
// for how long the first of them has been. What waits for its turn to be caught up
// with isn't due.
func (s *Store) Backlog(ctx context.Context) (due int, oldest time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var age float64
	err = s.pool.QueryRow(ctx, selectBacklog, MaxBacklog).Scan(&due, &age)
	return due, time.Duration(age * float64(time.Second)), wrap(err, "count what is due")
}
