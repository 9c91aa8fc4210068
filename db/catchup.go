package db

import (
	"context"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// maxBehind is how many cursors of either sort, with a slot and without, are looked
// at to say what is owed: so far the answer takes no longer the more are behind.
const maxBehind = 100_000

// Whoever sees some namespaces alone must not learn how much is behind in others: not
// by a number that is cut short, nor by the slots that were dealt.
const behindWithin = `
       AND ($5::text[] IS NULL OR EXISTS (SELECT FROM riverbeat.schedules s WHERE s.id = schedule_id AND s.namespace = ANY($5)))`

const selectBehind = `
WITH behind AS (
    (SELECT schedule_id, next_run_at, fire_at
     FROM riverbeat.cursors
     WHERE share IS NOT NULL` + behindWithin + `
     ORDER BY fire_at
     LIMIT $3)
    UNION ALL
    (SELECT schedule_id, next_run_at, fire_at
     FROM riverbeat.cursors
     WHERE fire_at < (SELECT clock_timestamp() - $2::interval) AND share IS NULL AND held IS NULL` + behindWithin + `
     ORDER BY fire_at
     LIMIT $3)
), chosen AS (
    SELECT b.*
    FROM behind b
    WHERE $1 = '' OR EXISTS (SELECT FROM riverbeat.schedules s WHERE s.id = b.schedule_id AND s.namespace = $1)
)
SELECT count(*), min(next_run_at), (SELECT count(*) FROM behind) >= $3,
       (SELECT coalesce(array_agg(schedule_id), '{}') FROM (SELECT schedule_id FROM chosen ORDER BY fire_at LIMIT $4) first),
       (SELECT slot FROM riverbeat.catch_up WHERE $5 IS NULL), clock_timestamp()
FROM chosen`

// Behind is what was missed and not made up for yet.
type Behind struct {
	Schedules int64         // that wait for a slot or for the first look since; at least so many if More
	More      bool          // not all of those that are behind were looked at
	First     []schedule.ID // some of them, those that are due first
	Oldest    time.Time     // the first instant that is owed; zero: nothing is
	LastSlot  time.Time     // dealt out so far; zero: none, or not for the transaction to know
	Now       time.Time     // the database's clock
}

// Behind says what is owed in the namespace, or everywhere, because it was due for
// longer than misfireAfter. first is how many schedules are named. The error is
// schedule.ErrNoNamespace when the transaction doesn't see the namespace.
func (tx *Tx) Behind(ctx context.Context, namespace string, misfireAfter time.Duration, first int) (b Behind, err error) {
	if namespace != "" && !tx.sees(namespace) {
		return b, schedule.ErrNoNamespace
	}
	var oldest, slot *time.Time
	var ids [][16]byte
	err = tx.QueryRow(ctx, selectBehind, namespace, misfireAfter, maxBehind, first, tx.Namespaces).
		Scan(&b.Schedules, &oldest, &b.More, &ids, &slot, &b.Now)
	b.Oldest, b.LastSlot, b.Now = utc(oldest), utc(slot), b.Now.UTC()
	for _, id := range ids {
		b.First = append(b.First, id)
	}
	return b, wrap(err, "read what is owed")
}
