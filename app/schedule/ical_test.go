package schedule

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// japan is in the form of Google's calendar of holidays in Japan, one line of it
// folded within a letter.
const japan = "BEGIN:VCALENDAR\r\nPRODID:-//Google Inc//Google Calendar 70.9054//EN\r\nVERSION:2.0\r\nCALSCALE:GREGORIAN\r\nMETHOD:PUBLISH\r\n" +
	"X-WR-CALNAME:日本の祝日\r\nX-WR-TIMEZONE:UTC\r\n" +
	"BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20260504\r\nDTEND;VALUE=DATE:20260505\r\nDTSTAMP:20260101T000000Z\r\nUID:20260504_a@google.com\r\nCLASS:PUBLIC\r\n" +
	"DESCRIPTION:祝日\\n祭日を非表示にするには\\, Google カレンダーの [設定] > [日本の祝日] に移動\r\n します\r\n" +
	"SEQUENCE:0\r\nSTATUS:CONFIRMED\r\nSUMMARY:みどり\xe3\x81\r\n \xae日\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\n" +
	"BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:20260101\r\nDTEND;VALUE=DATE:20260102\r\nDTSTAMP:20260101T000000Z\r\nUID:20260101_b@google.com\r\n" +
	"STATUS:CONFIRMED\r\nSUMMARY:元日\r\nTRANSP:TRANSPARENT\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"

// event wraps the lines of one event.
func event(lines ...string) string {
	return "BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + strings.Join(lines, "\n") + "\nEND:VEVENT\nEND:VCALENDAR\n"
}

