package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Cron is a parsed cron expression. Immutable, safe for concurrent use.
type Cron struct {
	seconds, minutes, hours, months uint64 // bit n: the value n

	// days are the matching days of a month, bit d for day d, by the month's
	// length (from 28) and the weekday of its first day: everything that the two
	// day fields can say comes down to that.
	days [4][7]uint32

	perDay   int64 // how often it fires on a day that matches
	wildcard bool  // its second, minute or hour begins with *: it follows elapsed time
}

const maxCronBytes = 256

// nicknames stand for a whole expression.
var nicknames = map[string]string{
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
	"@monthly":  "0 0 1 * *",
	"@weekly":   "0 0 * * 0",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@hourly":   "0 * * * *",
}

// cronField is what one field of an expression may hold.
type cronField struct {
	name     string
	min, max int
	names    []string // of the values from min on
	unit     string   // of a Spec's every, where one fits
}

var (
	secondField     = cronField{name: "second", max: 59, unit: "s"}
	minuteField     = cronField{name: "minute", max: 59, unit: "m"}
	hourField       = cronField{name: "hour", max: 23, unit: "h"}
	dayOfMonthField = cronField{name: "day-of-month", min: 1, max: 31, unit: "d"}
	monthField      = cronField{name: "month", min: 1, max: 12, names: []string{
		"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
	}}
	dayOfWeekField = cronField{name: "day-of-week", max: 6, unit: "d", names: []string{
		"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT",
	}}
)

// sunday is its second number.
const sunday = 7

// ParseCron reads a cron expression: minute, hour, day-of-month, month and
// day-of-week, or 6 fields with the second first, or a nickname such as @daily.
// The error's text completes a sentence that begins with the field's name.
func ParseCron(expr string) (*Cron, error) {
	if err := checkCronText(expr); err != nil {
		return nil, err
	}
	texts := strings.Fields(expr)
	if len(texts) > 0 && texts[0][0] == '@' {
		full, ok := nicknames[strings.ToLower(strings.Join(texts, " "))]
		if !ok {
			return nil, nicknameError(texts)
		}
		texts = strings.Fields(full)
	}
	switch len(texts) {
	case 0:
		return nil, errors.New(`is empty: write five fields, such as "0 3 * * 1-5", or a nickname, such as "@daily"`)
	case 5:
		texts = append([]string{"0"}, texts...)
	case 6:
	default:
		return nil, fieldCountError(len(texts))
	}

	c := &Cron{wildcard: isStar(texts[0]) || isStar(texts[1]) || isStar(texts[2])}
	rule := dayRule{both: isStar(texts[3]) || isStar(texts[5])}
	for i, part := range []struct {
		field   cronField
		set     *uint64
		special func(item string) (bool, error)
	}{
		{field: secondField, set: &c.seconds},
		{field: minuteField, set: &c.minutes},
		{field: hourField, set: &c.hours},
		{field: dayOfMonthField, set: &rule.days, special: rule.dayOfMonth},
		{field: monthField, set: &c.months},
		{field: dayOfWeekField, set: &rule.weekdays, special: rule.dayOfWeek},
	} {
		set, err := part.field.list(texts[i], part.special)
		if err != nil {
			return nil, err
		}
		*part.set = set
	}
	for length := 28; length <= 31; length++ {
		for first := range 7 {
			c.days[length-28][first] = rule.month(length, first)
		}
	}
	c.perDay = int64(bits.OnesCount64(c.seconds) * bits.OnesCount64(c.minutes) * bits.OnesCount64(c.hours))
	if c.neverFires() {
		return nil, errors.New(`never fires: none of its months has such a day (L is the last day of any month, as in "0 0 L 2 *")`)
	}
	return c, nil
}

