package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Snapshot says which transactions a statement saw.
type Snapshot struct {
	min, max uint64   // all below min, none from max on
	running  []uint64 // and none of these
}

// ParseSnapshot reads PostgreSQL's pg_snapshot: min:max:running,running.
func ParseSnapshot(text string) (s Snapshot, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return s, fmt.Errorf("read the snapshot %q: it has %d parts", text, len(parts))
	}
	numbers := parts[:2]
	if parts[2] != "" {
		numbers = append(numbers, strings.Split(parts[2], ",")...)
	}
	all := make([]uint64, len(numbers))
	for i, number := range numbers {
		if all[i], err = strconv.ParseUint(number, 10, 64); err != nil {
			return s, fmt.Errorf("read the snapshot %q: %w", text, err)
		}
	}
	return Snapshot{min: all[0], max: all[1], running: all[2:]}, nil
}

// Sees reports whether what the transaction wrote was visible. 0 is a transaction
// of long ago.
func (s Snapshot) Sees(transaction uint64) bool {
	return transaction < s.min || transaction < s.max && !slices.Contains(s.running, transaction)
}

// Scheduler is what a scheduler says of itself.
type Scheduler struct {
	ID        schedule.ID
	Host      string
	PID       int
	StartedAt time.Time
	SeenAt    time.Time // when it said this
	Alive     bool      // that isn't longer ago than schedulerTimeout
	Version   string    // of the program
	Zones     string    // version of its time zone data
	Paths     []schedule.PathState
	LookedAt  time.Time // its last look at the database; zero: none yet
	Snapshot  Snapshot  // what it saw then
	Lag       time.Duration
}

// Look is one look of a scheduler at the database.
type Look struct {
	At       time.Time     // by the database's clock, at or before the snapshot
	Snapshot string        // as PostgreSQL writes it
	Lag      time.Duration // how long the first due run had been waiting
}

// ReportInterval is how often a scheduler says that it is alive, and
// schedulerTimeout when it no longer counts as that.
const (
	ReportInterval   = 5 * time.Second
	schedulerTimeout = "15 s"
)

// A row that was inserted has no xmax, one that was there bears who locked it.
const reportScheduler = `
INSERT INTO riverbeat.schedulers AS s
    (id, host, pid, started_at, version, tzdata, paths, looked_at, snapshot, lag)
VALUES ($1, $2, $3, clock_timestamp() - $4::float8 * interval '1 s', $5, $6, $7, $8, $9::text::pg_snapshot, $10)
ON CONFLICT (id) DO UPDATE
SET seen_at = clock_timestamp(), paths = excluded.paths, looked_at = excluded.looked_at,
    snapshot = excluded.snapshot, lag = excluded.lag
RETURNING s.seen_at, s.xmax = 0`

const insertLearnt = `
INSERT INTO riverbeat.learnt (schedule_id, scheduler_id, version, path, since)
SELECT n.id, $1, n.version, n.path, n.since
FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[]) AS n (id, version, path, since)
ORDER BY n.id
ON CONFLICT (schedule_id, scheduler_id) DO UPDATE
SET version = excluded.version, path = excluded.path, since = excluded.since`

// Learnt is how a scheduler came to have a version of a schedule in force.
type Learnt struct {
	ScheduleID schedule.ID
	Version    int64
	Path       schedule.Path
	Since      time.Time
}

// pathDocument is a schedule.PathState in the table.
type pathDocument struct {
	Path      schedule.Path `json:"path"`
	State     string        `json:"state"`
	For       float64       `json:"for"` // seconds, as heartbeat is
	Heartbeat float64       `json:"heartbeat"`
}

// Report says what a scheduler that has run for uptime says of itself: its
// identity, paths and last look. now is the database's clock; listed anew, nobody knew
// of it before.
func (s *Store) Report(ctx context.Context, r *Scheduler, uptime time.Duration, look Look, learnt []Learnt) (now time.Time, anew bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	paths := make([]pathDocument, len(r.Paths))
	for i, p := range r.Paths {
		paths[i] = pathDocument{p.Path, p.State, p.For.Seconds(), p.HeartbeatAge.Seconds()}
	}
	document, err := json.Marshal(paths)
	if err != nil {
		return now, false, wrap(err, "write the state of the paths")
	}
	var both pgx.Batch
	both.Queue(reportScheduler, [16]byte(r.ID), r.Host, r.PID, uptime.Seconds(), r.Version, r.Zones, document,
		nullTime(look.At), null(look.Snapshot), look.Lag.Seconds()).QueryRow(func(row pgx.Row) error { return row.Scan(&now, &anew) })
	if len(learnt) > 0 {
		n := len(learnt)
		ids, versions, by, since := make([][16]byte, n), make([]int64, n), make([]string, n), make([]time.Time, n)
		for i, l := range learnt {
			ids[i], versions[i], by[i], since[i] = l.ScheduleID, l.Version, string(l.Path), l.Since
		}
		both.Queue(insertLearnt, [16]byte(r.ID), ids, versions, by, since)
	}
	err = s.pool.SendBatch(ctx, &both).Close()
	return now.UTC(), anew, wrap(err, "report the state of the scheduler")
}

