// Package app is the one door through which schedules change: it checks, writes
// and plans in one transaction, and announces after the commit.
package app

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/singleflight"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/zonedata"
	"github.com/riverbeat/riverbeat/db"
)

// Jobs is River, as far as the service needs it.
type Jobs interface {
	// Insert enqueues runs within the transaction and returns the ids of their
	// jobs, in the order of the runs.
	Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error)
	// Cancel cancels jobs within the transaction, those that aren't finished.
	Cancel(ctx context.Context, tx pgx.Tx, jobs []int64) error
	// Retry makes a job available at once within the transaction, unless it is
	// running.
	Retry(ctx context.Context, tx pgx.Tx, job int64) error
	// CheckArgs says what is wrong with the args of a kind that it works itself;
	// nothing for the kinds of others.
	CheckArgs(kind string, args json.RawMessage) []schedule.FieldError
	// Secrets are those that the args of a kind that it works itself name.
	Secrets(kind string, args json.RawMessage) []schedule.SecretUse
}

// Service creates, edits, runs and removes schedules, on behalf of the context's
// caller: without one there is nothing, and nothing is done. The error may be a
// *ForbiddenError; what lies in a namespace that the caller doesn't see is not found.
type Service struct {
	database *db.Store // all of it: what is done for a caller goes through as, read or write
	jobs     Jobs
	config   Config
	secrets  *Secrets
	reads    singleflight.Group // what several requests ask at the same moment
	turns    chan struct{}      // of Once
}

// Config is a Service's settings.
type Config struct {
	// Zones is the version of the time zone data that it plans by.
	Zones string
	// Rules are those of the schedulers.
	Rules schedule.Rules
	// Announce is told of each change after its commit and must not block. Nil
	// announces nothing.
	Announce func(schedule.Change)
	// Alone reports whether what Announce is told reaches the schedulers for sure,
	// as far as anybody knows: then a write does without NOTIFY, which makes all
	// who commit at that moment wait for one another. Nil: never.
	Alone func() bool
	// Keys encrypt secrets; nil: none can be written.
	Keys *Keyring
}

// NewService is a Service.
func NewService(store *db.Store, jobs Jobs, config Config) *Service {
	config.Rules = config.Rules.WithDefaults()
	if config.Announce == nil {
		config.Announce = func(schedule.Change) {}
	}
	if config.Alone == nil {
		config.Alone = func() bool { return false }
	}
	return &Service{database: store, jobs: jobs, config: config, secrets: NewSecrets(store, config.Keys), turns: make(chan struct{}, mostOnce)}
}

// write runs do in one transaction, for a caller with the scope write, and announces
// what do says has changed, after the commit; nil: nothing.
func (s *Service) write(ctx context.Context, do func(*db.Tx) (*schedule.Change, error)) error {
	return s.writeAs(ctx, db.Writing{How: db.HowAPI}, do)
}

// writeAs is write in a way of its own. The actor is the caller.
func (s *Service) writeAs(ctx context.Context, w db.Writing, do func(*db.Tx) (*schedule.Change, error)) error {
	store, err := s.as(ctx, ScopeWrite)
	if err != nil {
		return err
	}
	var change *schedule.Change
	alone := s.config.Alone()
	w.Actor, w.Quiet = CallerOf(ctx).Name, w.Quiet || alone
	err = store.InWriteTx(ctx, w, func(tx *db.Tx) (err error) {
		if change, err = do(tx); err != nil {
			change = nil
		}
		return err
	})
	if change != nil {
		afterCommit(ctx, err, func(err error) { s.announce(ctx, *change, alone, err) })
	}
	return err
}

// announce tells of a change whose commit has gone well, or else with the error; alone:
// without NOTIFY.
func (s *Service) announce(ctx context.Context, change schedule.Change, alone bool, err error) {
	if err != nil {
		// The commit may be done all the same: then NOTIFY went with it, if any did. Not
		// by its name: if it isn't done, the next change has the same version.
		if alone {
			s.config.Announce(schedule.Change{})
		}
		return
	}
	s.config.Announce(change)
	// Only now is it known whether it was enough: what is announced is either under
	// way, or was before Announce's way was lost.
	if alone && !s.config.Alone() {
		s.AnnounceAnew(context.WithoutCancel(db.Apart(ctx)), []schedule.Change{change})
	}
}

// maxAnew is how many changes are announced anew one by one.
const maxAnew = 100

// AnnounceAnew tells the schedulers of changes by NOTIFY, because what Announce was
// told may not have reached them. Where that fails, the poll finds what changed.
func (s *Service) AnnounceAnew(ctx context.Context, changes []schedule.Change) {
	changes = slices.DeleteFunc(slices.Clone(changes), func(c schedule.Change) bool { return c.Op == schedule.OpAsked })
	if len(changes) == 0 {
		return
	}
	_ = s.database.InTx(ctx, func(tx *db.Tx) error {
		if len(changes) > maxAnew || slices.ContainsFunc(changes, func(c schedule.Change) bool { return !c.Known() }) {
			return tx.AnnounceMany(ctx)
		}
		return tx.AnnounceEach(ctx, changes)
	})
}

