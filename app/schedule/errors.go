package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The states that callers branch on.
var (
	// ErrNotFound: no such schedule in the caller's namespace.
	ErrNotFound = errors.New("no such schedule")
	// ErrNoNamespace: the caller has no such namespace.
	ErrNoNamespace = errors.New("no such namespace")
	// ErrNoRevision: the schedule has no such revision, or it is past its retention.
	ErrNoRevision = errors.New("no such revision")
	// ErrNoRun: the ledger of the schedule has no such run.
	ErrNoRun = errors.New("no such run")
	// ErrNoCalendar: no such calendar in the caller's namespace.
	ErrNoCalendar = errors.New("no such calendar")
	// ErrCalendarTaken: the namespace has a calendar of the name.
	ErrCalendarTaken = errors.New("the calendar's name is taken in this namespace")
	// ErrNameTaken: another schedule of the namespace has the name.
	ErrNameTaken = errors.New("the name is taken in this namespace")
	// ErrStale: the version isn't the one that the caller named.
	ErrStale = errors.New("it has changed since it was read")
	// ErrInvalidState: the schedule is set aside as invalid and can't run.
	ErrInvalidState = errors.New("the schedule is invalid and can't run until it is edited")
)

// BlockedError is that of a run that was asked for with respect to the schedule's
// overlap policy, while the job of the last run is unfinished.
type BlockedError struct{ JobID int64 }

func (e *BlockedError) Error() string {
	return fmt.Sprintf("job %d of the schedule's last run isn't finished", e.JobID)
}

// JobStateError is that of a run whose River job can't be cancelled or retried as it
// stands.
type JobStateError struct{ State JobState } // empty: there is no job, or River has removed it

func (e *JobStateError) Error() string {
	if e.State == "" {
		return "the run has no job, or River has removed it"
	}
	return "the run's job is " + string(e.State)
}

// CalendarUsedError is that of a calendar that can't be deleted while a schedule
// names it.
type CalendarUsedError struct{ Schedule string } // the name of one that does

func (e *CalendarUsedError) Error() string {
	return "the calendar is in use by the schedule " + e.Schedule
}

// FieldError is one field that can't be accepted. Field is the path in the JSON
// document ("spec.cron"); Reason completes a sentence that begins with it.
type FieldError struct {
	Field  string
	Reason string
}

func (e *FieldError) Error() string { return e.Field + " " + e.Reason }

// InvalidError is a definition that can't be accepted, with every field that is
// wrong. It has at least one.
type InvalidError struct{ Fields []FieldError }

func (e *InvalidError) Error() string {
	reasons := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		reasons[i] = f.Error()
	}
	return strings.Join(reasons, "; ")
}

// Invalid is an InvalidError about a single field.
func Invalid(field, reason string) error {
	return &InvalidError{Fields: []FieldError{{Field: field, Reason: reason}}}
}

// AddFields is err with more fields that are wrong; err is an *InvalidError or
// nil.
func AddFields(err error, wrong []FieldError) error {
	if len(wrong) == 0 {
		return err
	}
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		wrong = append(slices.Clone(invalid.Fields), wrong...)
	}
	return &InvalidError{Fields: wrong}
}
