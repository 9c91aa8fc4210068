package db

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const applyAlone = `
SELECT pg_advisory_xact_lock(hashtextextended('riverbeat apply ' || n, 0))
FROM unnest($1::text[]) n`

// waitForApply is longer than a lock is waited for otherwise: another application takes
// as long as it takes.
const waitForApply = `
SET LOCAL lock_timeout = '30s'`

const waitNoLonger = `
SET LOCAL lock_timeout = '2s'`

// ApplyAlone keeps other applications off the namespaces of the keys and the selection
// until the end of the transaction.
func (tx *Tx) ApplyAlone(ctx context.Context, keys []Key, also *Selection) error {
	var namespaces []string
	for _, k := range keys {
		namespaces = append(namespaces, k.Namespace)
	}
	if also != nil {
		namespaces = append(namespaces, also.Namespaces...)
	}
	slices.Sort(namespaces) // so that two of them wait for one another in the same order
	_, err := tx.Exec(ctx, waitForApply)
	if err == nil {
		_, err = tx.Exec(ctx, applyAlone, slices.Compact(namespaces))
	}
	if err == nil {
		_, err = tx.Exec(ctx, waitNoLonger)
	}
	return wrap(err, "wait for another application")
}

// Those that are named are found by their names, those that are selected by what
// selects them; all are locked in the order of their ids, as by others who lock many.
const forApply = `
WITH chosen AS MATERIALIZED (
    SELECT s.id
    FROM unnest($%d::text[], $%d::text[]) AS k (namespace, name)
    JOIN riverbeat.schedules s ON s.namespace = k.namespace AND s.name = k.name
    UNION
    SELECT s.id
    FROM riverbeat.schedules s
    WHERE %s
)
SELECT` + scheduleColumns + `
FROM riverbeat.schedules s
WHERE s.id = ANY (ARRAY(SELECT id FROM chosen))
ORDER BY s.id`

// ForApply reads the schedules that the keys name, each by namespace and name, and those
// of the selection; nil: none beside. With lock it holds their definitions until the end
// of the transaction; while it waited for that, they may have become others than were
// chosen. The keys' namespaces are to be ones that it sees.
func (tx *Tx) ForApply(ctx context.Context, keys []Key, also *Selection, lock bool) ([]*schedule.Schedule, error) {
	var c conditions
	if also == nil {
		c.add("false")
	} else {
		c = also.conditions()
	}
	namespaces, names := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		namespaces[i], names[i] = k.Namespace, k.Name
	}
	query := forApply
	if lock {
		query += "\nFOR UPDATE OF s"
	}
	n := len(c.args)
	rows, err := tx.Query(ctx, fmt.Sprintf(query, n+1, n+2, c.all()), append(c.args[:n:n], namespaces, names)...)
	if err != nil {
		return nil, wrap(err, "read the schedules")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*schedule.Schedule, error) {
		s := &schedule.Schedule{}
		return s, scanSchedule(row, s)
	})
	return list, wrap(err, "read the schedules")
}

// InsertSchedules is InsertSchedule for many, whose namespaces the transaction sees. With
// an error goes which of them it is about.
func (tx *Tx) InsertSchedules(ctx context.Context, list []*schedule.Schedule) (failed int, err error) {
	return tx.writeMany(ctx, insertSchedule, list, "insert the schedules")
}

// UpdateSchedules is UpdateSchedule for many, in the order of their ids.
func (tx *Tx) UpdateSchedules(ctx context.Context, list []*schedule.Schedule) (failed int, err error) {
	return tx.writeMany(ctx, updateSchedule, list, "update the schedules")
}

func (tx *Tx) writeMany(ctx context.Context, statement string, list []*schedule.Schedule, doing string) (failed int, err error) {
	var all pgx.Batch
	for _, s := range list {
		all.Queue(statement, values(s)...)
	}
	answers := tx.SendBatch(ctx, &all)
	for i := range list {
		if _, err := answers.Exec(); err != nil {
			_ = answers.Close() // it says the same
			return i, scheduleError(err, doing)
		}
	}
	return 0, wrap(answers.Close(), doing)
}

const deleteSchedules = `
DELETE FROM riverbeat.schedules
WHERE id = ANY($1)`

// DeleteSchedules is DeleteSchedule for many, which the transaction holds.
func (tx *Tx) DeleteSchedules(ctx context.Context, ids []schedule.ID) error {
	_, err := tx.Exec(ctx, deleteSchedules, uuids(ids))
	return wrap(err, "delete the schedules")
}