func TestParseICalendarReadsDays(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		claim, text, want string
	}{
		{"holidays as Google writes them", japan, "2026-01-01 元日,2026-05-04 みどりの日"},
		{"the same with plain line ends", strings.ReplaceAll(japan, "\r\n", "\n"), "2026-01-01 元日,2026-05-04 みどりの日"},
		{"a byte order mark", "\ufeff" + event("DTSTART:20261225"), "2026-12-25"},
		{"no events", "BEGIN:VCALENDAR\nEND:VCALENDAR", ""},
		{"two calendars in one file", event("DTSTART:20261225") + event("DTSTART:20261226"), "2026-12-25,2026-12-26"},
		{"the end is exclusive", event("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261227", "SUMMARY:Closed"), "2026-12-24..2026-12-26 Closed"},
		{"an event without an end is a day", event("DTSTART;VALUE=DATE:20261224"), "2026-12-24"},
		{"as is one that ends when it begins", event("DTSTART;VALUE=DATE:20261224", "DTEND;VALUE=DATE:20261224"), "2026-12-24"},
		{"a duration", event("DTSTART;VALUE=DATE:20261224", "DURATION:P1D"), "2026-12-24"},
		{"of weeks", event("DTSTART;VALUE=DATE:20261224", "DURATION:P2W"), "2026-12-24..2027-01-06"},
		{"of hours", event("DTSTART:20261224T120000", "DURATION:P1DT12H0M1S"), "2026-12-24..2026-12-26"},
		{"times of day count as their dates", event("DTSTART;TZID=Europe/London:20261224T090000", "DTEND;TZID=Europe/London:20261225T170000"), "2026-12-24..2026-12-25"},
		{"midnight belongs to the day that it begins", event("DTSTART:20261225T000000Z", "DTEND:20261226T000000Z"), "2026-12-25"},
		{"a colon in quotes", event(`DTSTART;X-NOTE="a:b;c":20261225`, `SUMMARY;LANGUAGE=en;ALTREP="cid:x":Day: one`), "2026-12-25 Day: one"},
		{"lower case", event("dtstart;value=date:20261225", "summary:Christmas"), "2026-12-25 Christmas"},
		{"escapes", event("DTSTART:20261225", `SUMMARY:a\;b\\n\nc`), `2026-12-25 a;b\n c`},
		{"folds by a tab", event("DTSTART:2026\n\t1225", "SUM\n MARY:Ch\n \n ristmas"), "2026-12-25 Christmas"},
		{"what is cancelled doesn't count", event("DTSTART:20261225", "STATUS:CANCELLED", "RRULE:FREQ=DAILY"), ""},
		{"an alarm has its own lines", event("DTSTART:20261225", "BEGIN:VALARM", "SUMMARY:Alarm", "DURATION:PT5M", "RRULE:FREQ=DAILY", "END:VALARM"), "2026-12-25"},
		{"zones and tasks, too", "BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nBEGIN:STANDARD\nDTSTART:19701025T020000\nRRULE:FREQ=YEARLY;BYDAY=-1SU\nEND:STANDARD\nEND:VTIMEZONE\n" +
			"BEGIN:VTODO\nDTSTART:20261225\nEND:VTODO\nEND:VCALENDAR", ""},
		{"every year to the horizon", event("DTSTART;VALUE=DATE:20281225", "RRULE:FREQ=YEARLY", "SUMMARY:Christmas"), "2028-12-25 Christmas,2029-12-25 Christmas,2030-12-25 Christmas"},
		{"as often as it says", event("DTSTART:20241225", "RRULE:FREQ=YEARLY;COUNT=2"), "2024-12-25,2025-12-25"},
		{"until then", event("DTSTART:20241225", "RRULE:FREQ=YEARLY;UNTIL=20261225T000000Z;WKST=MO"), "2024-12-25,2025-12-25,2026-12-25"},
		{"every third year, on the date that it has anyway", event("DTSTART:20241225", "RRULE:FREQ=YEARLY;INTERVAL=3;BYMONTH=12;BYMONTHDAY=25;"), "2024-12-25,2027-12-25,2030-12-25"},
		{"29 February is in leap years", event("DTSTART:20240229", "RRULE:FREQ=YEARLY;COUNT=2"), "2024-02-29,2028-02-29"},
		{"birthdays of long ago", event("DTSTART:16421225", "RRULE:FREQ=YEARLY;UNTIL=19711225"), "1970-12-25,1971-12-25"},
		{"more dates and fewer", event("DTSTART:20281225", "DURATION:P2D", "RRULE:FREQ=YEARLY", "RDATE;VALUE=DATE:20260101,20260301", "RDATE:20260401", "EXDATE;VALUE=DATE:20291225,20260301"),
			"2026-01-01..2026-01-02,2026-04-01..2026-04-02,2028-12-25..2028-12-26,2030-12-25..2030-12-26"},
		{"a repetition on another day", "BEGIN:VCALENDAR\n" +
			"BEGIN:VEVENT\nUID:x\nRECURRENCE-ID:20291225\nDTSTART:20291227\nEND:VEVENT\n" +
			"BEGIN:VEVENT\nUID:x\nDTSTART:20281225\nRRULE:FREQ=YEARLY\nEND:VEVENT\n" +
			"BEGIN:VEVENT\nUID:x\nRECURRENCE-ID:20301225\nDTSTART:20301225\nSTATUS:CANCELLED\nEND:VEVENT\nEND:VCALENDAR", "2028-12-25,2029-12-27"},
		{"the same twice is once", event("DTSTART:20261225", "RDATE:20261225"), "2026-12-25"},
		{"nothing before 1970 or after 9998", event("DTSTART:19691231", "DURATION:P2D", "RDATE:19700101,99981231,99981230,99990101"), "1970-01-01..1970-01-02,9998-12-30..9998-12-31"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			got, err := ParseICalendar(iotest.OneByteReader(strings.NewReader(row.text)), 2030)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(days(t, row.want), got); diff != "" {
				t.Error("the days differ (-want +got):\n", diff)
			}
		})
	}
}

