package wake

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// NotifyChannel is where the database's triggers announce changes.
const NotifyChannel = "riverbeat_schedules"

// DefaultRedisChannel is where changes are announced unless another is set.
const DefaultRedisChannel = "riverbeat_schedule_updates"

// maxPayload is how much of a message is worth reading, in bytes: hundreds of
// times what the longest of ours takes.
const maxPayload = 64 << 10

// Kind is what a message turned out to be. It serves as a metric's label.
type Kind string

// The kinds of messages.
const (
	KindChange     Kind = "change"     // one version of one schedule: Change.Known holds
	KindEverything Kind = "everything" // names no schedule: look at everything
	KindLegacy     Kind = "legacy"     // no version, or an id that isn't ours: not Known
	KindAsked      Kind = "asked"      // no change: somebody waits to hear what is in force
	KindUnreadable Kind = "unreadable" // garbage: the zero Change, look at everything
)

// DecodeNotify reads a notification on NotifyChannel:
//
//	{"op":"updated","id":"0198c5f0-…","version":3}
//
// or {} when many schedules changed, or {"op":"asked"} when none did, but somebody
// waits to hear what is in force. Any other Change that isn't Known means "look at
// everything", and anything may come in.
func DecodeNotify(payload string) (schedule.Change, Kind) {
	if payload == "" { // a bare NOTIFY, typed by hand
		return schedule.Change{}, KindEverything
	}
	var m struct {
		Op      json.RawMessage `json:"op"`
		ID      json.RawMessage `json:"id"`
		Version json.RawMessage `json:"version"`
	}
	if !decodeObject(payload, &m) {
		return schedule.Change{}, KindUnreadable
	}
	return change(m.Op, m.ID, m.Version, nil)
}

// DecodeRedis reads a message on the Redis channel:
//
//	{"event_type":"schedule_updated","schedule_id":"0198c5f0-…",
//	 "timestamp":"2026-11-02T09:00:00Z","version":3,"next_run_at":"2026-11-02T18:00:00Z"}
//
// The publisher of a Celery Beat system sends the same without version and
// next_run_at, may leave "schedule_" out of the event type and has ids of its
// own, numbers for instance. Its timestamp may lack a zone, so nobody's is read.
// Anything may come in; a Change that isn't Known means "look at everything".
func DecodeRedis(payload string) (schedule.Change, Kind) {
	var m struct {
		EventType  json.RawMessage `json:"event_type"`
		ScheduleID json.RawMessage `json:"schedule_id"`
		Version    json.RawMessage `json:"version"`
		NextRunAt  json.RawMessage `json:"next_run_at"`
	}
	if !decodeObject(payload, &m) {
		return schedule.Change{}, KindUnreadable
	}
	return change(m.EventType, m.ScheduleID, m.Version, m.NextRunAt)
}

// decodeObject reports whether the payload is a JSON object that is worth
// reading. The members of fields are raw, so that one of an unexpected type
// doesn't spoil the others.
func decodeObject(payload string, fields any) bool {
	if len(payload) > maxPayload || !strings.HasPrefix(strings.TrimLeft(payload, " \t\r\n"), "{") {
		return false
	}
	return json.Unmarshal([]byte(payload), fields) == nil
}

func change(op, id, version, nextRunAt json.RawMessage) (schedule.Change, Kind) {
	said := schedule.Op(strings.TrimPrefix(text(op), "schedule_"))
	if id == nil || string(id) == "null" {
		if said == schedule.OpAsked {
			return schedule.Change{Op: said}, KindAsked
		}
		return schedule.Change{}, KindEverything
	}
	var c schedule.Change
	// Only the canonical form is ours: uuid.Parse takes others, too.
	parsed, err := uuid.Parse(text(id))
	if err != nil || len(text(id)) != len(uuid.Nil.String()) || parsed == uuid.Nil {
		return schedule.Change{}, KindLegacy
	}
	c.ID = schedule.ID(parsed)
	switch said {
	case schedule.OpCreated, schedule.OpUpdated, schedule.OpDeleted:
		c.Op = said
	}
	if at, err := time.Parse(time.RFC3339, text(nextRunAt)); err == nil {
		c.NextRunAt = at.UTC()
	}
	c.Version, err = strconv.ParseInt(string(version), 10, 64)
	if err != nil || c.Version <= 0 {
		c.Version = 0
		return c, KindLegacy
	}
	return c, KindChange
}

// text is the content of a JSON string, or "" for anything else.
func text(raw json.RawMessage) string {
	var s string
	if !bytes.HasPrefix(raw, []byte(`"`)) || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// encodeRedis is the message that DecodeRedis reads. The zero Change becomes one
// that names no schedule.
func encodeRedis(c schedule.Change, now time.Time) string {
	m := struct {
		EventType  string `json:"event_type"`
		ScheduleID string `json:"schedule_id,omitempty"`
		Timestamp  string `json:"timestamp"`
		Version    int64  `json:"version,omitempty"`
		NextRunAt  string `json:"next_run_at,omitempty"`
	}{
		EventType: "schedule_" + string(schedule.OpUpdated),
		Timestamp: now.UTC().Format(time.RFC3339Nano),
		Version:   c.Version,
	}
	if c.Op != "" {
		m.EventType = "schedule_" + string(c.Op)
	}
	if !c.ID.IsZero() {
		m.ScheduleID = c.ID.String()
	}
	if !c.NextRunAt.IsZero() {
		m.NextRunAt = c.NextRunAt.UTC().Format(time.RFC3339Nano)
	}
	// Strings and a number always encode.
	encoded, _ := json.Marshal(m)
	return string(encoded)
}