// Key names one schedule; see db.Key.
type Key = db.Key

// AnyVersion is what Edit and Delete take when the caller named no version.
const AnyVersion int64 = 0

// Create writes a new schedule. The ID, version and times of s are ignored. The
// error may be a *schedule.InvalidError, schedule.ErrNameTaken or ErrNoNamespace.
func (s *Service) Create(ctx context.Context, definition schedule.Schedule) (*schedule.Status, error) {
	if err := may(ctx, ScopeWrite, definition.Namespace); err != nil {
		return nil, err
	}
	if err := s.check(ctx, &definition); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7() // in the order of creation, which keeps the index dense
	if err != nil {
		return nil, err
	}
	definition.ID = schedule.ID(id)
	var status *schedule.Status
	err = s.write(ctx, func(tx *db.Tx) (*schedule.Change, error) {
		if err := checkCalendars(ctx, tx, &definition); err != nil {
			return nil, err
		}
		if err := s.checkJobSecrets(ctx, tx, &definition); err != nil {
			return nil, err
		}
		if err := tx.InsertSchedule(ctx, &definition); err != nil {
			return nil, err
		}
		if status, err = s.plan(ctx, tx, definition.ID); err != nil {
			return nil, err
		}
		return changeOf(schedule.OpCreated, status), mustFire(status)
	})
	if err != nil {
		return nil, err
	}
	return status, nil
}

// Get reads one schedule. The error may be schedule.ErrNotFound.
func (s *Service) Get(ctx context.Context, key Key) (status *schedule.Status, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		status, err = tx.Schedule(ctx, key)
		return err
	})
	return status, err
}

// Edit changes the definition of one schedule. version is the one that the
// caller has seen, or AnyVersion. A change that leaves the definition as it was
// writes and announces nothing. The error may be schedule.ErrNotFound, ErrStale,
// ErrNameTaken, a *schedule.InvalidError, or what change returns.
func (s *Service) Edit(ctx context.Context, key Key, version int64, change func(*schedule.Schedule) error) (*schedule.Status, error) {
	return s.edit(ctx, key, version, func(definition *schedule.Schedule) error {
		if err := change(definition); err != nil {
			return err
		}
		return s.check(ctx, definition)
	})
}

// Pause stops a schedule from firing, also one that is invalid. Pausing a paused
// schedule changes its reason only.
func (s *Service) Pause(ctx context.Context, key Key, version int64, reason string) (*schedule.Status, error) {
	return s.edit(ctx, key, version, func(definition *schedule.Schedule) error {
		definition.Paused, definition.PauseReason = true, reason
		return checkReason(*definition)
	})
}

// Resume lets a schedule fire again, from now on: what passed meanwhile is not
// owed.
func (s *Service) Resume(ctx context.Context, key Key, version int64) (*schedule.Status, error) {
	return s.edit(ctx, key, version, func(definition *schedule.Schedule) error {
		definition.Paused, definition.PauseReason = false, ""
		return CallerOf(ctx).CheckJob(&definition.Job)
	})
}

// edit is Edit, where change does the checking too.
func (s *Service) edit(ctx context.Context, key Key, version int64, change func(*schedule.Schedule) error) (*schedule.Status, error) {
	var status *schedule.Status
	err := s.write(ctx, func(tx *db.Tx) (*schedule.Change, error) {
		before, err := tx.LockSchedule(ctx, key)
		if err != nil {
			return nil, err
		}
		if version != AnyVersion && version != before.Schedule.Version {
			return nil, schedule.ErrStale
		}
		after := clone(&before.Schedule)
		if err := change(&after); err != nil {
			return nil, err
		}
		after.ID, after.CreatedAt = before.Schedule.ID, before.Schedule.CreatedAt
		after.Version, after.UpdatedAt = before.Schedule.Version, before.Schedule.UpdatedAt
		if after.Namespace != before.Schedule.Namespace {
			return nil, schedule.Invalid("namespace", "can't be changed")
		}
		if same(&before.Schedule, &after) {
			// Read once more: the lock may have waited for another edit, and the
			// cursor that came with it is the one from before.
			status, err = tx.Schedule(ctx, Key{ID: after.ID})
			return nil, err
		}
		respecified := !sameSpec(&before.Schedule.Spec, &after.Spec)
		if respecified {
			// Before the cursor is held: an edit of a calendar takes them in this order.
			if err := checkCalendars(ctx, tx, &after); err != nil {
				return nil, err
			}
		}
		if !sameJob(&before.Schedule.Job, &after.Job) {
			if err := s.checkJobSecrets(ctx, tx, &after); err != nil {
				return nil, err
			}
		}
		if err := tx.UpdateSchedule(ctx, &after); err != nil {
			return nil, err
		}
		if status, err = s.plan(ctx, tx, after.ID); err != nil {
			return nil, err
		}
		if respecified {
			if err := mustFire(status); err != nil {
				return nil, err
			}
		}
		if status.Schedule.Version == before.Schedule.Version {
			return nil, nil
		}
		return changeOf(schedule.OpUpdated, status), nil
	})
	if err != nil {
		return nil, err
	}
	return status, nil
}