const forgetScheduler = `
DELETE FROM riverbeat.schedulers
WHERE id = $1`

// Forget takes the scheduler off the list: it has ended.
func (s *Store) Forget(ctx context.Context, id schedule.ID) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, forgetScheduler, [16]byte(id))
	return wrap(err, "take the scheduler off the list")
}

// Who has ended without a word is listed for an hour as one that isn't alive.
const (
	tidySchedulers = `
DELETE FROM riverbeat.schedulers
WHERE seen_at < clock_timestamp() - interval '1 hour'`
	tidyWaits = `
DELETE FROM riverbeat.waits
WHERE until < clock_timestamp() - interval '1 minute'`
	tidyLearnt = `
DELETE FROM riverbeat.learnt l
WHERE NOT EXISTS (SELECT FROM riverbeat.waits w WHERE w.schedule_id = l.schedule_id)`
)

// TidyReports removes what schedulers and waiters that died have left, and what
// nobody follows any more.
func (s *Store) TidyReports(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var all pgx.Batch
	for _, statement := range []string{tidySchedulers, tidyWaits, tidyLearnt, tidyDeleted} {
		all.Queue(statement)
	}
	return wrap(s.pool.SendBatch(ctx, &all).Close(), "tidy the list of schedulers")
}

// What was said in times to come was said before the server's clock was set back:
// who lives says it anew within seconds.
//
// A snapshot beyond what this server has reached is of the one that the data were
// restored from, and says nothing of this one's transactions.
const selectSchedulers = `
SELECT id, host, pid, started_at, seen_at,
       seen_at BETWEEN clock_timestamp() - interval '` + schedulerTimeout + `' AND clock_timestamp() + interval '` + schedulerTimeout + `',
       version, tzdata, paths, looked_at,
       CASE WHEN pg_snapshot_xmax(snapshot) <= pg_snapshot_xmax(pg_current_snapshot()) THEN snapshot::text ELSE '' END, lag
FROM riverbeat.schedulers
ORDER BY started_at, id`

// Schedulers lists what the schedulers have said of themselves, oldest first.
func (s *Store) Schedulers(ctx context.Context) ([]Scheduler, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectSchedulers)
	if err != nil {
		return nil, wrap(err, "list the schedulers")
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r Scheduler, err error) {
		var (
			id       [16]byte
			document []byte
			lookedAt *time.Time
			snapshot string
			lag      float64
			paths    []pathDocument
		)
		err = row.Scan(&id, &r.Host, &r.PID, &r.StartedAt, &r.SeenAt, &r.Alive, &r.Version, &r.Zones, &document, &lookedAt, &snapshot, &lag)
		if err != nil {
			return r, err
		}
		r.ID, r.StartedAt, r.SeenAt, r.LookedAt, r.Lag = id, r.StartedAt.UTC(), r.SeenAt.UTC(), utc(lookedAt), seconds(lag)
		if err := json.Unmarshal(document, &paths); err != nil {
			return r, err
		}
		for _, p := range paths {
			r.Paths = append(r.Paths, schedule.PathState{Path: p.Path, State: p.State, For: seconds(p.For), HeartbeatAge: seconds(p.Heartbeat)})
		}
		if snapshot != "" {
			r.Snapshot, err = ParseSnapshot(snapshot)
		}
		return r, err
	})
	return list, wrap(err, "list the schedulers")
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

const insertWait = `
INSERT INTO riverbeat.waits (id, schedule_id, changed_at, until)
VALUES ($1, $2, $3, clock_timestamp() + $4::float8 * interval '1 s')
RETURNING asked_at`

// Wait has the schedulers say what they have in force, for as long as that may
// take, or until EndWait. With a schedule they say how they learnt of the change
// that was made to it at changedAt, too. askedAt is the database's clock.
func (s *Store) Wait(ctx context.Context, id, about schedule.ID, changedAt time.Time, long time.Duration) (askedAt time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var named *[16]byte
	if !about.IsZero() {
		named = (*[16]byte)(&about)
	}
	err = s.pool.QueryRow(ctx, insertWait, [16]byte(id), named, nullTime(changedAt), long.Seconds()).Scan(&askedAt)
	return askedAt.UTC(), wrap(err, "ask the schedulers")
}

