package schedule

import (
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Describe says in words when a spec runs: "At 03:00 on weekdays, Asia/Tokyo",
// 「平日 03:00(Asia/Tokyo)」. The zone is always named, and every time is a time
// in it. Cron expressions with the same words run at the same local times. An
// expression that would take more words than anyone reads is quoted instead. A
// spec that isn't valid gives "", an unknown language English.
func Describe(spec Spec, language Language) string {
	if spec.Validate() != nil {
		return ""
	}
	p := &english
	if language == Japanese {
		p = &japanese
	}
	var words string
	switch {
	case spec.Cron != "":
		words = p.cron(readCron(spec.Cron, p))
		if utf8.RuneCountInString(words) > p.longest {
			words = fmt.Sprintf(p.quote, strings.Join(strings.Fields(spec.Cron), " "))
		}
	case spec.Every > 0:
		words = p.every(spec.Every)
	default:
		words = fmt.Sprintf(p.once, spec.instant(spec.At, p.date))
	}
	words += fmt.Sprintf(p.zone, spec.Timezone)
	if !spec.StartAt.IsZero() {
		words += fmt.Sprintf(p.start, spec.instant(spec.StartAt, p.date))
	}
	if !spec.EndAt.IsZero() {
		words += fmt.Sprintf(p.end, spec.instant(spec.EndAt, p.date))
	}
	if len(spec.Exclude) > 0 {
		words += fmt.Sprintf(p.excluded[spec.OnExcluded], p.list(spec.Exclude))
	}
	if spec.Jitter > 0 {
		words += fmt.Sprintf(p.jitter, p.duration(spec.Jitter))
	}
	if spec.MaxRuns > 0 {
		words += p.runs(spec.MaxRuns)
	}
	return words
}

// phrases is a language: what it says for what a spec can mean. The strings are
// formats.
type phrases struct {
	once, zone, start, end, jitter string
	excluded                       map[OnExcluded]string
	runs                           func(most int64) string
	every, duration                func(time.Duration) string
	date                           string // a layout of time.Format
	list                           func(items []string) string

	cron    func(cronWords) string
	longest int    // characters that an expression may take
	quote   string // an expression that would take more

	// The times of a day.
	at, fromTo, everyFrom string
	fields                func(cronWords) string // field by field

	// The days of the month.
	days                                             func(series) string
	oddDays, evenDays, nearest, lastWeekday, ofMonth string
	fromLast                                         func(days int) string

	// The days of the week.
	onWorkdays, onWeekdays, onWeekdaysTo, everyDayBut string
	weekdays                                          func(set uint64) string
	numbered                                          func(numbers []int, weekday int) string // 0: the last in the month
}

// cronWords is a cron expression as its words are chosen: by what it matches and
// not by how it is written, so that 1-5 and mon,tue,wed,thu,fri read the same.
type cronWords struct {
	*phrases
	second, minute, hour, month, monthDay, weekday series
	rule                                           dayRule
	byMonth, byWeek                                bool // day-of-month, day-of-week leaves days out
}

// readCron reads an expression that ParseCron accepts.
func readCron(expr string, p *phrases) cronWords {
	texts := strings.Fields(expr)
	if full, ok := nicknames[strings.ToLower(texts[0])]; ok {
		texts = strings.Fields(full)
	}
	if len(texts) == 5 {
		texts = append([]string{"0"}, texts...)
	}
	c := cronWords{phrases: p, rule: dayRule{both: isStar(texts[3]) || isStar(texts[5])}}
	c.second = readSeries(secondField, texts[0], nil)
	c.minute = readSeries(minuteField, texts[1], nil)
	c.hour = readSeries(hourField, texts[2], nil)
	c.monthDay = readSeries(dayOfMonthField, texts[3], c.rule.dayOfMonth)
	c.month = readSeries(monthField, texts[4], nil)
	c.weekday = readSeries(dayOfWeekField, texts[5], c.rule.dayOfWeek)
	c.byMonth, c.byWeek = !c.monthDay.all(), !c.weekday.all()
	if !c.rule.both && !(c.byMonth && c.byWeek) {
		c.byMonth, c.byWeek = false, false // any day, or Mondays: any day
	}
	// A Friday that is the last one is a Friday.
	c.rule.last &^= c.weekday.set
	for k := range c.rule.nth {
		c.rule.nth[k] &^= c.weekday.set
	}
	return c
}

func (c cronWords) everyDay() bool { return !c.byMonth && !c.byWeek }

// either reports that the two day fields are alternatives.
func (c cronWords) either() bool { return c.byMonth && c.byWeek && !c.rule.both }

// clockWords says when within a day, in the form that is the shortest to say:
// every so often, all day or within a few spans; or at a few times; or field by
// field.
func (c cronWords) clockWords() string {
	count := c.second.count * c.minute.count * c.hour.count
	spans, step := c.spans()
	single := slices.ContainsFunc(spans, func(s span) bool { return s.first == s.last })
	var parts []string
	switch {
	case len(spans) == 1 && spans[0].first == 0 && count*step == secondsPerDay && step < 3600:
		return c.every(time.Duration(step) * time.Second)
	case len(spans) > 0 && !single && !c.hour.all() && count >= max(4, 3*len(spans)):
		for _, s := range spans {
			parts = append(parts, fmt.Sprintf(c.fromTo, c.clockTime(s.first), c.clockTime(s.last)))
		}
		return fmt.Sprintf(c.everyFrom, c.every(time.Duration(step)*time.Second), c.list(parts))
	case c.hour.all() || count > maxTimes:
		return c.fields(c)
	}
	for hour := range values(c.hour.set) {
		for minute := range values(c.minute.set) {
			for second := range values(c.second.set) {
				parts = append(parts, c.clockTime(hour*3600+minute*60+second))
			}
		}
	}
	return fmt.Sprintf(c.at, c.list(parts))
}

// span is times of a day that are a step apart, in seconds from midnight.
type span struct{ first, last int }

const (
	maxSpans = 3
	maxTimes = 8
)

// spans joins the times that are as near to each other as any; none if that
// leaves too many spans.
func (c cronWords) spans() (spans []span, step int) {
	spans = []span{{}}
	unit := 1
	for _, s := range []series{c.second, c.minute, c.hour} {
		if step == 0 && s.count > 1 {
			step = 1
			for s.set&(s.set<<step) == 0 {
				step++
			}
			step *= unit
		}
		parts := spans
		spans = nil
		for value := range values(s.set) {
			for _, part := range parts {
				part.first += value * unit
				part.last += value * unit
				last := len(spans) - 1
				switch {
				case last >= 0 && spans[last].last+step == part.first:
					spans[last].last = part.last
				case len(spans) == maxSpans:
					return nil, 0
				default:
					spans = append(spans, part)
				}
			}
		}
		unit *= 60
	}
	return spans, step
}

// clockTime writes 09:00, or 09:00:30 where seconds have a say.
func (c cronWords) clockTime(secondOfDay int) string {
	layout := time.TimeOnly
	if c.second.zero() {
		layout = "15:04"
	}
	return time.Unix(int64(secondOfDay), 0).UTC().Format(layout)
}

// daysOfMonth says what the day-of-month field does, of which month.
func (c cronWords) daysOfMonth(of string) string {
	var days []string
	switch s := c.monthDay; {
	case s.count == 0:
	case s.step == 2 && s.first == 1 && s.last == 31:
		days = append(days, c.oddDays)
	case s.step == 2 && s.first == 2 && s.last == 30:
		days = append(days, c.evenDays)
	default:
		days = append(days, c.days(s))
	}
	for n := range values(c.rule.beforeLast) {
		days = append(days, c.fromLast(n))
	}
	for day := range values(c.rule.nearest) {
		days = append(days, fmt.Sprintf(c.nearest, day))
	}
	if c.rule.lastNearest {
		days = append(days, c.lastWeekday)
	}
	return fmt.Sprintf(c.ofMonth, c.list(days), of)
}

// onlyDates: the day-of-month field is a list of plain days.
func (c cronWords) onlyDates() bool {
	return c.rule.beforeLast|c.rule.nearest == 0 && !c.rule.lastNearest && !c.monthDay.stepped()
}

// daysOfWeek says what the day-of-week field does, of is the month of what is
// numbered in it.
func (c cronWords) daysOfWeek(of string) string {
	var days []string
	first, last, isRange := c.weekday.around(4)
	switch set := c.weekday.set; {
	case set == 0:
	case set == workdays:
		days = append(days, c.onWorkdays)
	case c.weekday.count == 6:
		days = append(days, fmt.Sprintf(c.everyDayBut, c.weekdays(everyWeekday&^set)))
	case isRange:
		days = append(days, fmt.Sprintf(c.onWeekdaysTo, c.weekdays(1<<first), c.weekdays(1<<last)))
	default:
		days = append(days, fmt.Sprintf(c.onWeekdays, c.weekdays(set)))
	}
	if numbered := c.numberedDays(); numbered != nil {
		days = append(days, fmt.Sprintf(c.ofMonth, c.list(numbered), of))
	}
	return c.list(days)
}

// numberedDays are the weekdays that are told by their number in the month.
func (c cronWords) numberedDays() []string {
	var days []string
	for _, weekday := range week {
		var numbers []int
		for k, set := range c.rule.nth {
			if set>>weekday&1 == 1 {
				numbers = append(numbers, k+1)
			}
		}
		if c.rule.last>>weekday&1 == 1 {
			numbers = append(numbers, 0)
		}
		if numbers != nil {
			days = append(days, c.numbered(numbers, weekday))
		}
	}
	return days
}

// week is the days of the week in the order of a list.
var week = [...]int{1, 2, 3, 4, 5, 6, 0}

// The sets of days of the week that have a name of their own.
const (
	workdays     = 0b0111110
	weekend      = 0b1000001
	everyWeekday = workdays | weekend
)

// weekdayNames names the days of the week in the set.
func weekdayNames(set uint64, name func(weekday int) string) []string {
	var names []string
	for _, weekday := range week {
		if set>>weekday&1 == 1 {
			names = append(names, name(weekday))
		}
	}
	return names
}

// series is the values that a field matches, and how they are spaced.
type series struct {
	field                    cronField
	set                      uint64
	first, last, step, count int // step is 0 unless the values are evenly spaced
}

func readSeries(field cronField, text string, special func(item string) (bool, error)) series {
	set, _ := field.list(text, special)
	s := series{field: field, set: set, first: bits.TrailingZeros64(set), last: highest(set), count: bits.OnesCount64(set)}
	if s.count > 1 {
		step := bits.TrailingZeros64(set&(set-1)) - s.first
		if set&^(set<<step) == 1<<s.first {
			s.step = step
		}
	}
	return s
}

func (s series) size() int { return s.field.max - s.field.min + 1 }

func (s series) all() bool { return s.count == s.size() }

// zero: 0 is its only value.
func (s series) zero() bool { return s.set == 1 }

// cycle: the spacing goes on from the last value to the first of the next round.
func (s series) cycle() bool { return s.step > 0 && s.step*s.count == s.size() }

// even: "every 7 minutes" says it better than a list.
func (s series) even() bool {
	return s.step > 0 && (s.count >= 5 || s.count >= 3 && (s.step == 1 || s.cycle()))
}

// stepped: even, but not each value.
func (s series) stepped() bool { return s.even() && s.step > 1 }

// throughout: even, and from the beginning.
func (s series) throughout() bool { return s.even() && s.cycle() && s.first == 0 }

// values are the set's, in ascending order.
func values(set uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		for ; set != 0; set &= set - 1 {
			if !yield(bits.TrailingZeros64(set)) {
				return
			}
		}
	}
}