// Delete removes a schedule; a dispatch of it that is in flight is waited for.
// Jobs already enqueued stay, unless cancelJobs. transaction is for Watch.
func (s *Service) Delete(ctx context.Context, key Key, version int64, cancelJobs bool) (transaction uint64, err error) {
	err = s.write(ctx, func(tx *db.Tx) (*schedule.Change, error) {
		gone, err := tx.LockSchedule(ctx, key)
		if err != nil {
			return nil, err
		}
		if version != AnyVersion && version != gone.Schedule.Version {
			return nil, schedule.ErrStale
		}
		if transaction, err = tx.Transaction(ctx); err != nil {
			return nil, err
		}
		if err := tx.DeleteSchedule(ctx, gone.Schedule.ID); err != nil {
			return nil, err
		}
		if cancelJobs {
			jobs, err := tx.UnfinishedJobs(ctx, gone.Schedule.ID)
			if err != nil {
				return nil, err
			}
			if err := s.jobs.Cancel(ctx, tx.Tx, jobs); err != nil {
				return nil, err
			}
		}
		return &schedule.Change{Op: schedule.OpDeleted, ID: gone.Schedule.ID, Version: gone.Schedule.Version + 1}, nil
	})
	return transaction, err
}

// checkOverlap refuses a run while the last one's job blocks it. It holds the
// cursor, so that no other run comes to be meanwhile whose job it doesn't see.
func checkOverlap(ctx context.Context, tx *db.Tx, definition *schedule.Schedule) error {
	cursor, err := tx.LockCursor(ctx, definition.ID)
	if err != nil {
		return err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return err
	}
	jobs, err := tx.LastJobs(ctx, []schedule.Cursor{cursor})
	if last := jobs[definition.ID]; err == nil && last.Blocks(definition, now) {
		return &schedule.BlockedError{JobID: last.ID}
	}
	return err
}

// check is everything that can be known before the transaction, of a definition that
// the caller is about to write.
func (s *Service) check(ctx context.Context, definition *schedule.Schedule) error {
	if err := CallerOf(ctx).CheckJob(&definition.Job); err != nil {
		return err
	}
	wrong := s.jobs.CheckArgs(definition.Job.Kind, definition.Job.Args)
	return schedule.AddFields(definition.Validate(), wrong)
}

// checkReason checks the reason of a pause alone, by that name. The rest of the
// definition is as it was, and what is wrong with it must not keep anybody from pausing it.
func checkReason(definition schedule.Schedule) error {
	var invalid *schedule.InvalidError
	if !errors.As(definition.Validate(), &invalid) {
		return nil
	}
	for _, f := range invalid.Fields {
		if f.Field == "pause_reason" {
			return schedule.Invalid("reason", f.Reason)
		}
	}
	return nil
}

// plan places the cursor after a write, in the same transaction, so that the
// answer says when the schedule runs next.
func (s *Service) plan(ctx context.Context, tx *db.Tx, id schedule.ID) (*schedule.Status, error) {
	status, err := tx.Schedule(ctx, Key{ID: id})
	if err != nil || !status.Cursor.Dirty {
		return status, err
	}
	// Only an edit of the timing has made this transaction hold the cursor: an
	// older mark may be another's to plan at this moment.
	if status.Cursor, err = tx.LockCursor(ctx, id); err != nil || !status.Cursor.Dirty {
		return status, err
	}
	lastFor, err := tx.LastFor(ctx, []schedule.ID{id})
	if err != nil {
		return nil, err
	}
	newest, err := tx.NewestZoneData(ctx)
	if err != nil {
		return nil, err
	}
	if zonedata.Compare(s.config.Zones, newest) < 0 {
		status.Cursor = schedule.Provisional(&status.Schedule, schedule.Plan(&status.Schedule, status.Cursor, lastFor[id]))
	} else {
		now, err := tx.Now(ctx)
		if err != nil {
			return nil, err
		}
		status.Cursor = schedule.Replan(&status.Schedule, status.Cursor, lastFor[id], now)
	}
	return status, tx.SaveCursors(ctx, []schedule.Cursor{status.Cursor})
}