const deleteWait = `
DELETE FROM riverbeat.waits
WHERE id = $1`

// EndWait ends what Wait began.
func (s *Store) EndWait(ctx context.Context, id schedule.ID) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, deleteWait, [16]byte(id))
	return wrap(err, "end the wait for the schedulers")
}

// maxAsked is how many schedules one report answers about; the next ones answer
// about the others.
const maxAsked = 1000

const selectAsked = `
SELECT DISTINCT ON (schedule_id) schedule_id, changed_at
FROM riverbeat.waits
WHERE until > clock_timestamp() AND schedule_id IS NOT NULL
ORDER BY schedule_id, changed_at DESC
LIMIT $1`

// Asked is the schedules that somebody asks about, with the instants of the
// changes in question.
func (s *Store) Asked(ctx context.Context) (map[schedule.ID]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectAsked, maxAsked)
	if err != nil {
		return nil, wrap(err, "read what is asked")
	}
	asked := map[schedule.ID]time.Time{}
	var id [16]byte
	var changedAt time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &changedAt}, func() error {
		asked[id] = changedAt.UTC()
		return nil
	})
	return asked, wrap(err, "read what is asked")
}

const selectLearnt = `
SELECT scheduler_id, version, path, since
FROM riverbeat.learnt
WHERE schedule_id = $1`

// LearntBy says how each scheduler came to have a schedule in force as it has.
func (s *Store) LearntBy(ctx context.Context, id schedule.ID) (map[schedule.ID]Learnt, error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, selectLearnt, [16]byte(id))
	if err != nil {
		return nil, wrap(err, "read how the schedulers learnt")
	}
	learnt := map[schedule.ID]Learnt{}
	var by [16]byte
	l := Learnt{ScheduleID: id}
	var path string
	_, err = pgx.ForEachRow(rows, []any{&by, &l.Version, &path, &l.Since}, func() error {
		l.Path, l.Since = schedule.Path(path), l.Since.UTC()
		learnt[by] = l
		return nil
	})
	return learnt, wrap(err, "read how the schedulers learnt")
}

// Marks are the transactions that a scheduler must have seen to have a change in
// force.
type Marks struct {
	Version      int64     // of the schedule; 0: the change isn't one of a single schedule
	ChangedAt    time.Time // by the database's clock
	Planned      bool      // false: nobody has planned it yet, and more transactions will come
	Transactions []uint64
}

// A number that this server hasn't reached comes from the one that the data were
// restored from.
const selectMarks = `
SELECT s.version, s.updated_at, NOT c.dirty OR c.planned_version = s.version,
       ARRAY(SELECT n::text FROM unnest(ARRAY[s.changed_in, c.planned_in]) AS n
             WHERE n < pg_snapshot_xmax(pg_current_snapshot()))
FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id
WHERE s.id = $1`

// Marks reads those of a schedule's last change. The error is
// schedule.ErrNotFound when there is no such schedule.
func (s *Store) Marks(ctx context.Context, id schedule.ID) (m Marks, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var transactions []string
	err = s.pool.QueryRow(ctx, selectMarks, [16]byte(id)).Scan(&m.Version, &m.ChangedAt, &m.Planned, &transactions)
	if errors.Is(err, pgx.ErrNoRows) {
		return m, schedule.ErrNotFound
	}
	m.ChangedAt = m.ChangedAt.UTC()
	return m.with(transactions, err)
}

// The schedules that name a calendar are planned anew after its change, some of
// them by other transactions.
const selectCalendarMarks = `
SELECT coalesce(bool_and(NOT c.dirty OR c.next_run_at IS NOT NULL), true),
       coalesce(array_agg(DISTINCT c.planned_in) FILTER (WHERE c.planned_in < pg_snapshot_xmax(pg_current_snapshot())), '{}')::text[]
FROM riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id
WHERE s.exclude @> ARRAY[$2] AND s.exclude <> '{}' AND s.namespace = $1`

// CalendarMarks reads those of the last change of a calendar.
func (s *Store) CalendarMarks(ctx context.Context, key CalendarKey) (m Marks, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	var transactions []string
	err = s.pool.QueryRow(ctx, selectCalendarMarks, key.Namespace, key.Name).Scan(&m.Planned, &transactions)
	return m.with(transactions, err)
}

