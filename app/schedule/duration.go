package schedule

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads elapsed time such as "90s", "15m", "1h30m", "7d" or
// "0.5s". The units are d, which is 24 hours, h, m and s. The error completes a
// sentence that begins with the field's name.
func ParseDuration(text string) (time.Duration, error) {
	reason := errors.New(`must be a duration such as "90s", "15m", "24h" or "7d"`)
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "", text
	}
	var d time.Duration
	if found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, reason
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	if rest == "" && found {
		return d, nil
	}
	// ParseDuration knows more units and signs than elapsed time has here.
	if rest == "" || rest[0] == '+' || rest[0] == '-' || strings.TrimLeft(rest, "0123456789.hms") != "" ||
		strings.Contains(rest, "ms") {
		return 0, reason
	}
	r, err := time.ParseDuration(rest)
	if err != nil || d+r < d {
		return 0, reason
	}
	return d + r, nil
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
