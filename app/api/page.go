package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// listMark is how many bytes of a token tell the list that it is of.
const listMark = 8

// markOf tells lists apart, each with its filters and its order.
func markOf(list ...any) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", list))
	return sum[:listMark]
}

// tokenOf is the page token of a place in a list.
func tokenOf(mark, place []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(append([]byte{}, mark...), place...))
}

// place is what the token stands for; nil for the first page. A place takes at least
// so many bytes.
func (p *PageParams) place(mark []byte, least int) ([]byte, error) {
	if p.PageToken == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(p.PageToken)
	if err != nil || len(raw) < listMark+least || string(raw[:listMark]) != string(mark) {
		return nil, errPageToken
	}
	return raw[listMark:], nil
}

// cutInstant takes an instant off the beginning of a place.
func cutInstant(raw []byte) (at time.Time, rest []byte, ok bool) {
	if len(raw) < 8 {
		return at, nil, false
	}
	at = time.UnixMicro(int64(binary.BigEndian.Uint64(raw))).UTC()
	return at, raw[8:], shown(at)
}

// cutID takes an id off the beginning of a place.
func cutID(raw []byte) (id schedule.ID, rest []byte, ok bool) {
	if len(raw) < len(id) {
		return id, nil, false
	}
	copy(id[:], raw)
	return id, raw[len(id):], true
}

// nameCursor is the name that the token stands for, which looks like a namespace's;
// empty for the first page.
func (p *PageParams) nameCursor() (string, error) {
	after, err := base64.RawURLEncoding.DecodeString(p.PageToken)
	if err != nil || len(after) > 0 && !schedule.ValidNamespace(string(after)) {
		return "", errPageToken
	}
	return string(after), nil
}

func nameToken(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }
