package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const calendarColumns = `
c.namespace, c.name, c.timezone, c.weekends, c.days, c.version, c.created_at, c.updated_at`

// dayRange is a schedule.DayRange as the table's JSON has it.
type dayRange struct {
	From schedule.Date  `json:"from"`
	To   *schedule.Date `json:"to,omitempty"` // nil: the same day
	Name string         `json:"name,omitempty"`
}

func scanCalendar(row pgx.CollectableRow) (*schedule.Calendar, error) {
	var days []dayRange
	c := &schedule.Calendar{}
	err := row.Scan(&c.Namespace, &c.Name, &c.Timezone, &c.Weekends, &days, &c.Version, &c.CreatedAt, &c.UpdatedAt)
	c.Days = make([]schedule.DayRange, len(days))
	for i, d := range days {
		c.Days[i] = schedule.DayRange{From: d.From, To: d.From, Name: d.Name}
		if d.To != nil {
			c.Days[i].To = *d.To
		}
	}
	c.CreatedAt, c.UpdatedAt = c.CreatedAt.UTC(), c.UpdatedAt.UTC()
	return c, err
}

// calendarValues are the parameters $1 to $5 of insertCalendar and updateCalendar.
func calendarValues(c *schedule.Calendar) []any {
	days := make([]dayRange, len(c.Days))
	for i, d := range c.Days {
		days[i] = dayRange{From: d.From, Name: d.Name}
		if d.To != d.From {
			days[i].To = &d.To
		}
	}
	return []any{c.Namespace, c.Name, c.Timezone, c.Weekends, days}
}

const insertCalendar = `
INSERT INTO riverbeat.calendars (namespace, name, timezone, weekends, days)
VALUES ($1, $2, $3, $4, $5)`

// InsertCalendar writes a new calendar; its triggers mark the schedules that name
// it already. The error is schedule.ErrCalendarTaken when there is one of the name,
// and schedule.ErrNoNamespace when the transaction doesn't see its namespace.
func (tx *Tx) InsertCalendar(ctx context.Context, c *schedule.Calendar) error {
	if !tx.sees(c.Namespace) {
		return schedule.ErrNoNamespace
	}
	_, err := tx.Exec(ctx, insertCalendar, calendarValues(c)...)
	if UniqueViolation(err) == "calendars_pkey" {
		return schedule.ErrCalendarTaken
	}
	return wrap(err, "insert the calendar")
}

const updateCalendar = `
UPDATE riverbeat.calendars
SET timezone = $3, weekends = $4, days = $5
WHERE namespace = $1 AND name = $2`

// UpdateCalendar writes what the calendar says; its triggers move the version and
// mark the schedules that name it.
func (tx *Tx) UpdateCalendar(ctx context.Context, c *schedule.Calendar) error {
	_, err := tx.Exec(ctx, updateCalendar, calendarValues(c)...)
	return wrap(err, "update the calendar")
}

const deleteCalendar = `
DELETE FROM riverbeat.calendars
WHERE namespace = $1 AND name = $2`

// DeleteCalendar removes a calendar. The error is a *schedule.CalendarUsedError
// while a schedule names it.
func (tx *Tx) DeleteCalendar(ctx context.Context, key CalendarKey) error {
	_, err := tx.Exec(ctx, deleteCalendar, key.Namespace, key.Name)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.ConstraintName == "calendars_in_use" {
		return &schedule.CalendarUsedError{Schedule: refused.Detail}
	}
	return wrap(err, "delete the calendar")
}

// CalendarKey names one calendar.
type CalendarKey struct {
	Namespace string
	Name      string
}

const selectCalendar = `
SELECT ` + calendarColumns + `
FROM riverbeat.calendars c
WHERE c.namespace = $1 AND c.name = $2`

// Calendar reads one calendar. The error is schedule.ErrNoCalendar when there is
// none.
func (tx *Tx) Calendar(ctx context.Context, key CalendarKey) (*schedule.Calendar, error) {
	return tx.calendar(ctx, selectCalendar, key)
}

// LockCalendar reads one calendar and holds it until the end of the transaction.
func (tx *Tx) LockCalendar(ctx context.Context, key CalendarKey) (*schedule.Calendar, error) {
	return tx.calendar(ctx, selectCalendar+"\nFOR UPDATE", key)
}

func (tx *Tx) calendar(ctx context.Context, query string, key CalendarKey) (*schedule.Calendar, error) {
	if !tx.sees(key.Namespace) {
		return nil, schedule.ErrNoCalendar
	}
	rows, err := tx.Query(ctx, query, key.Namespace, key.Name)
	if err != nil {
		return nil, wrap(err, "read the calendar")
	}
	calendar, err := pgx.CollectExactlyOneRow(rows, scanCalendar)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, schedule.ErrNoCalendar
	}
	return calendar, wrap(err, "read the calendar")
}

const listCalendars = `
SELECT ` + calendarColumns + `
FROM riverbeat.calendars c
WHERE c.namespace = $1 AND c.name > $2
ORDER BY c.name
LIMIT $3`

// Calendars lists those of a namespace behind the name, ordered by name. The error is
// schedule.ErrNoNamespace when the transaction doesn't see it.
func (tx *Tx) Calendars(ctx context.Context, namespace, after string, limit int) ([]*schedule.Calendar, error) {
	if !tx.sees(namespace) {
		return nil, schedule.ErrNoNamespace
	}
	rows, err := tx.Query(ctx, listCalendars, namespace, after, limit)
	if err != nil {
		return nil, wrap(err, "list calendars")
	}
	list, err := pgx.CollectRows(rows, scanCalendar)
	return list, wrap(err, "list calendars")
}

const namedCalendars = `
SELECT ` + calendarColumns + `
FROM unnest($1::text[], $2::text[]) AS n (namespace, name)
JOIN riverbeat.calendars c USING (namespace, name)`

// readCalendars fills in the calendars that the schedules name, those that there
// are.
func (tx *Tx) readCalendars(ctx context.Context, schedules []*schedule.Schedule) error {
	return tx.fillCalendars(ctx, namedCalendars, schedules)
}

// KeepCalendars fills in the calendars that the schedule names and keeps them from
// being edited or deleted until the end of the transaction. The error is
// schedule.ErrNoNamespace when the transaction doesn't see its namespace.
func (tx *Tx) KeepCalendars(ctx context.Context, s *schedule.Schedule) error {
	if !tx.sees(s.Namespace) {
		return schedule.ErrNoNamespace
	}
	return tx.fillCalendars(ctx, namedCalendars+"\nFOR SHARE OF c", []*schedule.Schedule{s})
}

func (tx *Tx) fillCalendars(ctx context.Context, query string, schedules []*schedule.Schedule) error {
	found := map[CalendarKey]*schedule.Calendar{}
	var namespaces, names []string
	for _, s := range schedules {
		for _, name := range s.Spec.Exclude {
			key := CalendarKey{s.Namespace, name}
			if _, ok := found[key]; !ok {
				found[key] = nil
				namespaces, names = append(namespaces, key.Namespace), append(names, key.Name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	rows, err := tx.Query(ctx, query, namespaces, names)
	if err != nil {
		return wrap(err, "read calendars")
	}
	list, err := pgx.CollectRows(rows, scanCalendar)
	if err != nil {
		return wrap(err, "read calendars")
	}
	for _, c := range list {
		found[CalendarKey{c.Namespace, c.Name}] = c
	}
	for _, s := range schedules {
		s.Calendars = nil
		for _, name := range s.Spec.Exclude {
			if c := found[CalendarKey{s.Namespace, name}]; c != nil {
				s.Calendars = append(s.Calendars, *c)
			}
		}
	}
	return nil
}
