package db

import (
	"context"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Revision is a change of a schedule.
type Revision struct {
	ScheduleID schedule.ID
	Namespace  string
	Version    int64  // that the change made; of a deletion, the one behind the last
	Op         string // created, updated or deleted
	How        How
	Actor      string // who changed it: what a token is called, or a database's user
	ChangedAt  time.Time
	Before     *schedule.Schedule // nil: there was none
	After      *schedule.Schedule // nil: there is none
}

// The rows are read as the table is by now: a column that it gets later is NULL in what
// is older.
const selectRevisions = `
SELECT ` + scheduleColumns + `,
       r.id, r.schedule_id, r.namespace, r.version, r.op, r.how, r.actor, r.changed_at
FROM riverbeat.revisions r
CROSS JOIN LATERAL (VALUES (r.definition, 1), (r.definition || r.was, 2)) AS d (definition, side)
CROSS JOIN LATERAL jsonb_populate_record(NULL::riverbeat.schedules, d.definition) s
WHERE r.id = ANY (ARRAY(
    SELECT id
    FROM riverbeat.revisions
    WHERE schedule_id = $1 AND ($2::text[] IS NULL OR namespace = ANY($2))
      AND ($3::bigint = 0 OR id < $3) AND ($4::bigint = 0 OR version = $4)
    ORDER BY id DESC
    LIMIT $5))
ORDER BY r.id DESC, d.side`

// Revisions reads those of a schedule that the transaction sees, newest first, also of
// one that is gone: at most limit, behind the place, 0 for the first. next is where the
// page behind begins; 0: there is none.
func (tx *Tx) Revisions(ctx context.Context, id schedule.ID, place int64, limit int) (list []Revision, next int64, err error) {
	list, places, err := tx.revisions(ctx, id, place, 0, limit+1)
	if len(list) > limit {
		return list[:limit], places[limit-1], err
	}
	return list, 0, err
}

// Revision reads the one that made the version; the newest, should there be several,
// since a schedule that SQL has made anew may have an id that was there before. The
// error is schedule.ErrNoRevision.
func (tx *Tx) Revision(ctx context.Context, id schedule.ID, version int64) (*Revision, error) {
	list, _, err := tx.revisions(ctx, id, 0, version, 1)
	switch {
	case err != nil:
		return nil, err
	case len(list) == 0:
		return nil, schedule.ErrNoRevision
	}
	return &list[0], nil
}

func (tx *Tx) revisions(ctx context.Context, id schedule.ID, place, version int64, limit int) (list []Revision, places []int64, err error) {
	rows, err := tx.Query(ctx, selectRevisions, [16]byte(id), tx.Namespaces, place, version, limit)
	if err != nil {
		return nil, nil, wrap(err, "read the revisions")
	}
	defer rows.Close()
	for rows.Next() { // two rows each: what there is after it, and what there was before
		var at int64
		var r Revision
		s := &schedule.Schedule{}
		err := scanSchedule(rows, s, &at, (*[16]byte)(&r.ScheduleID), &r.Namespace, &r.Version, &r.Op, (*string)(&r.How), &r.Actor, &r.ChangedAt)
		if err != nil {
			return nil, nil, wrap(err, "read the revisions")
		}
		if n := len(places); n > 0 && places[n-1] == at {
			list[n-1].Before = s
			continue
		}
		r.ChangedAt, r.After = r.ChangedAt.UTC(), s
		list, places = append(list, r), append(places, at)
	}
	for i := range list {
		switch list[i].Op {
		case "created":
			list[i].Before = nil
		case "deleted":
			list[i].After = nil
		}
		// SQL may move a schedule to another namespace.
		if before := list[i].Before; before != nil && !tx.sees(before.Namespace) {
			list[i].Before = nil
		}
	}
	return list, places, wrap(rows.Err(), "read the revisions")
}
