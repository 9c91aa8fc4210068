package schedule

import (
	"cmp"
	"fmt"
	"time"
)

// Calendar is a named set of days, read in its own zone, on which the schedules
// of its namespace that name it don't run.
type Calendar struct {
	Namespace string
	Name      string // unique in its namespace
	Timezone  string // IANA name; the days begin and end by its clock
	Weekends  bool   // every Saturday and Sunday as well
	Days      []DayRange

	// Kept by the database.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// DayRange is the days from From to To, both included.
type DayRange struct {
	From, To Date
	Name     string // such as "Christmas"; may be empty
}

// Limits of a calendar.
const (
	MaxDayRanges      = 1000 // fifty years of twenty holidays
	MaxDayRangeLength = 366  // days
	MaxDayNameLength  = 120
)

// Date is a day of the calendar that most of the world uses. The zero Date is
// none.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// ParseDate reads a date such as "2026-12-25". The error completes a sentence
// that begins with the field's name.
func ParseDate(text string) (Date, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return Date{}, fmt.Errorf(`must be a date such as "2026-12-25", not %q`, text)
	}
	return DateOf(t), nil
}

// DateOf is the date that the instant has in its location.
func DateOf(t time.Time) Date {
	year, month, day := t.Date()
	return Date{Year: year, Month: month, Day: day}
}

// String is the form that ParseDate reads.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }

// MarshalText writes the date as String does.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what ParseDate reads.
func (d *Date) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDate(string(text))
	return err
}

// number counts days from 1970-01-01, which is 0.
func (d Date) number() int64 {
	return time.Date(d.Year, d.Month, d.Day, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay
}

func (d Date) compare(other Date) int {
	return cmp.Or(d.Year-other.Year, int(d.Month-other.Month), d.Day-other.Day)
}

func dateOf(number int64) Date { return DateOf(time.Unix(number*secondsPerDay, 0).UTC()) }

// weekdayOf is the day of the week of a day number.
func weekdayOf(number int64) time.Weekday {
	return time.Weekday(((number+int64(time.Thursday))%7 + 7) % 7) // 1970-01-01 was a Thursday
}

// Validate checks the whole calendar. The error is an *InvalidError that names
// every field that is wrong. Ranges may overlap and come in any order.
func (c *Calendar) Validate() error {
	var f fields
	if !namespacePattern.MatchString(c.Namespace) {
		f.add("namespace", NameRule)
	}
	if !namespacePattern.MatchString(c.Name) {
		f.add("name", NameRule)
	}
	if _, err := loadZone(c.Timezone); err != nil {
		f.add("timezone", err.Error())
	}
	if len(c.Days) > MaxDayRanges {
		f.add("days", fmt.Sprintf("has %d entries: at most %d are allowed", len(c.Days), MaxDayRanges))
		return f.err()
	}
	for i, r := range c.Days {
		field := fmt.Sprintf("days.%d.", i)
		ok := f.date(field+"from", r.From)
		ok = (r.To == r.From || f.date(field+"to", r.To)) && ok
		switch days := r.To.number() - r.From.number() + 1; {
		case !ok:
		case days < 1:
			f.add(field+"to", "must not be before from")
		case days > MaxDayRangeLength:
			f.add(field+"to", fmt.Sprintf("must be at most %d days after from", MaxDayRangeLength-1))
		}
		f.text(field+"name", r.Name, MaxDayNameLength)
	}
	return f.err()
}

// date accepts the days on which a schedule may run.
func (f *fields) date(field string, d Date) (ok bool) {
	switch {
	case d == Date{}:
		f.add(field, "is missing")
	case dateOf(d.number()) != d:
		f.add(field, "is not a date")
	case d.Year < 1970 || d.Year > 9998:
		f.add(field, "must be between the years 1970 and 9998")
	default:
		return true
	}
	return false
}

// day is what the calendar calls the excluded day: the name of its range, else
// its weekday, if it is there as a weekend, else its date.
func (c *Calendar) day(d Date) (name string, excluded bool) {
	for _, r := range c.Days {
		if d.compare(r.From) < 0 || d.compare(r.To) > 0 {
			continue
		}
		if r.Name != "" {
			return r.Name, true
		}
		name = d.String()
	}
	if c.Weekends {
		if weekday := weekdayOf(d.number()); weekday == time.Saturday || weekday == time.Sunday {
			return weekday.String(), true
		}
	}
	return name, name != ""
}