// mustFire refuses a spec, just written, of which nothing is left to come.
func mustFire(status *schedule.Status) error {
	timing, err := status.Schedule.Timing()
	if err != nil {
		return err
	}
	if at := status.Schedule.Spec.At; !at.IsZero() { // one that has passed is due at once
		if taken := timing.Taken(at.Add(-time.Nanosecond), at, 1); len(taken) > 0 {
			return schedule.Invalid("spec.at", fmt.Sprintf("falls on %s, which the calendar %s excludes", taken[0].Day, taken[0].Calendar))
		}
		return nil
	}
	if !timing.Next(status.Cursor.ChangedAt).IsZero() {
		return nil
	}
	if err := neverFires(status.Schedule.Spec, status.Schedule.CreatedAt, status.Cursor.ChangedAt); err != nil {
		return err
	}
	return schedule.Invalid("spec.exclude", "leaves nothing to run: the calendars exclude every run to come")
}

// neverFires refuses a spec of cron or every that names nothing after the instant,
// whatever calendars say.
func neverFires(spec schedule.Spec, createdAt, after time.Time) error {
	timing, err := spec.Timing(createdAt)
	if err != nil || !timing.Next(after).IsZero() {
		return err
	}
	end := spec.EndAt
	spec.EndAt = time.Time{}
	if timing, err = spec.Timing(createdAt); err != nil {
		return err
	}
	if next := timing.Next(after); !next.IsZero() {
		return schedule.Invalid("spec.end_at", fmt.Sprintf("leaves nothing to run: it is %s, and the next run would be at %s",
			end.UTC().Format(time.RFC3339Nano), next.Format(time.RFC3339Nano)))
	}
	return schedule.Invalid("spec.cron", fmt.Sprintf("never fires: for 40 years the clocks of %s show none of its times", spec.Timezone))
}

func changeOf(op schedule.Op, status *schedule.Status) *schedule.Change {
	return &schedule.Change{Op: op, ID: status.Schedule.ID, Version: status.Schedule.Version, NextRunAt: status.Cursor.NextRunAt}
}

// clone is a copy that shares nothing that a change might write to.
func clone(s *schedule.Schedule) schedule.Schedule {
	c := *s
	c.Labels, c.Job.Tags, c.Job.Args = maps.Clone(s.Labels), slices.Clone(s.Job.Tags), slices.Clone(s.Job.Args)
	c.Spec.Exclude = slices.Clone(s.Spec.Exclude)
	return c
}

// same reports whether two definitions are equal, their args as JSON.
func same(a, b *schedule.Schedule) bool {
	x, y := clone(a), clone(b)
	if !sameJSON(x.Job.Args, y.Job.Args) || !maps.Equal(x.Labels, y.Labels) || !slices.Equal(x.Job.Tags, y.Job.Tags) ||
		!sameSpec(&x.Spec, &y.Spec) {
		return false
	}
	// What the calendars say isn't part of the definition.
	x.Job.Args, x.Labels, x.Job.Tags, x.Spec, x.Calendars = nil, nil, nil, schedule.Spec{}, nil
	y.Job.Args, y.Labels, y.Job.Tags, y.Spec, y.Calendars = nil, nil, nil, schedule.Spec{}, nil
	return reflect.DeepEqual(x, y)
}

// sameSpec compares instants as such, whatever their zones.
func sameSpec(a, b *schedule.Spec) bool {
	x, y := *a, *b
	if !x.At.Equal(y.At) || !x.StartAt.Equal(y.StartAt) || !x.EndAt.Equal(y.EndAt) || !slices.Equal(x.Exclude, y.Exclude) {
		return false
	}
	y.At, y.StartAt, y.EndAt, y.Exclude = x.At, x.StartAt, x.EndAt, x.Exclude
	return reflect.DeepEqual(x, y)
}

// sameJSON compares numbers by their values, as PostgreSQL's jsonb does.
func sameJSON(a, b json.RawMessage) bool {
	decode := func(raw json.RawMessage) (v any) {
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if decoder.Decode(&v) != nil {
			return raw
		}
		return plainNumbers(v)
	}
	return reflect.DeepEqual(decode(a), decode(b))
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return plainNumber(v.String())
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for name := range v {
			v[name] = plainNumbers(v[name])
		}
	}
	return v
}

// plainNumber writes a JSON number in the one way of its value: its sign, its digits
// without zeros around them, and the power of ten of the last one.
func plainNumber(text string) json.Number {
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	exponent, err := strconv.Atoi(cmp.Or(power, "0"))
	if err != nil {
		return json.Number(text) // no database holds it
	}
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	exponent += len(digits) - len(strings.TrimRight(digits, "0")) - len(fraction)
	digits = strings.TrimRight(digits, "0")
	switch {
	case digits == "":
		return "0"
	case negative:
		digits = "-" + digits
	}
	return json.Number(digits + "e" + strconv.Itoa(exponent))
}