// checkCronText refuses what no expression can hold, so that what follows may
// take a byte for a character and quote it.
func checkCronText(expr string) error {
	if len(expr) > maxCronBytes {
		return fmt.Errorf("is %d bytes long: at most %d are allowed", len(expr), maxCronBytes)
	}
	for i := range len(expr) {
		if expr[i] >= utf8.RuneSelf {
			r, _ := utf8.DecodeRuneInString(expr[i:])
			return fmt.Errorf("has %+q at byte %d: only the digits 0 to 9, the letters A to Z and * / , - # ? @ are allowed", r, i+1)
		}
		if expr[i] < ' ' && expr[i] != '\t' || expr[i] == 0x7f {
			return fmt.Errorf("has the control character %q at byte %d: write one line, its fields separated by spaces or tabs", expr[i], i+1)
		}
	}
	if name, _, found := strings.Cut(strings.ToUpper(strings.TrimLeft(expr, " \t")), "="); found && (name == "TZ" || name == "CRON_TZ") {
		return fmt.Errorf(`begins with %s=: name the zone in "timezone" instead`, name)
	}
	return nil
}

func fieldCountError(n int) error {
	const needs = "it needs 5 (minute hour day-of-month month day-of-week), or 6 with the second first"
	switch n {
	case 1:
		return errors.New("has 1 field: " + needs)
	case 7: // as in Quartz
		return errors.New("has 7 fields: " + needs + `; the years are bounded by "start_at" and "end_at"`)
	}
	return fmt.Errorf("has %d fields: %s", n, needs)
}

func nicknameError(texts []string) error {
	name := strings.ToLower(texts[0])
	switch name {
	case "@every":
		const instead = `can't hold @every: use "every" instead of "cron", `
		if len(texts) == 2 {
			if _, err := ParseDuration(texts[1]); err == nil {
				return errors.New(instead + `as "every": "` + texts[1] + `"`)
			}
		}
		return errors.New(instead + `such as "every": "90m"`)
	case "@reboot":
		return errors.New(`can't be @reboot, because no machine's start belongs to a schedule: use "at" to run once`)
	}
	if _, known := nicknames[name]; known {
		return fmt.Errorf("has more than the nickname %s: write it alone", name)
	}
	return fmt.Errorf("has the unknown nickname %q: there are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly", name)
}

// isStar is Vixie cron's star bit: */2 and *,5 count as well.
func isStar(text string) bool { return text[0] == '*' || text[0] == '?' }

// list reads a field: items separated by commas. Special takes the items that
// only this field has; it reports whether the item was one.
func (f cronField) list(text string, special func(item string) (bool, error)) (uint64, error) {
	var set uint64
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			return 0, fmt.Errorf("has an empty item in its %s field: remove the comma too many from %q", f.name, text)
		}
		if special != nil {
			if taken, err := special(item); err != nil {
				return 0, err
			} else if taken {
				continue
			}
		}
		values, err := f.values(item)
		if err != nil {
			return 0, err
		}
		set |= values
	}
	return set, nil
}

// values reads *, N, N-M, each with or without a step. N/S runs to the end.
func (f cronField) values(item string) (uint64, error) {
	body, stepText, stepped := strings.Cut(item, "/")
	low, high, step := f.min, f.max, 1
	var err error
	if body != "*" && body != "?" {
		first, last, ranged := strings.Cut(body, "-")
		if low, err = f.value(first, item); err != nil {
			return 0, err
		}
		if !stepped {
			high = low
		}
		high = max(high, low) // 7/2 is a Sunday, too
		if ranged {
			if high, err = f.value(last, item); err != nil {
				return 0, err
			}
			if high < low && strings.EqualFold(last, dayOfWeekField.names[0]) {
				high = sunday // FRI-SUN
			}
		}
		if high < low {
			return 0, fmt.Errorf("has the reversed range %s in its %s field: write %s,%s",
				body, f.name, fromTo(first, f.like(first, f.max)), fromTo(f.like(last, f.min), last))
		}
	}
	if stepped {
		if step, err = f.step(stepText, item); err != nil {
			return 0, err
		}
	}
	var set uint64
	for value := low; value <= high; value += step {
		set |= 1 << value
	}
	if set>>sunday&1 == 1 && f.name == dayOfWeekField.name {
		set = set&^(1<<sunday) | 1
	}
	return set, nil
}

