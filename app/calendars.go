package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// CalendarKey names one calendar; see db.CalendarKey.
type CalendarKey = db.CalendarKey

// CreateCalendar writes a new calendar. Its version and times are ignored.
// Schedules that name it already are planned anew. The error may be a
// *schedule.InvalidError, schedule.ErrCalendarTaken or ErrNoNamespace.
func (s *Service) CreateCalendar(ctx context.Context, calendar schedule.Calendar) (created *schedule.Calendar, err error) {
	if err := may(ctx, ScopeWrite, calendar.Namespace); err != nil {
		return nil, err
	}
	if err := calendar.Validate(); err != nil {
		return nil, err
	}
	err = s.write(ctx, func(tx *db.Tx) (*schedule.Change, error) {
		if err := tx.InsertCalendar(ctx, &calendar); err != nil {
			return nil, err
		}
		created, err = tx.Calendar(ctx, CalendarKey{Namespace: calendar.Namespace, Name: calendar.Name})
		return &schedule.Change{}, err
	})
	if err != nil {
		return nil, err
	}
	return created, nil
}

// Calendar reads one calendar. The error may be schedule.ErrNoCalendar.
func (s *Service) Calendar(ctx context.Context, key CalendarKey) (calendar *schedule.Calendar, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		calendar, err = tx.Calendar(ctx, key)
		return err
	})
	return calendar, err
}

// Calendars reads a page of a namespace's calendars, ordered by name, behind the
// name that is the last of the page before. more says that another page follows. The
// error may be schedule.ErrNoNamespace.
func (s *Service) Calendars(ctx context.Context, namespace, after string, limit int) (page []*schedule.Calendar, more bool, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		page, err = tx.Calendars(ctx, namespace, after, limit+1)
		return err
	})
	if len(page) > limit {
		return page[:limit], true, err
	}
	return page, false, err
}

// EditCalendar changes what a calendar says: not its namespace and name, which
// schedules know it by. The schedules that name it are planned anew. A change
// that leaves it as it was writes and announces nothing. The error may be
// schedule.ErrNoCalendar, ErrStale, a *schedule.InvalidError, or what change
// returns.
func (s *Service) EditCalendar(ctx context.Context, key CalendarKey, version int64, change func(*schedule.Calendar) error) (edited *schedule.Calendar, err error) {
	err = s.write(ctx, func(tx *db.Tx) (*schedule.Change, error) {
		before, err := tx.LockCalendar(ctx, key)
		if err != nil {
			return nil, err
		}
		if version != AnyVersion && version != before.Version {
			return nil, schedule.ErrStale
		}
		after := *before
		after.Days = slices.Clone(before.Days)
		if err := change(&after); err != nil {
			return nil, err
		}
		if err := checkKey(&after, key); err != nil {
			return nil, err
		}
		if err := after.Validate(); err != nil {
			return nil, err
		}
		if after.Timezone == before.Timezone && after.Weekends == before.Weekends && slices.Equal(after.Days, before.Days) {
			edited = before
			return nil, nil
		}
		if err := tx.UpdateCalendar(ctx, &after); err != nil {
			return nil, err
		}
		edited, err = tx.Calendar(ctx, key)
		return &schedule.Change{}, err
	})
	if err != nil {
		return nil, err
	}
	return edited, nil
}

func checkKey(c *schedule.Calendar, key CalendarKey) error {
	if c.Namespace != key.Namespace {
		return schedule.Invalid("namespace", "can't be changed")
	}
	if c.Name != key.Name {
		return schedule.Invalid("name", "can't be changed: schedules name the calendar by it")
	}
	return nil
}

// DeleteCalendar removes a calendar. The error may be schedule.ErrNoCalendar,
// ErrStale, or a *schedule.CalendarUsedError while a schedule names it.
func (s *Service) DeleteCalendar(ctx context.Context, key CalendarKey, version int64) error {
	return s.act(ctx, func(tx *db.Tx) error {
		calendar, err := tx.LockCalendar(ctx, key)
		if err != nil {
			return err
		}
		if version != AnyVersion && version != calendar.Version {
			return schedule.ErrStale
		}
		return tx.DeleteCalendar(ctx, key)
	})
}

// checkCalendars refuses a spec that names calendars which don't exist, and keeps
// the others as they are until the end of the transaction.
func checkCalendars(ctx context.Context, tx *db.Tx, s *schedule.Schedule) error {
	if err := tx.KeepCalendars(ctx, s); err != nil {
		return err
	}
	var missing []schedule.FieldError
	for i, name := range s.Spec.Exclude {
		if !slices.ContainsFunc(s.Calendars, func(c schedule.Calendar) bool { return c.Name == name }) {
			missing = append(missing, schedule.FieldError{
				Field:  fmt.Sprintf("spec.exclude.%d", i),
				Reason: fmt.Sprintf("names the calendar %s, which doesn't exist in the namespace %s", name, s.Namespace),
			})
		}
	}
	return schedule.AddFields(nil, missing)
}
