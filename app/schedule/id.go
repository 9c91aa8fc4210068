package schedule

import (
	"crypto/sha1"
	"encoding/hex"
	"time"
)

// ID is a UUID in its 16 bytes. The zero ID names nothing.
type ID [16]byte

// String is the canonical form, 36 lower-case characters.
func (id ID) String() string {
	text := make([]byte, 0, 36)
	for i, part := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, part)
	}
	return string(text)
}

// IsZero reports whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// RunID names the run of a schedule at one nominal instant: the UUIDv5
// (RFC 9562) of that instant, as RFC 3339 in UTC, in the schedule's own name
// space. It is the same after every retry and restore, so receivers can use it
// to tell a repeated delivery from a new run.
func RunID(id ID, scheduledFor time.Time) ID {
	named := append(make([]byte, 0, 64), id[:]...)
	named = scheduledFor.UTC().AppendFormat(named, time.RFC3339Nano)
	hash := sha1.Sum(named) // prescribed by RFC 9562 for version 5; it protects nothing
	run := ID(hash[:16])
	run[6] = run[6]&0x0f | 0x50
	run[8] = run[8]&0x3f | 0x80
	return run
}
