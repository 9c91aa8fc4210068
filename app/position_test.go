package app

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAPositionReadsWhatItWroteAndRefusesTheRest(t *testing.T) {
	t.Parallel()
	ours, err := newSeal(make([]byte, 32))
	theirs, err2 := newSeal(bytes.Repeat([]byte{1}, 32))
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	rapid.Check(t, func(r *rapid.T) {
		p := position{at: time.UnixMicro(rapid.Int64Range(0, 1<<52).Draw(r, "at")).UTC(), next: rapid.Uint64Range(1000, 1<<60).Draw(r, "next")}
		for transaction := p.next; transaction > 100 && rapid.Bool().Draw(r, "more") && len(p.late) < maxLate; {
			transaction -= rapid.Uint64Range(1, 10).Draw(r, "step")
			p.late = append([]uint64{transaction}, p.late...)
		}
		if rapid.Bool().Draw(r, "inside") {
			p.inside = rapid.Uint64Range(1, p.next).Draw(r, "transaction")
			binary.BigEndian.PutUint64(p.last[17:], rapid.Uint64().Draw(r, "key"))
		}
		text := ours.text(&p)
		got, err := ours.position(text)
		if err != nil || !reflect.DeepEqual(got, p) {
			r.Fatalf("%+v becomes %q, and that %+v, %v", p, text, got, err)
		}
		if len(text) > 1000 {
			r.Fatalf("it has %d characters", len(text))
		}
		cut := rapid.IntRange(1, len(text)).Draw(r, "cut")
		if _, err := ours.position(text[:len(text)-cut]); err == nil {
			r.Fatalf("without its end it is read")
		}
		if _, err := theirs.position(text); err == nil {
			r.Fatalf("another key reads it")
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add([]byte{})
	f.Add((&position{at: time.Unix(1, 0), next: 100, late: []uint64{1, 2}, inside: 3}).bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePosition(text)
		if err == nil && len(p.late) > maxLate {
			t.Fatalf("%q names %d transactions", text, len(p.late))
		}
	})
}