func (m Marks) with(transactions []string, err error) (Marks, error) {
	for _, text := range transactions {
		if err != nil {
			break
		}
		var number uint64
		number, err = strconv.ParseUint(text, 10, 64)
		m.Transactions = append(m.Transactions, number)
	}
	return m, wrap(err, "read the marks of the last change")
}

// Transaction is the number of this transaction, by which snapshots know it.
func (tx *Tx) Transaction(ctx context.Context) (uint64, error) {
	var text string
	if err := tx.QueryRow(ctx, `SELECT pg_current_xact_id()::text`).Scan(&text); err != nil {
		return 0, wrap(err, "read the transaction's number")
	}
	return strconv.ParseUint(text, 10, 64)
}

const announceMany = `
SELECT pg_notify('riverbeat_schedules', '{}')
WHERE pg_notification_queue_usage() <= 0.5`

// AnnounceMany tells the schedulers to look at everything, as the triggers do
// after a statement that changed many schedules.
func (tx *Tx) AnnounceMany(ctx context.Context) error {
	_, err := tx.Exec(ctx, announceMany)
	return wrap(err, "announce a change of many")
}

const announceEach = `
SELECT pg_notify('riverbeat_schedules', format('{"op":"%s","id":"%s","version":%s}', op, id, version))
FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS n (op, id, version)
WHERE pg_notification_queue_usage() <= 0.5`

// AnnounceEach tells the schedulers of changes that are Known, as the triggers do
// after a statement that changed one.
func (tx *Tx) AnnounceEach(ctx context.Context, changes []schedule.Change) error {
	ops, ids, versions := make([]string, len(changes)), make([][16]byte, len(changes)), make([]int64, len(changes))
	for i, c := range changes {
		ops[i], ids[i], versions[i] = string(c.Op), c.ID, c.Version
	}
	_, err := tx.Exec(ctx, announceEach, ops, ids, versions)
	return wrap(err, "announce changes")
}

const ask = `
SELECT pg_notify('riverbeat_schedules', '{"op":"asked"}')
WHERE pg_notification_queue_usage() <= 0.5`

// Ask tells the schedulers that somebody waits.
func (s *Store) Ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	_, err := s.pool.Exec(ctx, ask)
	return wrap(err, "tell the schedulers that somebody waits")
}

// The triggers that keep the truth: without them schedules have no cursors, or
// cursors that nobody plans, lists miss them, and nobody knows who changed them.
var keepers = []string{
	"schedules.schedules_set_version", "schedules.schedules_keep_insert", "schedules.schedules_keep_update",
	"schedules.schedules_keep_delete", "schedules.schedules_keep_truncate", "schedules.schedules_keep_excluded",
	"schedules.schedules_revise_insert", "schedules.schedules_revise_update", "schedules.schedules_revise_delete", "schedules.schedules_revise_truncate",
	"schedules.schedules_labels_insert", "schedules.schedules_labels_update", "schedules.schedules_labels_delete", "schedules.schedules_labels_truncate",
	"calendars.calendars_set_version", "calendars.calendars_keep_used", "calendars.calendars_keep_used_truncate",
	"calendars.calendars_keep_insert", "calendars.calendars_keep_update",
}

var announcers = []string{
	"schedules.schedules_announce_insert", "schedules.schedules_announce_update", "schedules.schedules_announce_delete",
	"schedules.schedules_announce_truncate", "schedules.schedules_announce_gone", "schedules.schedules_announce_all_gone",
	"calendars.calendars_announce_insert", "calendars.calendars_announce_update",
}

const missingTriggers = `
SELECT n.name
FROM unnest($1::text[]) WITH ORDINALITY AS n (name, number)
WHERE NOT EXISTS (
    SELECT
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = to_regnamespace('riverbeat') AND c.relname || '.' || t.tgname = n.name
        AND t.tgenabled IN ('O', 'A'))
ORDER BY n.number`

// Triggers says which triggers are missing or disabled: of those that keep the
// truth, which nothing can do without, and of those that announce, which only make
// it fast. Their names begin with their table.
func (s *Store) Triggers(ctx context.Context) (keeping, announcing []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryDeadline)
	defer cancel()
	rows, err := s.pool.Query(ctx, missingTriggers, slices.Concat(keepers, announcers))
	if err != nil {
		return nil, nil, wrap(err, "look for the triggers")
	}
	missing, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, name := range missing {
		if slices.Contains(keepers, name) {
			keeping = append(keeping, name)
		} else {
			announcing = append(announcing, name)
		}
	}
	return keeping, announcing, wrap(err, "look for the triggers")
}
