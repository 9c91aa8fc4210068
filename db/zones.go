package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// ZoneData says by which releases of the time zone rules the next runs are
// planned. "" is none.
type ZoneData struct {
	Newest    string // the newest that a scheduler has used
	Replanned string // the newest by which all that was planned before is planned anew
}

const selectZoneData = `
SELECT newest, replanned
FROM riverbeat.zone_data`

// zonesLock is the advisory lock of the table's row. Whoever places cursors shares
// it until the commit, so that who takes it alone to raise the version finds all
// that was placed by older rules committed. A lock of the row itself would write
// it at each dispatch; one of the table would wait for a backup.
const zonesLock = 0x72_62_7a_6f_6e_65_73

const (
	shareZones = `
SELECT pg_advisory_xact_lock_shared($1)`
	takeZones = `
SELECT pg_advisory_xact_lock($1)`
	// Others that place cursors queue up behind the one who waits here.
	waitForZones = `
SET LOCAL lock_timeout = '200ms'`
)

// ZoneData reads by which rules the next runs are planned.
func (s *Store) ZoneData(ctx context.Context) (data ZoneData, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	err = s.pool.QueryRow(ctx, selectZoneData).Scan(&data.Newest, &data.Replanned)
	return data, wrap(err, "read the version of the zone data")
}

// NewestZoneData is the newest version that a scheduler has used. It stays that
// until the end of the transaction, which may place cursors by it.
func (tx *Tx) NewestZoneData(ctx context.Context) (version string, err error) {
	data, err := tx.zoneData(ctx, shareZones)
	return data.Newest, err
}

// LockZoneData waits for every transaction that has read NewestZoneData, and holds
// new ones up until its own end. It doesn't wait long: the error may be a timeout
// of the lock.
func (tx *Tx) LockZoneData(ctx context.Context) (ZoneData, error) {
	if _, err := tx.Exec(ctx, waitForZones); err != nil {
		return ZoneData{}, wrap(err, "lock the version of the zone data")
	}
	return tx.zoneData(ctx, takeZones)
}

// zoneData reads in a statement behind the lock's, which sees what was committed
// while the lock was waited for; both are one round trip.
func (tx *Tx) zoneData(ctx context.Context, lock string) (data ZoneData, err error) {
	var both pgx.Batch
	both.Queue(lock, int64(zonesLock))
	both.Queue(selectZoneData).QueryRow(func(row pgx.Row) error { return row.Scan(&data.Newest, &data.Replanned) })
	return data, wrap(tx.SendBatch(ctx, &both).Close(), "read the version of the zone data")
}

const updateZoneData = `
UPDATE riverbeat.zone_data
SET newest = $1, replanned = $2, updated_at = clock_timestamp()`

// SaveZoneData writes what the transaction holds by LockZoneData.
func (tx *Tx) SaveZoneData(ctx context.Context, data ZoneData) error {
	_, err := tx.Exec(ctx, updateZoneData, data.Newest, data.Replanned)
	return wrap(err, "save the version of the zone data")
}

const zonedPage = `
SELECT c.schedule_id,
       (c.next_run_at IS NOT NULL AND (s.exclude <> '{}' OR s.cron IS NOT NULL AND s.timezone <> 'UTC')) IS TRUE,
       clock_timestamp()
FROM (
    SELECT schedule_id, next_run_at
    FROM riverbeat.cursors
    WHERE schedule_id > $1
    ORDER BY schedule_id
    LIMIT $2
) c
LEFT JOIN riverbeat.schedules s ON s.id = c.schedule_id
ORDER BY c.schedule_id`

// ZonedPage goes through all cursors behind the one after, at most limit of them
// at a time. zoned are those that have a next run which may depend on the rules of
// a time zone; last is where the next page begins, and count is 0 at the end. now
// is the database's clock. It locks nothing.
func (tx *Tx) ZonedPage(ctx context.Context, after schedule.ID, limit int) (zoned []schedule.ID, count int, last schedule.ID, now time.Time, err error) {
	rows, err := tx.Query(ctx, zonedPage, [16]byte(after), limit)
	if err != nil {
		return nil, 0, last, now, wrap(err, "list planned cursors")
	}
	var id [16]byte
	var depends bool
	_, err = pgx.ForEachRow(rows, []any{&id, &depends, &now}, func() error {
		count, last = count+1, id
		if depends {
			zoned = append(zoned, last)
		}
		return nil
	})
	return zoned, count, last, now.UTC(), wrap(err, "list planned cursors")
}

const selectCursors = `
SELECT ` + cursorColumns + `
FROM riverbeat.cursors c
WHERE c.schedule_id = ANY($1)
ORDER BY c.schedule_id`

// Cursors reads the cursors of these schedules, those that there are.
func (tx *Tx) Cursors(ctx context.Context, ids []schedule.ID) ([]schedule.Cursor, error) {
	return tx.cursors(ctx, selectCursors, ids, "read cursors")
}

// LockFreeCursors locks and reads those of these cursors that nobody holds.
func (tx *Tx) LockFreeCursors(ctx context.Context, ids []schedule.ID) ([]schedule.Cursor, error) {
	return tx.cursors(ctx, selectCursors+"\nFOR UPDATE SKIP LOCKED", ids, "lock cursors")
}

func (tx *Tx) cursors(ctx context.Context, query string, ids []schedule.ID, doing string) ([]schedule.Cursor, error) {
	rows, err := tx.Query(ctx, query, uuids(ids))
	if err != nil {
		return nil, wrap(err, doing)
	}
	cursors, err := collectCursors(rows)
	return cursors, wrap(err, doing)
}
