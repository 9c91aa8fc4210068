package schedule

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Limits of an iCalendar file.
const (
	MaxICalendarBytes  = 1 << 20
	MaxICalendarEvents = 5000
	maxICalendarLine   = 64 << 10 // bytes, once unfolded
	maxICalendarDepth  = 16       // of components
)

// ParseICalendar reads the days of an iCalendar file (RFC 5545), the form in
// which public holidays are published. Each event that isn't cancelled is a
// range of days; one with times of day is the days that it touches, by the clock
// that it is written in. Yearly events repeat to the end of untilYear; any other
// RRULE is refused. What begins before 1970 or ends after 9998 is left out. The
// ranges come in order, none twice, and Calendar.Validate accepts them.
//
// The error completes a sentence that begins with the file's name.
func ParseICalendar(r io.Reader, untilYear int) ([]DayRange, error) {
	text, err := io.ReadAll(io.LimitReader(r, MaxICalendarBytes+1))
	if err != nil {
		return nil, fmt.Errorf("can't be read: %w", err)
	}
	if len(text) > MaxICalendarBytes {
		return nil, fmt.Errorf("is larger than %d bytes", MaxICalendarBytes)
	}
	events, err := icalEvents(text)
	if err != nil {
		return nil, err
	}
	// An event with a RECURRENCE-ID stands for one repetition of another.
	overridden := map[string][]int64{}
	for _, e := range events {
		if e.override {
			overridden[e.uid] = append(overridden[e.uid], e.recurrence)
		}
	}
	var days []DayRange
	for _, e := range events {
		if !e.override {
			e.except = append(e.except, overridden[e.uid]...)
		}
		if days, err = e.days(days, untilYear); err != nil {
			return nil, e.named(err)
		}
	}
	slices.SortFunc(days, func(a, b DayRange) int {
		return cmp.Or(cmp.Compare(a.From.number(), b.From.number()), cmp.Compare(a.To.number(), b.To.number()), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(days), nil
}

// icalEvents reads the events and passes over all else.
func icalEvents(text []byte) (events []icalEvent, err error) {
	text = bytes.ReplaceAll(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	// A line that begins with a space or a tab goes on with the one before it,
	// perhaps in the middle of a letter.
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("\n "), nil), []byte("\n\t"), nil)
	var open []string // components
	whole := false
	for line := range strings.SplitSeq(strings.ToValidUTF8(string(text), "\ufffd"), "\n") {
		if len(line) > maxICalendarLine {
			return nil, fmt.Errorf("has a line of %d bytes: at most %d are allowed", len(line), maxICalendarLine)
		}
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value := icalLine(line)
		component := strings.ToUpper(value)
		switch {
		case name == "BEGIN" && len(open) < maxICalendarDepth && (len(open) > 0 || component == "VCALENDAR"):
			open = append(open, component)
			if component != "VEVENT" {
				continue
			}
			if len(events) == MaxICalendarEvents {
				return nil, fmt.Errorf("has more than %d events", MaxICalendarEvents)
			}
			events = append(events, icalEvent{})
		case name == "END" && len(open) > 0 && open[len(open)-1] == component:
			open = open[:len(open)-1]
			whole = len(open) == 0
		case len(open) == 0 || name == "" || name == "BEGIN" || name == "END":
			return nil, fmt.Errorf("isn't an iCalendar file: it has %.60q where that can't be", line)
		case open[len(open)-1] == "VEVENT": // and not, say, in an alarm of the event
			e := &events[len(events)-1]
			if err := e.read(name, value); err != nil && e.wrong == nil {
				e.wrong = err
			}
		}
	}
	if !whole || len(open) > 0 {
		return nil, errors.New("isn't a whole iCalendar file: it must begin with BEGIN:VCALENDAR and end with END:VCALENDAR")
	}
	return events, nil
}

// icalLine splits NAME;PARAMETER=value;PARAMETER="quoted":VALUE. What the
// parameters say shows in the value, too. A line without a colon has no name.
func icalLine(line string) (name, value string) {
	quoted := false
	for i := range len(line) {
		switch {
		case line[i] == '"':
			quoted = !quoted
		case line[i] == ':' && !quoted:
			name, _, _ = strings.Cut(line[:i], ";")
			return strings.ToUpper(name), line[i+1:]
		}
	}
	return "", ""
}

// icalEvent is what counts of an event. Times are seconds since 1970-01-01
// 00:00:00 by the clock that the event is written in; days are their numbers.
type icalEvent struct {
	summary, uid, rule   string
	start, end, duration int64
	started, ended       bool
	cancelled            bool
	also, except         []int64
	override             bool
	recurrence           int64
	wrong                error // the first thing that can't be accepted; the summary may come after it
}

func (e *icalEvent) read(name, value string) (err error) {
	switch name {
	case "SUMMARY":
		e.summary = icalText(value)
	case "UID":
		e.uid = value
	case "STATUS":
		e.cancelled = strings.EqualFold(value, "CANCELLED")
	case "DTSTART":
		e.start, err = icalTime(value)
		e.started = err == nil
	case "DTEND":
		e.end, err = icalTime(value)
		e.ended = true
	case "DURATION":
		e.duration, err = icalDuration(value)
	case "RECURRENCE-ID":
		e.recurrence, err = icalTime(value)
		e.recurrence, _ = splitWall(e.recurrence)
		e.override = true
	case "RRULE":
		if e.rule != "" {
			return errors.New("has several RRULEs")
		}
		e.rule = strings.ToUpper(value)
	case "EXRULE":
		return errors.New("has an EXRULE, which isn't supported: list its dates in EXDATE")
	case "RDATE", "EXDATE":
		list := &e.also
		if name == "EXDATE" {
			list = &e.except
		}
		for text := range strings.SplitSeq(value, ",") {
			at, err := icalTime(text)
			if err != nil {
				return err
			}
			day, _ := splitWall(at)
			*list = append(*list, day)
		}
	}
	return err
}

// days appends the event's ranges.
func (e *icalEvent) days(days []DayRange, untilYear int) ([]DayRange, error) {
	switch {
	case e.cancelled:
		return days, nil
	case e.wrong != nil:
		return nil, e.wrong
	case !e.started:
		return nil, errors.New("has no DTSTART")
	}
	end := e.start
	switch {
	case e.ended:
		end = e.end
	case e.duration > 0:
		end += e.duration
	}
	// The end is exclusive, but an event takes no less than the day it begins on.
	first, _ := splitWall(e.start)
	last, _ := splitWall(end - 1)
	more := max(last-first, 0)
	if more >= MaxDayRangeLength {
		return nil, fmt.Errorf("lasts %d days: at most %d are allowed", more+1, MaxDayRangeLength)
	}
	starts, err := e.repeat(first, untilYear)
	if err != nil {
		return nil, err
	}
	slices.Sort(e.except)
	for _, day := range append(starts, e.also...) {
		from, to := dateOf(day), dateOf(day+more)
		if _, excepted := slices.BinarySearch(e.except, day); excepted || from.Year < 1970 || to.Year > 9998 {
			continue
		}
		if len(days) == MaxDayRanges {
			return nil, fmt.Errorf("is one too many: at most %d ranges of days are allowed", MaxDayRanges)
		}
		days = append(days, DayRange{From: from, To: to, Name: e.summary})
	}
	return days, nil
}

// repeat is the first day and those on which a yearly rule repeats it.
func (e *icalEvent) repeat(first int64, untilYear int) ([]int64, error) {
	if e.rule == "" {
		return []int64{first}, nil
	}
	date := dateOf(first)
	interval, count, until := 1, -1, int64(ending)
	for part := range strings.SplitSeq(strings.TrimSuffix(e.rule, ";"), ";") {
		key, value, _ := strings.Cut(part, "=")
		n, ok := number(value)
		ok = ok && n > 0 && n < 10000
		switch {
		case key == "FREQ" && value == "YEARLY", key == "WKST",
			key == "BYMONTH" && n == int(date.Month), key == "BYMONTHDAY" && n == date.Day:
		case key == "INTERVAL" && ok:
			interval = n
		case key == "COUNT" && ok:
			count = n
		case key == "UNTIL":
			at, err := icalTime(value)
			if err != nil {
				return nil, err
			}
			until, _ = splitWall(at)
		default:
			return nil, fmt.Errorf("repeats by %.60q: only FREQ=YEARLY on the same date is supported, with INTERVAL, COUNT or UNTIL", part)
		}
	}
	if !strings.Contains(e.rule, "FREQ=") {
		return nil, errors.New("has an RRULE without FREQ")
	}
	var starts []int64
	for ; count != 0 && date.Year <= min(untilYear, 9998); date.Year += interval {
		day := date.number()
		if day > until {
			break
		}
		if dateOf(day) == date { // no 29 February in common years
			starts = append(starts, day)
			count--
		}
	}
	return starts, nil
}

// named says which event the error is about.
func (e *icalEvent) named(err error) error {
	name := strconv.Quote(e.summary)
	if e.summary == "" {
		name = "without a summary"
	}
	if e.started {
		day, _ := splitWall(e.start)
		name += " of " + dateOf(day).String()
	}
	return fmt.Errorf("has an event %s that %w", name, err)
}

// icalTime reads 20261225, 20261225T090000 or 20261225T090000Z.
func icalTime(text string) (int64, error) {
	layout, text := "20060102", strings.TrimSpace(text)
	if len(text) > len(layout) {
		layout, text = "20060102T150405", strings.TrimSuffix(text, "Z")
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return 0, fmt.Errorf("has %.60q where a date such as 20261225 must be", text)
	}
	return t.Unix(), nil
}

// icalDuration reads P1D, P2W or P1DT12H.
func icalDuration(text string) (int64, error) {
	wrong := fmt.Errorf("has the DURATION %.60q: it must be such as P1D", text)
	rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "+"), "P")
	if !ok || rest == "" {
		return 0, wrong
	}
	units := map[byte]int64{'W': 7 * secondsPerDay, 'D': secondsPerDay, 'H': 3600, 'M': 60, 'S': 1}
	var seconds int64
	for rest != "" {
		rest = strings.TrimPrefix(rest, "T")
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, ok := number(rest[:digits])
		if !ok || n > 1e6 || digits == len(rest) || units[rest[digits]] == 0 {
			return 0, wrong
		}
		seconds += int64(n) * units[rest[digits]]
		rest = rest[digits+1:]
	}
	return seconds, nil
}

// icalText is the text on one line, unescaped, as a day's name may be.
func icalText(text string) string {
	text = strings.NewReplacer(`\\`, `\`, `\n`, " ", `\N`, " ", `\,`, ",", `\;`, ";").Replace(text)
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if runes := []rune(text); len(runes) > MaxDayNameLength {
		text = strings.TrimSpace(string(runes[:MaxDayNameLength]))
	}
	return text
}
