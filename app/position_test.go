package app

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAPositionReadsWhatItWroteAndRefusesTheRest(t *testing.T) {
	t.Parallel()
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
		text := p.String()
		got, err := parsePosition(text)
		if err != nil || !reflect.DeepEqual(got, p) {
			r.Fatalf("%+v becomes %q, and that %+v, %v", p, text, got, err)
		}
		if len(text) > 1000 {
			r.Fatalf("it has %d characters", len(text))
		}
		cut := rapid.IntRange(1, len(text)).Draw(r, "cut")
		if got, err := parsePosition(text[:len(text)-cut]); err == nil && reflect.DeepEqual(got, p) {
			r.Fatalf("without its end it is the same")
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	f.Add("")
	f.Add((&position{at: time.Unix(1, 0), next: 100, late: []uint64{1, 2}, inside: 3}).String())
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePosition(text)
		if err == nil && len(p.late) > maxLate {
			t.Fatalf("%q names %d transactions", text, len(p.late))
		}
	})
}
