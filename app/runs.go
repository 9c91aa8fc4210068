package app

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// RunFilter says which runs to list; see db.RunFilter.
type RunFilter = db.RunFilter

// RunPlace is a place in a list of runs; see db.RunPlace.
type RunPlace = db.RunPlace

// RunPage is a part of a list of runs; see db.RunPage.
type RunPage = db.RunPage

// RunNow asks for a run at once.
type RunNow struct {
	// Version of the schedule that the caller has seen; AnyVersion: none.
	Version int64
	// RespectOverlap refuses it while the schedule's overlap policy would hold a run
	// back.
	RespectOverlap bool
	// Args are those of its job, as a whole; nil: the schedule's.
	Args json.RawMessage
}

// RunNow enqueues one run at once, also of a paused or completed schedule. It
// leaves the schedule's own runs as they are. Its overlap policy is passed over
// unless the caller says otherwise. The error may be schedule.ErrNotFound,
// schedule.ErrStale, schedule.ErrInvalidState, a *schedule.BlockedError, or a
// *schedule.InvalidError about args.
func (s *Service) RunNow(ctx context.Context, key Key, how RunNow) (schedule.RunStatus, error) {
	for later := time.Duration(0); ; later += time.Microsecond {
		run, err := s.runNow(ctx, key, how, later)
		// Two that came in the same microsecond.
		if db.UniqueViolation(err) == "runs_pkey" && later < 10*time.Microsecond {
			continue
		}
		return run, err
	}
}

func (s *Service) runNow(ctx context.Context, key Key, how RunNow, later time.Duration) (run schedule.RunStatus, err error) {
	err = s.act(ctx, func(tx *db.Tx) error {
		status, err := tx.KeepSchedule(ctx, key)
		if err != nil {
			return err
		}
		if how.Version != AnyVersion && how.Version != status.Schedule.Version {
			return schedule.ErrStale
		}
		if err := CallerOf(ctx).CheckJob(&status.Schedule.Job); err != nil {
			return err
		}
		if how.Args != nil {
			if err := s.checkArgs(&status.Schedule, how.Args); err != nil {
				return err
			}
			status.Schedule.Job.Args = how.Args
			if err := s.checkJobSecrets(ctx, tx, &status.Schedule); err != nil {
				return err
			}
		}
		if status.Cursor.State == schedule.StateInvalid || status.Schedule.Job.ValidateForRiver() != nil {
			return schedule.ErrInvalidState
		}
		if how.RespectOverlap && status.Schedule.Overlap.Asks() {
			if err := checkOverlap(ctx, tx, &status.Schedule); err != nil {
				return err
			}
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		now = now.Add(later)
		// An instant that the spec names is that of its own run: the ledger has one line
		// for it.
		if timing, err := status.Schedule.Timing(); err == nil && timing.Latest(now).Equal(now) {
			now = now.Add(time.Microsecond)
		}
		enqueue := schedule.Enqueue{Schedule: &status.Schedule, ScheduledFor: now, Reason: schedule.ReasonManual}
		jobs, err := s.jobs.Insert(ctx, tx.Tx, []schedule.Enqueue{enqueue})
		if err != nil {
			return err
		}
		if err := tx.InsertRuns(ctx, []schedule.Run{enqueue.Run(jobs[0], now)}); err != nil {
			return err
		}
		if how.Args != nil {
			if err := tx.SetRunArgs(ctx, status.Schedule.ID, now, how.Args); err != nil {
				return err
			}
		}
		run, err = tx.Run(ctx, status.Schedule.ID, now, nil)
		return err
	})
	return run, err
}

// checkArgs checks what a run is asked for with as if it were the schedule's. What
// else is wrong with the schedule is no reason to refuse it.
func (s *Service) checkArgs(definition *schedule.Schedule, args json.RawMessage) error {
	if err := schedule.CheckArgs(args); err != nil {
		return schedule.Invalid("args", err.Error())
	}
	var wrong []schedule.FieldError
	for _, f := range s.jobs.CheckArgs(definition.Job.Kind, args) {
		wrong = append(wrong, schedule.FieldError{Field: strings.TrimPrefix(f.Field, "job."), Reason: f.Reason})
	}
	return schedule.AddFields(nil, wrong)
}

// AllRuns lists a part of the ledger of all schedules, newest first.
func (s *Service) AllRuns(ctx context.Context, filter RunFilter) (page RunPage, err error) {
	if filter.Namespaces, err = visible(ctx, filter.Namespaces); err != nil {
		return page, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		page, err = tx.ListRuns(ctx, filter)
		return err
	})
	return page, err
}

// Runs lists a part of a schedule's ledger, newest first. Runs outlive their
// schedule: by its id they can be read after it is gone. The error may be
// schedule.ErrNotFound.
func (s *Service) Runs(ctx context.Context, key Key, filter RunFilter) (page RunPage, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		filter := filter
		if filter.Namespaces, err = visible(ctx, filter.Namespaces); err != nil {
			return err
		}
		id, gone, err := s.scheduleOf(ctx, tx, key)
		if err != nil {
			return err
		}
		filter.ScheduleID = id
		if !gone {
			filter.Namespaces = nil
		} else if key.Namespace != "" {
			// Of a schedule that is gone only its own namespace may know.
			filter.Namespaces = within(filter.Namespaces, key.Namespace)
		}
		page, err = tx.ListRuns(ctx, filter)
		if err == nil && gone && len(page.Runs) == 0 && filter.Before == (RunPlace{}) {
			page, err = RunPage{}, schedule.ErrNotFound
		}
		return err
	})
	return page, err
}

