package app

import (
	"context"
	"time"

	"github.com/riverbeat/riverbeat/db"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// What the runs that are owed are counted by: the first so many schedules, until
// they owe so many together.
const (
	countedSchedules = 1000
	countedRuns      = 100_000
)

// CatchUp is what was missed, and is still to be made up for or recorded.
type CatchUp struct {
	Schedules int64     // that are behind
	AtLeast   bool      // there may be more of them
	Runs      int64     // to be made up for; of the first Counted schedules alone
	Counted   int64     // at most Schedules
	Oldest    time.Time // the first instant that is owed; zero: none
	Rate      int       // runs a second, over all namespaces
	EndsAt    time.Time // about when all is made up for; zero: nothing is owed
}

// CatchUp says what is owed in the namespace; empty: in all that the caller sees. To
// who doesn't see all, it ends as if nobody else were owed anything. The error may be
// schedule.ErrNoNamespace.
func (s *Service) CatchUp(ctx context.Context, namespace string) (c CatchUp, err error) {
	rules := s.config.Rules
	err = s.read(ctx, func(tx *db.Tx) error {
		c = CatchUp{Rate: rules.CatchUpRate}
		behind, err := tx.Behind(ctx, namespace, rules.MisfireAfter, countedSchedules)
		if err != nil || behind.Schedules == 0 {
			return err
		}
		c.Schedules, c.AtLeast, c.Oldest = behind.Schedules, behind.More, behind.Oldest
		cursors, err := tx.Cursors(ctx, behind.First)
		if err != nil {
			return err
		}
		definitions, err := tx.Definitions(ctx, behind.First)
		if err != nil {
			return err
		}
		for _, cursor := range cursors {
			if c.Runs >= countedRuns {
				break
			}
			if definition := definitions[cursor.ScheduleID]; definition != nil {
				c.Runs += int64(schedule.Owed(definition, cursor, behind.Now, rules))
			}
			c.Counted++
		}
		c.EndsAt = c.ends(behind)
		return nil
	})
	return c, err
}

// ends takes those that were counted for all of them. What others are owed is in
// front of it: nothing ends before the last slot that is dealt.
func (c *CatchUp) ends(behind db.Behind) time.Time {
	runs := c.Runs
	if c.Counted > 0 {
		runs = runs * c.Schedules / c.Counted
	}
	ends := behind.Now.Add(time.Duration(float64(runs) / float64(c.Rate) * float64(time.Second))).Truncate(time.Millisecond)
	if behind.LastSlot.After(ends) {
		return behind.LastSlot
	}
	return ends
}
