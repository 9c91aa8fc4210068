package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

var english = phrases{
	once:   "Once, at %s",
	every:  englishEvery,
	zone:   ", %s",
	start:  ", from %s",
	end:    ", until just before %s",
	jitter: ", delayed by up to %s",
	excluded: map[OnExcluded]string{
		"":                    ", but not on days of %s",
		OnExcludedSkip:        ", but not on days of %s",
		OnExcludedNextDay:     ", after days of %s instead of on them",
		OnExcludedPreviousDay: ", before days of %s instead of on them",
	},
	runs:     englishRuns,
	duration: englishDuration,
	date:     time.DateOnly,
	list:     englishList,

	cron:    englishCron,
	longest: 160,
	quote:   `When the cron expression "%s" matches`,

	at:        "At %s",
	fromTo:    "from %s to %s",
	everyFrom: "%[1]s %[2]s",
	fields:    englishFields,

	days:        func(s series) string { return englishWithin("day", s) },
	oddDays:     "odd days",
	evenDays:    "even days",
	fromLast:    englishFromLast,
	nearest:     "the weekday nearest to day %d",
	lastWeekday: "the last weekday",
	ofMonth:     "on %[1]s %[2]s",

	onWorkdays:   "on weekdays",
	onWeekdays:   "on %s",
	onWeekdaysTo: "on %s through %s",
	everyDayBut:  "every day except %s",
	weekdays:     englishWeekdays,
	numbered:     englishNumbered,
}

func englishCron(c cronWords) string {
	words := c.clockWords()
	const ofMonth = "of the month"
	of, in, tail := ofMonth, "", "" // "of January"; " in January"; the latter where of doesn't say it
	if first, last, ok := c.month.around(3); ok {
		in = fmt.Sprintf(" from %s through %s", time.Month(first), time.Month(last))
		tail = in
	} else if !c.month.all() {
		var names []string
		for month := range values(c.month.set) {
			names = append(names, time.Month(month).String())
		}
		of, in = "of "+englishList(names), " in "+englishList(names)
	}
	switch {
	case c.everyDay() && c.hour.all():
		return words + in
	case c.everyDay():
		return words + " every day" + in
	case c.either():
		if in != "" {
			in = ", only" + in
		}
		return words + " " + c.daysOfMonth(ofMonth) + " or " + c.daysOfWeek(ofMonth) + in
	case !c.byMonth && c.weekday.count > 0:
		return words + " " + c.daysOfWeek(ofMonth) + in
	case !c.byMonth:
		return words + " " + c.daysOfWeek(of) + tail
	}
	days := c.daysOfMonth(of)
	if c.month.count == 1 && c.onlyDates() {
		days = fmt.Sprintf("on %s %s", time.Month(c.month.first), englishList(c.monthDay.list("%d to %d")))
	}
	words += " " + days + tail
	if c.byWeek {
		words += ", and only if it's " + englishIf(c)
	}
	return words
}

func englishIf(c cronWords) string {
	days := weekdayNames(c.weekday.set, weekdayName)
	if c.weekday.set == workdays {
		days = []string{"a weekday"}
	}
	for _, day := range c.numberedDays() {
		days = append(days, day+" of the month")
	}
	return joinList(days, ", ", " or ")
}

func englishFields(c cronWords) string {
	switch {
	case c.second.zero() && c.minute.zero() && c.hour.all():
		return "Every hour"
	case c.second.zero():
		return englishField("minute", c.minute) + " of " + englishWithin("hour", c.hour)
	case c.minute.all() && c.hour.all():
		return englishField("second", c.second) + " of every minute"
	case c.minute.all() && c.second.throughout():
		return englishField("second", c.second) + " of " + englishWithin("hour", c.hour)
	}
	return englishField("second", c.second) + " of " + englishWithin("minute", c.minute) + " of " + englishWithin("hour", c.hour)
}

// englishField says when within the next larger unit.
func englishField(unit string, s series) string {
	if !s.even() {
		return "At " + englishValues(unit, s)
	}
	words := "Every " + unit
	if s.step > 1 {
		words = fmt.Sprintf("Every %d %ss", s.step, unit)
	}
	if s.throughout() {
		return words
	}
	words += fmt.Sprintf(" from %s %d", unit, s.first)
	if !s.cycle() {
		words += fmt.Sprintf(" to %d", s.last)
	}
	return words
}

// englishWithin says which of the larger units.
func englishWithin(unit string, s series) string {
	switch {
	case s.all():
		return "every " + unit
	case s.stepped():
		return fmt.Sprintf("every %s %s from %d to %d", ordinal(s.step), unit, s.first, s.last)
	}
	return englishValues(unit, s)
}

func englishValues(unit string, s series) string {
	if s.count > 1 {
		unit += "s"
	}
	return unit + " " + englishList(s.list("%d to %d"))
}

func englishFromLast(days int) string {
	switch days {
	case 0:
		return "the last day"
	case 1:
		return "the day before the last day"
	}
	return "the " + ordinal(days) + " day before the last day"
}

func englishWeekdays(set uint64) string {
	if set == weekend {
		return "weekends"
	}
	return englishList(weekdayNames(set, func(weekday int) string { return weekdayName(weekday) + "s" }))
}

func englishNumbered(numbers []int, weekday int) string {
	var ordinals []string
	for _, n := range numbers {
		ordinals = append(ordinals, ordinal(n))
	}
	return "the " + englishList(ordinals) + " " + weekdayName(weekday)
}

func weekdayName(weekday int) string { return time.Weekday(weekday).String() }

func englishList(items []string) string { return joinList(items, ", ", " and ") }

// englishEvery leaves out a 1 that is alone.
func englishEvery(d time.Duration) string {
	duration := englishDuration(d)
	if unit, ok := strings.CutPrefix(duration, "1 "); ok && !strings.Contains(unit, " ") {
		duration = unit
	}
	return "Every " + duration
}

func englishDuration(d time.Duration) string {
	var parts []string
	for _, part := range amounts(d) {
		if part.number != "1" {
			part.unit += "s"
		}
		parts = append(parts, part.number+" "+part.unit)
	}
	return strings.Join(parts, " ")
}

func englishRuns(most int64) string {
	if most == 1 {
		return ", at most once"
	}
	return fmt.Sprintf(", at most %d times", most)
}

// ordinal is 1st, 2nd, 3rd, and the last for 0.
func ordinal(n int) string {
	suffix := "th"
	switch {
	case n == 0:
		return "last"
	case n/10 == 1:
	case n%10 == 1:
		suffix = "st"
	case n%10 == 2:
		suffix = "nd"
	case n%10 == 3:
		suffix = "rd"
	}
	return strconv.Itoa(n) + suffix
}
