package app

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/riverbeat/riverbeat/db"
)

// position says which events somebody has been told. It is made of what the database
// says alone, so any process can read it: those of the transactions before next, but
// for the late ones, and of the transaction inside up to the key.
type position struct {
	at     time.Time // when next was where it is, by the database's clock
	next   uint64
	late   []uint64 // before next, in order: they were still running
	inside uint64   // 0: none
	last   eventKey
}

// eventKey orders the events of one transaction: those of a schedule by time.
type eventKey [25]byte

func keyOf(e *db.Event) (key eventKey) {
	n := e.Version
	switch e.Kind {
	case db.ScheduleCreated, db.ScheduleUpdated, db.ScheduleDeleted, db.EverythingChanged:
		key[16] = 1
	case db.RunFinished:
		key[16], n = 3, e.Run.JobID
	default:
		key[16], n = 2, e.Run.ScheduledFor.UnixMicro()
	}
	copy(key[:], e.ScheduleID[:])
	binary.BigEndian.PutUint64(key[17:], uint64(n))
	return key
}

// holds reports whether the event has been told.
func (p *position) holds(transaction uint64, key *eventKey) bool {
	if p.inside != 0 && transaction == p.inside {
		return bytes.Compare(key[:], p.last[:]) <= 0
	}
	return transaction < p.next && !slices.Contains(p.late, transaction)
}

// maxLate is how many transactions a position may name: it is sent with each event.
const maxLate = 32

const positionVersion = 1

// bytes are what parsePosition reads.
func (p *position) bytes() []byte {
	b := []byte{positionVersion}
	b = binary.AppendUvarint(b, uint64(p.at.UnixMicro()))
	b = binary.AppendUvarint(b, p.next)
	b = binary.AppendUvarint(b, uint64(len(p.late)))
	for _, transaction := range p.late {
		b = binary.AppendUvarint(b, p.next-transaction)
	}
	if p.inside != 0 {
		b = binary.AppendUvarint(b, p.inside)
		b = append(b, p.last[:]...)
	}
	return b
}

// seal makes positions texts that say nothing to whoever holds them, of the characters
// that base64 has for URLs.
type seal struct{ cipher.AEAD }

func newSeal(key []byte) (seal, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return seal{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return seal{aead}, err
}

func (s seal) text(p *position) string {
	return base64.RawURLEncoding.EncodeToString(s.Seal(nil, nil, p.bytes(), nil)) //nolint:gosec // it makes a nonce of its own each time
}

func (s seal) position(text string) (p position, err error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		b, err = s.Open(nil, nil, b, nil)
	}
	if err != nil {
		return p, errPosition
	}
	return parsePosition(b)
}

var errPosition = errors.New("it isn't the id of an event")

func parsePosition(b []byte) (p position, err error) {
	if len(b) == 0 || b[0] != positionVersion {
		return p, errPosition
	}
	b = b[1:]
	number := func() (v uint64) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			b, err = nil, errPosition
			return 0
		}
		b = b[n:]
		return v
	}
	p.at = time.UnixMicro(int64(number() & (1<<62 - 1))).UTC()
	p.next = number()
	for range min(number(), maxLate+1) {
		p.late = append(p.late, p.next-number())
	}
	if err == nil && len(b) > 0 {
		p.inside = number()
		if copy(p.last[:], b) != len(b) || len(b) != len(p.last) {
			err = errPosition
		}
	}
	if err != nil || len(p.late) > maxLate {
		return position{}, errPosition
	}
	return p, nil
}