// scheduleOf is the id of the schedule that the key names. gone says that it isn't
// there, which by its id is no error: it may have been.
func (s *Service) scheduleOf(ctx context.Context, tx *db.Tx, key Key) (id schedule.ID, gone bool, err error) {
	status, err := tx.Schedule(ctx, key)
	switch {
	case errors.Is(err, schedule.ErrNotFound) && !key.ID.IsZero():
		return key.ID, true, nil
	case err != nil:
		return id, false, err
	}
	return status.Schedule.ID, false, nil
}

// visible are those of the namespaces that the caller sees; nil: all. One that was
// named and isn't there for the caller is a schedule.ErrNoNamespace.
func visible(ctx context.Context, namespaces []string) ([]string, error) {
	caller := CallerOf(ctx)
	if namespaces == nil {
		return caller.Namespaces, nil
	}
	for _, n := range namespaces {
		if !caller.Sees(n) {
			return nil, schedule.ErrNoNamespace
		}
	}
	return namespaces, nil
}

// within is the namespace, if it is one of these; nil: all.
func within(namespaces []string, namespace string) []string {
	if (Caller{Namespaces: namespaces}).Sees(namespace) {
		return []string{namespace}
	}
	return []string{}
}

// Run reads one run, by the instant that it is of. The error may be
// schedule.ErrNotFound or schedule.ErrNoRun.
func (s *Service) Run(ctx context.Context, key Key, scheduledFor time.Time) (run schedule.RunStatus, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		run, err = s.findRun(ctx, tx, key, scheduledFor)
		return err
	})
	return run, err
}

func (s *Service) findRun(ctx context.Context, tx *db.Tx, key Key, scheduledFor time.Time) (schedule.RunStatus, error) {
	id, gone, err := s.scheduleOf(ctx, tx, key)
	if err != nil {
		return schedule.RunStatus{}, err
	}
	namespaces := CallerOf(ctx).Namespaces
	if gone && key.Namespace != "" {
		namespaces = within(namespaces, key.Namespace)
	}
	run, err := tx.Run(ctx, id, scheduledFor, namespaces)
	if gone && errors.Is(err, schedule.ErrNoRun) {
		return run, schedule.ErrNotFound // neither is there
	}
	return run, err
}

// CancelRun cancels a run's job. One that is running is told to stop; one that is
// cancelled already stays so. The error may be schedule.ErrNotFound,
// schedule.ErrNoRun, or a *schedule.JobStateError when the job is finished or gone.
func (s *Service) CancelRun(ctx context.Context, key Key, scheduledFor time.Time) (schedule.RunStatus, error) {
	return s.changeJob(ctx, key, scheduledFor, func(tx *db.Tx, run *schedule.RunStatus, _ *schedule.Job) error {
		if run.Job.State == schedule.JobCompleted || run.Job.State == schedule.JobDiscarded {
			return &schedule.JobStateError{State: run.Job.State}
		}
		return s.jobs.Cancel(ctx, tx.Tx, []int64{run.Run.JobID})
	})
}

// RetryRun makes a run's job available again, at once: one that was discarded or
// cancelled, or waits for its next attempt. The errors are as those of CancelRun.
func (s *Service) RetryRun(ctx context.Context, key Key, scheduledFor time.Time) (schedule.RunStatus, error) {
	return s.changeJob(ctx, key, scheduledFor, func(tx *db.Tx, run *schedule.RunStatus, job *schedule.Job) error {
		if run.Job.State == schedule.JobCompleted || run.Job.State == schedule.JobRunning {
			return &schedule.JobStateError{State: run.Job.State}
		}
		if err := CallerOf(ctx).CheckJob(job); err != nil {
			return err
		}
		return s.jobs.Retry(ctx, tx.Tx, run.Run.JobID)
	})
}

// changeJob does something about a run's job and reads the run anew.
func (s *Service) changeJob(ctx context.Context, key Key, scheduledFor time.Time, do func(*db.Tx, *schedule.RunStatus, *schedule.Job) error) (run schedule.RunStatus, err error) {
	err = s.act(ctx, func(tx *db.Tx) error {
		if run, err = s.findRun(ctx, tx, key, scheduledFor); err != nil {
			return err
		}
		var job schedule.Job
		if run.Run.JobID != 0 {
			if job, err = tx.LockJob(ctx, run.Run.JobID); err != nil {
				return err
			}
			// What it is by now: a worker may have come first.
			if run, err = tx.Run(ctx, run.Run.ScheduleID, run.Run.ScheduledFor, nil); err != nil {
				return err
			}
		}
		if run.Job == nil {
			return &schedule.JobStateError{}
		}
		if err := do(tx, &run, &job); err != nil {
			return err
		}
		run, err = tx.Run(ctx, run.Run.ScheduleID, run.Run.ScheduledFor, nil)
		return err
	})
	return run, err
}