// value reads a number or a name; item is what to quote.
func (f cronField) value(text, item string) (int, error) {
	for i, name := range f.names {
		if strings.EqualFold(text, name) {
			return f.min + i, nil
		}
	}
	n, ok := number(text)
	if !ok {
		return 0, fmt.Errorf("has %q in its %s field: %s%s", item, f.name, f.instead(text, item), f.allowed())
	}
	if n < f.min || n > f.max && !(n == sunday && f.name == dayOfWeekField.name) {
		return 0, fmt.Errorf("has %s in its %s field: %s%s", text, f.name, f.instead(text, item), f.allowed())
	}
	return n, nil
}

// instead says what was probably meant, if that can be told from what was
// written, ready to be followed by what is allowed.
func (f cronField) instead(text, item string) string {
	for _, name := range f.names {
		if len(text) > len(name) && strings.EqualFold(text[:len(name)], name) && strings.Trim(strings.ToUpper(text), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
			return "write " + name + "; "
		}
	}
	switch {
	case item[0] == '/':
		return "write *" + item + "; "
	case text == "24" && f.name == hourField.name:
		return "midnight is 0; "
	}
	return ""
}

func (f cronField) step(text, item string) (int, error) {
	n, ok := number(text)
	size := f.max - f.min + 1
	switch {
	case !ok || n == 0:
		return 0, fmt.Errorf("has %q in its %s field: the step after / must be a number from 1 to %d", item, f.name, size)
	case n > size && f.unit != "":
		return 0, fmt.Errorf(`has the step %d in its %s field, which has %d values: to run every %d%s use "every": "%d%s" instead of "cron"`,
			n, f.name, size, n, f.unit, n, f.unit)
	case n > size:
		return 0, fmt.Errorf("has the step %d in its %s field, which has %d values: the step must be from 1 to %d", n, f.name, size, size)
	}
	return n, nil
}

// allowed says what an item may be.
func (f cronField) allowed() string {
	switch f.name {
	case dayOfMonthField.name:
		return "allowed are 1 to 31, L, L-n, LW and nW (such as 15W), ranges (1-5) and steps (*/2)"
	case dayOfWeekField.name:
		return "allowed are 0 to 7 (both are Sunday), SUN to SAT, n#k (such as 5#3), nL, ranges (1-5) and steps (*/2)"
	case monthField.name:
		return "allowed are 1 to 12, JAN to DEC, ranges (1-6) and steps (*/3)"
	}
	return fmt.Sprintf("allowed are %d to %d, ranges (1-5) and steps (*/2)", f.min, f.max)
}

// like writes the value as the example is written: as a name or as a number.
func (f cronField) like(example string, value int) string {
	if _, isNumber := number(example); isNumber || f.names == nil {
		return strconv.Itoa(value)
	}
	return f.names[value-f.min]
}

// fromTo writes a range, one value as itself.
func fromTo(first, last string) string {
	if strings.EqualFold(first, last) {
		return first
	}
	return first + "-" + last
}

// number reads decimal digits and nothing else: no sign, no octal.
func number(text string) (int, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// dayRule is what the two day fields say, before it is known which month it is.
type dayRule struct {
	days        uint64 // bit d: day d
	beforeLast  uint64 // bit n: n days before the last (L, L-n)
	nearest     uint64 // bit d: the weekday nearest to day d (dW)
	lastNearest bool   // the weekday nearest to the last day (LW)

	weekdays uint64    // bit w: that day of the week
	nth      [5]uint64 // its 1st to 5th in the month (w#k)
	last     uint64    // its last in the month (wL, w#L)

	both bool // a day must match both fields; else either will do
}

// dayOfMonth takes L, L-n, LW and nW.
func (r *dayRule) dayOfMonth(item string) (bool, error) {
	upper := strings.ToUpper(item)
	day, isNearest := strings.CutSuffix(upper, "W")
	offset, isBefore := strings.CutPrefix(upper, "L-")
	switch {
	case upper == "L":
		r.beforeLast |= 1
	case upper == "LW":
		r.lastNearest = true
	case isBefore:
		n, ok := number(offset)
		if !ok || n < 1 || n > 30 {
			return true, fmt.Errorf("has %q in its day-of-month field: L-n counts 1 to 30 days back from the last, which is L", item)
		}
		r.beforeLast |= 1 << n
	case isNearest:
		n, ok := number(day)
		if !ok || n < 1 || n > 31 {
			return true, fmt.Errorf("has %q in its day-of-month field: W, the nearest weekday, follows a day from 1 to 31, as in 15W, or L", item)
		}
		r.nearest |= 1 << n
	default:
		return false, nil
	}
	return true, nil
}

// dayOfWeek takes n#k, n#L and nL.
func (r *dayRule) dayOfWeek(item string) (bool, error) {
	day, which, found := strings.Cut(strings.ToUpper(item), "#")
	if !found {
		if day, found = strings.CutSuffix(day, "L"); !found {
			return false, nil
		}
		which = "L"
	}
	if day == "" {
		return true, fmt.Errorf("has %q in its day-of-week field: name the day as well, as in 5L, the month's last Friday", item)
	}
	weekday, err := dayOfWeekField.value(day, item)
	if err != nil {
		return true, err
	}
	weekday %= 7
	if which == "L" {
		r.last |= 1 << weekday
		return true, nil
	}
	k, ok := number(which)
	if !ok || k < 1 || k > 5 {
		return true, fmt.Errorf("has %q in its day-of-week field: # is followed by 1 to 5, or L for the last in the month", item)
	}
	r.nth[k-1] |= 1 << weekday
	return true, nil
}

// month is the matching days of a month of that length whose first day is that
// day of the week.
func (r *dayRule) month(length, first int) uint32 {
	nearest := r.nearest
	if r.lastNearest {
		nearest |= 1 << length
	}
	days := r.days
	for day := 1; day <= length; day++ {
		if r.beforeLast>>(length-day)&1 == 1 {
			days |= 1 << day
		}
		if nearest>>day&1 == 1 {
			days |= 1 << nearestWeekday(day, length, first)
		}
	}
	var set uint32
	for day := 1; day <= length; day++ {
		weekday := (first + day - 1) % 7
		inMonth := days>>day&1 == 1
		inWeek := (r.weekdays|r.nth[(day-1)/7])>>weekday&1 == 1 || day+7 > length && r.last>>weekday&1 == 1
		if inMonth && inWeek || !r.both && (inMonth || inWeek) {
			set |= 1 << day
		}
	}
	return set
}

// nearestWeekday is the day from Monday to Friday that is nearest to the day,
// without leaving the month.
func nearestWeekday(day, length, first int) int {
	switch (first + day - 1) % 7 {
	case 6: // Saturday
		if day == 1 {
			return 3
		}
		return day - 1
	case 0: // Sunday
		if day == length {
			return day - 2
		}
		return day + 1
	}
	return day
}

// neverFires reports that no year has a matching day. In 400 years each month
// begins on every day of the week, February also with 29 days.
func (c *Cron) neverFires() bool {
	for number := 1; number <= 12; number++ {
		if c.months>>number&1 == 0 {
			continue
		}
		for _, year := range []int{2027, 2028} { // a common year and a leap year
			for _, days := range c.days[monthLength(year, number)-28] {
				if days != 0 {
					return false
				}
			}
		}
	}
	return true
}