func TestParseICalendarSaysWhatItRefuses(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		claim, text, want string
	}{
		{"nothing", "", "isn't a whole iCalendar file"},
		{"a web page", "<html>\n<body>", `isn't an iCalendar file: it has "<html>" where that can't be`},
		{"a CSV file", "date,name\n2026-12-25,Christmas", `isn't an iCalendar file`},
		{"half a file", strings.TrimSuffix(japan, "END:VCALENDAR\r\n"), "isn't a whole iCalendar file"},
		{"an event outside", "BEGIN:VEVENT\nEND:VEVENT", "isn't an iCalendar file"},
		{"ends that don't match", "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR", `it has "END:VCALENDAR" where that can't be`},
		{"too deep", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:X\n", 16), `it has "BEGIN:X" where that can't be`},
		{"an event without a start", event("SUMMARY:Christmas"), `has an event "Christmas" that has no DTSTART`},
		{"no date", event("SUMMARY:Christmas", "DTSTART:25.12.2026"), `has an event "Christmas" that has "25.12.2026" where a date such as 20261225 must be`},
		{"no such date", event("DTSTART:20260229"), `has an event without a summary that has "20260229" where`},
		{"no such end", event("DTSTART:20260228", "DTEND:tomorrow", "SUMMARY:a"), `has an event "a" of 2026-02-28 that has "tomorrow" where`},
		{"weekly ones", event("DTSTART:20261225", "RRULE:FREQ=WEEKLY", "SUMMARY:Gym"), `has an event "Gym" of 2026-12-25 that repeats by "FREQ=WEEKLY": only FREQ=YEARLY on the same date is supported`},
		{"the fourth Thursday", event("DTSTART:20261126", "RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "SUMMARY:Thanksgiving"), `"Thanksgiving" of 2026-11-26 that repeats by "BYDAY=4TH"`},
		{"another month", event("DTSTART:20261126", "RRULE:FREQ=YEARLY;BYMONTH=12"), `repeats by "BYMONTH=12"`},
		{"several months", event("DTSTART:20261126", "RRULE:FREQ=YEARLY;BYMONTH=11,12"), `repeats by "BYMONTH=11,12"`},
		{"no frequency", event("DTSTART:20261126", "RRULE:COUNT=2"), "has an RRULE without FREQ"},
		{"no interval", event("DTSTART:20261126", "RRULE:FREQ=YEARLY;INTERVAL=0"), `repeats by "INTERVAL=0"`},
		{"a huge one", event("DTSTART:20261126", "RRULE:FREQ=YEARLY;INTERVAL=9223372036854775807"), `repeats by "INTERVAL=`},
		{"two rules", event("DTSTART:20261126", "RRULE:FREQ=YEARLY", "RRULE:FREQ=YEARLY"), "has several RRULEs"},
		{"exception rules", event("DTSTART:20261126", "EXRULE:FREQ=YEARLY"), "has an EXRULE"},
		{"periods", event("DTSTART:20261126", "RDATE;VALUE=PERIOD:20261127T000000/P1D"), `has "20261127T000000/P1D" where a date`},
		{"a duration backwards", event("DTSTART:20261126", "DURATION:-P1D"), `has the DURATION "-P1D"`},
		{"a duration of nothing", event("DTSTART:20261126", "DURATION:PT"), `has the DURATION "PT"`},
		{"years on end", event("DTSTART:20260101", "DTEND:20270103", "SUMMARY:Sabbatical"), `"Sabbatical" of 2026-01-01 that lasts 367 days: at most 366 are allowed`},
		{"too many", "BEGIN:VCALENDAR\n" + strings.Repeat("BEGIN:VEVENT\nDTSTART:20261225\nEND:VEVENT\n", MaxICalendarEvents+1) + "END:VCALENDAR", "has more than 5000 events"},
		{"too many repetitions", event("DTSTART:20261225", "RDATE:20261225"+strings.Repeat(",20261225", MaxDayRanges)), "is one too many: at most 1000"},
		{"a long line", event("SUMMARY:" + strings.Repeat("x", maxICalendarLine)), "has a line of 65544 bytes"},
		{"a large file", strings.Repeat(" ", MaxICalendarBytes+1), "is larger than 1048576 bytes"},
	} {
		t.Run(row.claim, func(t *testing.T) {
			t.Parallel()
			got, err := ParseICalendar(strings.NewReader(row.text), 9999)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("it is %v with the error %v, which should say %q", got, err, row.want)
			}
		})
	}
	if _, err := ParseICalendar(iotest.ErrReader(io.ErrUnexpectedEOF), 2030); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader's error is %v", err)
	}
}

// Whatever the file, ParseICalendar answers, and what it accepts is a calendar.
func FuzzParseICalendar(f *testing.F) {
	f.Add(japan, 2030)
	for _, lines := range [][]string{
		{"DTSTART;VALUE=DATE:20281225", "RRULE:FREQ=YEARLY;INTERVAL=2;COUNT=9;UNTIL=20401225T000000Z", "RDATE:20260101,20260301", "EXDATE:20291225", "SUMMARY:a\\,b"},
		{"DTSTART;TZID=\"a:b\":20261224T120000", "DURATION:P1DT12H0M1S", "BEGIN:VALARM", "END:VALARM"},
		{"UID:x", "RECURRENCE-ID:20301225", "DTSTART:20240229", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "STATUS:CANCELLED"},
		{"DTSTART:00010101", "RRULE:FREQ=YEARLY", "DTEND:99991231T235959Z"},
	} {
		f.Add(event(lines...), 9998)
	}
	f.Fuzz(func(t *testing.T, text string, untilYear int) {
		ranges, err := ParseICalendar(strings.NewReader(text), untilYear)
		if err != nil {
			if err.Error() == "" || ranges != nil {
				t.Fatalf("it gives %v with the error %q", ranges, err)
			}
			return
		}
		c := Calendar{Namespace: "default", Name: "c", Timezone: "UTC", Days: ranges}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
