package api

import (
	"encoding/binary"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// optional is nil for the zero value: how the domain's zero becomes JSON's null.
func optional[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

// given is the way back, for numbers that must be positive: null is zero, and a
// zero that somebody wrote becomes -1, which the domain refuses.
func given[T ~int64](p *T) T {
	switch {
	case p == nil:
		return 0
	case *p == 0:
		return -1
	default:
		return *p
	}
}

func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// micros is the instant as the database keeps it. The instant that Go takes for
// none becomes the one after it, which the domain refuses.
func micros(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	at := t.UTC().Truncate(time.Microsecond)
	if at.IsZero() {
		at = at.Add(time.Microsecond)
	}
	return at
}

// jobID is a string in JSON: River's ids have 64 bits, JavaScript's numbers 53.
func jobID(id int64) *string {
	if id == 0 {
		return nil
	}
	text := strconv.FormatInt(id, 10)
	return &text
}

// shown reports whether both PostgreSQL and RFC 3339 can show the instant, in
// every zone.
func shown(t time.Time) bool { return t.Unix() >= 0 && t.UTC().Year() < 9999 }

func instantBytes(t time.Time) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(t.UnixMicro()))
}

// storable reports whether PostgreSQL's text can hold it.
func storable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0)
}
