package schedule

import (
	"encoding/json"
	"time"
)

// Schedule is what a user writes: what runs, when, and under which policy.
type Schedule struct {
	ID          ID
	Namespace   string
	Name        string // unique in its namespace
	Description string
	Labels      map[string]string

	Spec      Spec
	Calendars []Calendar // those that Spec.Exclude names, as they stand; whoever reads the schedule fills them in
	Job       Job

	Misfire           Misfire
	MisfireGrace      time.Duration // zero: however long ago
	MisfireLimit      int           // the most that misfire "all" makes up for
	Overlap           Overlap
	OverlapStaleAfter time.Duration // zero: an unfinished job blocks until it ends

	Paused      bool
	PauseReason string

	// Kept by the database.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Spec says when a schedule runs. Exactly one of Cron, Every and At is set.
type Spec struct {
	Cron     string
	Every    time.Duration // elapsed time, counted from StartAt, else from the schedule's creation
	At       time.Time
	Timezone string        // IANA name; Cron is read in it
	StartAt  time.Time     // inclusive; zero: from the beginning
	EndAt    time.Time     // exclusive; zero: for ever
	Jitter   time.Duration // the most by which a run is delayed
	MaxRuns  int64         // zero: without limit

	Exclude    []string   // names of calendars on whose days nothing runs
	OnExcluded OnExcluded // empty: skip
}

// OnExcluded says what becomes of a run on a day that a calendar excludes. A run
// that moves keeps its time of day, and is one with another run at its new
// instant. It moves only within the window from StartAt to EndAt.
type OnExcluded string

// What may become of it.
const (
	OnExcludedSkip        OnExcluded = "skip"         // it doesn't run
	OnExcludedNextDay     OnExcluded = "next_day"     // it runs on the first later day that isn't excluded
	OnExcludedPreviousDay OnExcluded = "previous_day" // it runs on the last earlier day that isn't excluded
)

// Job is the template of the River job that each run becomes.
type Job struct {
	Kind        string
	Args        json.RawMessage // a JSON object
	Queue       string
	Priority    int // 1, the most urgent, to 4
	MaxAttempts int
	Tags        []string
}

// Misfire says what is owed for runs missed while nothing could fire them.
type Misfire string

// The misfire policies.
const (
	MisfireOnce Misfire = "once" // the latest missed run only
	MisfireAll  Misfire = "all"  // the newest MisfireLimit missed runs, oldest first
	MisfireSkip Misfire = "skip" // none
)

// Overlap says what happens to a run while the job of the run before it is
// unfinished.
type Overlap string

// The overlap policies.
const (
	OverlapAllow    Overlap = "allow"     // it runs beside it
	OverlapSkip     Overlap = "skip"      // it doesn't run
	OverlapQueueOne Overlap = "queue_one" // it waits for that; while one waits, others don't run
)

// State is how a schedule stands. A schedule that is several of these at once
// shows the first of invalid, completed, paused, active.
type State string

// The states.
const (
	StateActive    State = "active"
	StatePaused    State = "paused"
	StateCompleted State = "completed" // nothing more can come of its spec
	StateInvalid   State = "invalid"   // set aside, with its reason, until it is edited
)

// Defaults of a definition, the same as the column defaults of the table.
const (
	DefaultNamespace    = "default"
	DefaultTimezone     = "UTC"
	DefaultQueue        = "default"
	DefaultPriority     = 1
	DefaultMaxAttempts  = 25 // River's own
	DefaultMisfireLimit = 100
)

// New is a Schedule with every default set and nothing else.
func New() Schedule {
	return Schedule{
		Namespace:    DefaultNamespace,
		Labels:       map[string]string{},
		Spec:         Spec{Timezone: DefaultTimezone, Exclude: []string{}, OnExcluded: OnExcludedSkip},
		Job:          Job{Args: json.RawMessage("{}"), Queue: DefaultQueue, Priority: DefaultPriority, MaxAttempts: DefaultMaxAttempts, Tags: []string{}},
		Misfire:      MisfireOnce,
		MisfireLimit: DefaultMisfireLimit,
		Overlap:      OverlapAllow,
	}
}

// Cursor is what the scheduler keeps of a schedule: where it stands.
type Cursor struct {
	ScheduleID     ID
	NextRunAt      time.Time // nominal; zero: none planned
	FireAt         time.Time // when it is due, after jitter or in its slot; zero: not at all
	Dirty          bool      // the timing has changed and isn't planned yet
	ChangedAt      time.Time // when it last changed, by the database's clock
	PlannedVersion int64     // for display: no decision rests on it
	LastRunAt      time.Time // when the last run of the spec was enqueued
	LastJobID      int64     // zero: none; of the spec's own runs
	Held           time.Time // an occurrence before NextRunAt that waits for the last job; zero: none
	HeldSince      time.Time // since when it waits
	HeldReason     Reason    // why it is to run
	Share          int       // while FireAt is a slot: how many missed runs it makes up for there; else zero
	RunCount       int64     // enqueued runs of the spec; what MaxRuns limits
	State          State     // active, completed or invalid
	StateReason    string
}

// Status is a schedule and where it stands.
type Status struct {
	Schedule Schedule
	Cursor   Cursor
}

// State is what the schedule shows: the first that holds of invalid, completed,
// paused, active.
func (s *Status) State() State {
	switch {
	case s.Cursor.State != StateActive:
		return s.Cursor.State
	case s.Schedule.Paused:
		return StatePaused
	default:
		return StateActive
	}
}

// Reason says why a run came to be.
type Reason string

// The reasons.
const (
	ReasonSchedule Reason = "schedule" // its time came
	ReasonCatchUp  Reason = "catch_up" // its time had passed unserved
	ReasonManual   Reason = "manual"   // somebody asked for it
	ReasonBackfill Reason = "backfill"
)

// Outcome says what became of a run.
type Outcome string

// The outcomes.
const (
	OutcomeEnqueued Outcome = "enqueued"
	OutcomeSkipped  Outcome = "skipped"
	OutcomeMissed   Outcome = "missed"
)

// Run is one line of the ledger: one occurrence, or a stretch of occurrences
// that were missed together.
type Run struct {
	ScheduleID   ID
	Namespace    string
	ScheduleName string
	ScheduledFor time.Time // of a stretch, its first occurrence
	Reason       Reason
	Outcome      Outcome
	Why          string    // empty when enqueued
	JobID        int64     // zero unless enqueued
	Until        time.Time // of a stretch, its end; else zero
	Count        int64     // occurrences that this line covers; zero: a stretch nobody counted
	CreatedAt    time.Time
}

// Enqueue is one run that is to become a River job.
type Enqueue struct {
	Schedule     *Schedule
	ScheduledFor time.Time
	Reason       Reason
}
