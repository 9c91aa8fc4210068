package schedule

import "time"

// Change is a hint that a schedule changed. It may be lost, doubled, late or
// out of order: whoever gets one looks at the database and believes only that.
// The zero Change means "look at everything".
type Change struct {
	Op        Op        // empty when the sender didn't say
	ID        ID        // zero: any schedule
	Version   int64     // zero: not known, so never a duplicate
	NextRunAt time.Time // when it is due next; zero: not said
}

// Op is what happened to a schedule.
type Op string

// The operations.
const (
	OpCreated Op = "created"
	OpUpdated Op = "updated"
	OpDeleted Op = "deleted"
	// OpAsked changes nothing: somebody waits for the schedulers to say what they
	// have in force.
	OpAsked Op = "asked"
)

// Known reports whether the change names one version of one schedule, so that
// reading that schedule is enough.
func (c Change) Known() bool { return !c.ID.IsZero() && c.Version > 0 }
