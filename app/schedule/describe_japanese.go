package schedule

import (
	"fmt"
	"strings"
	"time"
)

var japanese = phrases{
	once:   "%sに1回",
	every:  japaneseEvery,
	zone:   "(%s)",
	start:  "、%s以降",
	end:    "、%sより前",
	jitter: "、最大%sの遅延",
	excluded: map[OnExcluded]string{
		"":                    "、%sの日を除く",
		OnExcludedSkip:        "、%sの日を除く",
		OnExcludedNextDay:     "、%sの日は翌日以降に延期",
		OnExcludedPreviousDay: "、%sの日は前日以前に繰上げ",
	},
	runs:     func(most int64) string { return fmt.Sprintf("、最大%d回", most) },
	duration: japaneseDuration,
	date:     "2006年1月2日",
	list:     japaneseList,

	cron:    japaneseCron,
	longest: 80,
	quote:   "cron式「%s」に一致する時刻",

	at:        "%s",
	fromTo:    "%sから%sまで",
	everyFrom: "%[2]s%[1]s",
	fields:    japaneseFields,

	days:        func(s series) string { return japaneseWithin(s, "日") },
	oddDays:     "奇数日",
	evenDays:    "偶数日",
	fromLast:    japaneseFromLast,
	nearest:     "%d日に最も近い平日",
	lastWeekday: "最終平日",
	ofMonth:     "%[2]s%[1]s",

	onWorkdays:   "平日",
	onWeekdays:   "毎週%s",
	onWeekdaysTo: "毎週%sから%s",
	everyDayBut:  "%s以外の毎日",
	weekdays:     japaneseWeekdays,
	numbered:     japaneseNumbered,
}

func japaneseCron(c cronWords) string {
	clock := c.clockWords()
	months, monthly := "", "毎月"
	if first, last, ok := c.month.around(3); ok {
		months = fmt.Sprintf("毎年%d月から%d月までの", first, last)
	} else if !c.month.all() {
		months, monthly = "毎年"+japaneseValues(c.month, "月")+"の", ""
	}
	switch {
	case c.everyDay() && c.hour.all() && months == "":
		return clock
	case c.everyDay():
		return months + "毎日 " + clock
	case c.either():
		if months != "" {
			months += "うち、"
		}
		return months + c.daysOfMonth(monthly) + "または" + c.daysOfWeek(monthly) + " " + clock
	case !c.byMonth:
		return months + c.daysOfWeek(monthly) + " " + clock
	}
	days := c.daysOfMonth(monthly)
	if c.month.count == 1 && days[0] <= '9' {
		months = strings.TrimSuffix(months, "の") // 毎年1月1日
	}
	days = months + days
	if c.byWeek {
		days += "(" + japaneseIf(c) + "の場合のみ)"
	}
	return days + " " + clock
}

func japaneseIf(c cronWords) string {
	days := c.numberedDays()
	switch c.weekday.set {
	case 0:
	case workdays:
		days = append([]string{"平日"}, days...)
	default:
		days = append([]string{japaneseWeekdays(c.weekday.set)}, days...)
	}
	return joinList(days, "、", "または")
}

func japaneseFields(c cronWords) string {
	words := ""
	head, unit := c.second, "秒"
	if c.second.zero() {
		head, unit = c.minute, "分"
	}
	if !c.hour.all() {
		words = japaneseValues(c.hour, "時台") + japaneseParticle(head)
	}
	if c.hour.count > 1 && !c.minute.throughout() {
		words += "毎時"
	}
	switch {
	case c.second.zero(): // the minute is the head
	case c.minute.all() && head.throughout():
	case c.minute.all():
		words += "毎分"
	case c.minute.count == 1 && head.count == 1:
		words += japaneseValues(c.minute, "分") // 毎時0分30秒
	case c.minute.even():
		words += japaneseWithin(c.minute, "分") + "の各分" + japaneseParticle(head)
	default:
		words += japaneseWithin(c.minute, "分") + japaneseParticle(head)
	}
	return words + japaneseField(head, unit)
}

// japaneseParticle goes before how often and before when.
func japaneseParticle(s series) string {
	if s.throughout() && !s.all() {
		return "に"
	}
	return "の"
}

// japaneseField says when within the next larger unit.
func japaneseField(s series, unit string) string {
	if !s.even() {
		return japaneseValues(s, unit)
	}
	words := ""
	if !s.throughout() {
		words = fmt.Sprintf("%d%sから", s.first, unit)
	}
	if !s.cycle() {
		words += fmt.Sprintf("%d%sまで", s.last, unit)
	}
	if s.step == 1 {
		return words + "毎" + unit
	}
	return words + fmt.Sprintf("%d%sごと", s.step, unit)
}

// japaneseWithin says which of the larger units.
func japaneseWithin(s series, unit string) string {
	if s.stepped() {
		return japaneseField(s, unit)
	}
	return japaneseValues(s, unit)
}

// japaneseValues is such as 1・15〜20日.
func japaneseValues(s series, unit string) string {
	return strings.Join(s.list("%d〜%d"), "・") + unit
}

func japaneseFromLast(days int) string {
	if days == 0 {
		return "末日"
	}
	return fmt.Sprintf("末日の%d日前", days)
}

// japaneseWeekdays is such as 月・水・金曜日.
func japaneseWeekdays(set uint64) string {
	if set == weekend {
		return "土日"
	}
	names := []string{"日", "月", "火", "水", "木", "金", "土"}
	return strings.Join(weekdayNames(set, func(weekday int) string { return names[weekday] }), "・") + "曜日"
}

// japaneseNumbered is such as 第1・最終金曜日.
func japaneseNumbered(numbers []int, weekday int) string {
	var words []string
	for _, n := range numbers {
		if n == 0 {
			words = append(words, "最終")
		} else {
			words = append(words, fmt.Sprintf("第%d", n))
		}
	}
	return strings.Join(words, "・") + japaneseWeekdays(1<<weekday)
}

// japaneseList joins two by と, more by commas.
func japaneseList(items []string) string {
	if len(items) == 2 {
		return items[0] + "と" + items[1]
	}
	return strings.Join(items, "、")
}

func japaneseEvery(d time.Duration) string {
	switch d {
	case time.Minute:
		return "毎分"
	case time.Second:
		return "毎秒"
	}
	return japaneseDuration(d) + "ごと"
}

func japaneseDuration(d time.Duration) string {
	units := map[string]string{"day": "日", "hour": "時間", "minute": "分", "second": "秒"}
	words := ""
	for _, part := range amounts(d) {
		words += part.number + units[part.unit]
	}
	return words
}