// list writes the values, three or more in a row by the format of a range.
func (s series) list(many string) []string {
	var items []string
	for set := s.set; set != 0; {
		first := bits.TrailingZeros64(set)
		last := first + bits.TrailingZeros64(^(set >> first)) - 1
		if last >= first+2 {
			items = append(items, fmt.Sprintf(many, first, last))
		} else {
			last = first
			items = append(items, strconv.Itoa(first))
		}
		set &^= 1<<(last+1) - 1
	}
	return items
}

// around is the one range that holds all of the values. It may lead over the end
// of the round, as from November to February.
func (s series) around(least int) (first, last int, ok bool) {
	set := s.set >> s.field.min
	starts := set &^ (set<<1 | set>>(s.size()-1))
	if s.count < least || bits.OnesCount64(starts) != 1 {
		return 0, 0, false
	}
	first = bits.TrailingZeros64(starts)
	return first + s.field.min, (first+s.count-1)%s.size() + s.field.min, true
}

// instant writes a time in the spec's zone, with the offset where the clock
// shows that time twice.
func (s Spec) instant(t time.Time, dateLayout string) string {
	zone, err := loadZone(s.Timezone)
	if err != nil {
		return ""
	}
	t = t.In(zone)
	layout := dateLayout + " 15:04"
	if t.Second() != 0 || t.Nanosecond() != 0 {
		layout += ":05.999999999"
	}
	_, offset := t.Zone()
	for _, other := range []time.Time{t.AddDate(0, 0, -1), t.AddDate(0, 0, 1)} {
		_, otherOffset := other.Zone()
		twin := t.Add(time.Duration(offset-otherOffset) * time.Second)
		if _, twinOffset := twin.Zone(); twinOffset == otherOffset && twinOffset != offset {
			layout += " -07:00"
			break
		}
	}
	return t.Format(layout)
}

// amount is a number of a unit: "day", "hour", "minute" or "second".
type amount struct{ number, unit string }

// amounts splits elapsed time into units. 24 hours stay hours, because a day may
// have 23; 90 seconds stay seconds, because that is easier to read.
func amounts(d time.Duration) []amount {
	const day = 24 * time.Hour
	var parts []amount
	split := func(size time.Duration, unit string) {
		if d >= size {
			parts = append(parts, amount{strconv.FormatInt(int64(d/size), 10), unit})
			d %= size
		}
	}
	if d >= 2*day {
		split(day, "day")
	}
	if d >= 2*time.Minute || d == time.Minute {
		split(time.Hour, "hour")
		split(time.Minute, "minute")
	}
	if d > 0 {
		parts = append(parts, amount{strconv.FormatFloat(d.Seconds(), 'f', -1, 64), "second"})
	}
	return parts
}

// joinList joins items by the comma, the last by the conjunction.
func joinList(items []string, comma, conjunction string) string {
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	last := len(items) - 1
	return strings.Join(items[:last], comma) + conjunction + items[last]
}
