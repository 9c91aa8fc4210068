package schedule

import (
	"encoding/json"
	"time"
)

// RunStatus is a line of the ledger and how its River job stands.
type RunStatus struct {
	Run Run
	Job *JobStatus // nil: there is none, or River has removed it
	// Overridden says that the run was asked for with arguments of its own, which are
	// Args where they were read.
	Overridden bool
	Args       json.RawMessage
}

// JobState is a state of a River job.
type JobState string

// River's states.
const (
	JobAvailable JobState = "available"
	JobCancelled JobState = "cancelled"
	JobCompleted JobState = "completed"
	JobDiscarded JobState = "discarded"
	JobPending   JobState = "pending"
	JobRetryable JobState = "retryable"
	JobRunning   JobState = "running"
	JobScheduled JobState = "scheduled"
)

// Finalized reports whether River does nothing more about such a job by itself.
func (s JobState) Finalized() bool {
	return s == JobCancelled || s == JobCompleted || s == JobDiscarded
}

// MaxJobError is how many bytes of a job's last error are shown.
const MaxJobError = 1024

// JobStatus is how a River job stands.
type JobStatus struct {
	State        JobState
	Attempt      int // the last one that began; zero: none
	MaxAttempts  int
	AttemptedAt  time.Time // when that began; zero: none
	FinalizedAt  time.Time // zero: it isn't finished
	Error        string    // of the last attempt that failed, at most MaxJobError bytes
	OutputStatus int       // the status in the output that the job recorded; zero: none
}

// Duration is how long the last attempt of a finished job took; zero: nobody knows.
func (j *JobStatus) Duration() time.Duration {
	if j.AttemptedAt.IsZero() || j.FinalizedAt.Before(j.AttemptedAt) {
		return 0
	}
	return j.FinalizedAt.Sub(j.AttemptedAt)
}
