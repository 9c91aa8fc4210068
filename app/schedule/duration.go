package schedule

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads elapsed time such as "90s", "15m", "1h30m", "7d" or
// "0.5s". The units are d, which is 24 hours, h, m and s. The error completes a
// sentence that begins with the field's name.
func ParseDuration(text string) (time.Duration, error) {
	d, ok := readDuration(text)
	if !ok {
		return 0, notADuration(text)
	}
	return d, nil
}

func readDuration(text string) (d time.Duration, ok bool) {
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	if found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, false
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if rest == "" && found {
		return d, true
	}
	// ParseDuration knows more units and signs than elapsed time has here.
	if rest == "" || rest[0] == '+' || rest[0] == '-' || strings.TrimLeft(rest, "0123456789.hms") != "" ||
		strings.Contains(rest, "ms") {
		return 0, false
	}
	r, err := time.ParseDuration(rest)
	if err != nil || d+r < d {
		return 0, false
	}
	return d + r, true
}

// notADuration says what was read and, if that can be told, what was meant.
func notADuration(text string) error {
	reason := `must be a duration such as "90s", "15m", "24h" or "7d", not ` + quote(text)
	if meant := meantDuration(text); meant != "" {
		reason += ` (did you mean "` + meant + `"?)`
	}
	return errors.New(reason)
}

// otherDuration is a number of a unit as other programs and people write it.
var otherDuration = regexp.MustCompile(`^(?:pt)?([0-9]{1,9})(|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)$`)

// meantDuration is what was probably meant by a text that ParseDuration refuses,
// or "": "60" is seconds, "2 Hours" and "PT2H" are "2h", "1w" is "7d".
func meantDuration(text string) string {
	if len(text) > maxQuote {
		return ""
	}
	parts := otherDuration.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	if parts == nil {
		return ""
	}
	meant := parts[1] + (parts[2] + "s")[:1]
	if n, _ := strconv.Atoi(parts[1]); parts[2] != "" && parts[2][0] == 'w' {
		meant = strconv.Itoa(7*n) + "d"
	}
	if _, ok := readDuration(meant); !ok {
		return ""
	}
	return meant
}

// maxQuote is the most bytes of a text that a reason repeats.
const maxQuote = 40

// quote is the text between quotation marks, cut where it is long.
func quote(text string) string {
	if len(text) > maxQuote {
		return strconv.Quote(strings.ToValidUTF8(text[:maxQuote], "")) + "…"
	}
	return strconv.Quote(text)
}

// FormatDuration writes elapsed time in the largest of h, m and s that needs no
// second unit: "24h", "15m", "90s", "1.5s".
func FormatDuration(d time.Duration) string {
	switch {
	case d != 0 && d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d != 0 && d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	default:
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
	}
}
