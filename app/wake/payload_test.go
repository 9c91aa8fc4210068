package wake

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
)

const someID = "0198c5f0-7a3b-7c11-9d2e-3f4a5b6c7d8e"

var (
	theID     = schedule.ID{0x01, 0x98, 0xc5, 0xf0, 0x7a, 0x3b, 0x7c, 0x11, 0x9d, 0x2e, 0x3f, 0x4a, 0x5b, 0x6c, 0x7d, 0x8e}
	nextRunAt = time.Date(2026, 11, 2, 18, 0, 0, 0, time.UTC)
)

type decoded struct {
	Change schedule.Change
	Kind   Kind
}

func TestWhatANotificationMeans(t *testing.T) {
	t.Parallel()
	everything := decoded{Kind: KindEverything}
	legacy := decoded{Kind: KindLegacy}
	unreadable := decoded{Kind: KindUnreadable}
	for payload, want := range map[string]decoded{
		// What the triggers send.
		`{"op":"created","id":"` + someID + `","version":1}`: {schedule.Change{Op: schedule.OpCreated, ID: theID, Version: 1}, KindChange},
		`{"op":"updated","id":"` + someID + `","version":3}`: {schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3}, KindChange},
		`{"op":"deleted","id":"` + someID + `","version":4}`: {schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 4}, KindChange},
		`{}`: everything,
		// What a person may send, or a later version of riverbeat.
		``:    everything,
		` {}`: everything,
		`{"op":"archived","id":"` + someID + `","version":5,"by":[1]}`: {schedule.Change{ID: theID, Version: 5}, KindChange},
		`{"op":7,"id":"` + strings.ToUpper(someID) + `","version":5}`:  {schedule.Change{ID: theID, Version: 5}, KindChange},
		`{"op":"updated","id":"` + someID + `"}`:                       {schedule.Change{Op: schedule.OpUpdated, ID: theID}, KindLegacy},
		// Nonsense of every sort.
		`{"id":"` + someID + `","version":0}`:                     {schedule.Change{ID: theID}, KindLegacy},
		`{"id":"` + someID + `","version":-1}`:                    {schedule.Change{ID: theID}, KindLegacy},
		`{"id":"` + someID + `","version":1.5}`:                   {schedule.Change{ID: theID}, KindLegacy},
		`{"id":"` + someID + `","version":"3"}`:                   {schedule.Change{ID: theID}, KindLegacy},
		`{"id":"` + someID + `","version":99999999999999999999}`:  {schedule.Change{ID: theID}, KindLegacy},
		`{"id":"00000000-0000-0000-0000-000000000000"}`:           legacy,
		`{"id":"` + strings.ReplaceAll(someID, "-", "") + `"}`:    legacy,
		`{"id":"urn:uuid:` + someID + `","version":3}`:            legacy,
		`{"id":{"a":1},"version":3}`:                              legacy,
		`{"id":null,"version":3}`:                                 everything,
		`{"op":"updated","id":"` + someID + `","version":3`:       unreadable,
		`{"op":"updated","id":"` + someID + `","version":3} more`: unreadable,
		`null`:                     unreadable,
		`[]`:                       unreadable,
		`"{}"`:                     unreadable,
		`3`:                        unreadable,
		"\x00\xff":                 unreadable,
		"{\xff}":                   unreadable,
		strings.Repeat("[", 5_000): unreadable,
		`{"a":` + strings.Repeat("[", 60_000) + `}`: unreadable,
	} {
		var got decoded
		got.Change, got.Kind = DecodeNotify(payload)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.100q (-want +got):\n%s", payload, diff)
		}
	}
}

func TestWhatARedisMessageMeans(t *testing.T) {
	t.Parallel()
	everything := decoded{Kind: KindEverything}
	legacy := decoded{Kind: KindLegacy}
	unreadable := decoded{Kind: KindUnreadable}
	for payload, want := range map[string]decoded{
		`{"event_type":"schedule_updated","schedule_id":"` + someID + `","timestamp":"2026-11-02T09:00:00Z","version":3,"next_run_at":"2026-11-02T18:00:00Z"}`: {schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3, NextRunAt: nextRunAt}, KindChange},
		`{"event_type":"schedule_deleted","schedule_id":"` + someID + `","timestamp":"2026-11-02T09:00:00Z","version":4}`:                                      {schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 4}, KindChange},
		`{"event_type":"schedule_updated","timestamp":"2026-11-02T09:00:00Z"}`:                                                                                 everything,
		// A publisher in Python: isoformat() has no zone when the datetime has none.
		`{"event_type": "schedule_created", "schedule_id": "42", "timestamp": "2026-11-02T09:00:00.123456"}`:       legacy,
		`{"event_type": "created", "schedule_id": 42, "timestamp": "2026-11-02T09:00:00"}`:                         legacy,
		`{"event_type": "created", "schedule_id": 42.5, "timestamp": null}`:                                        legacy,
		`{"event_type": "updated", "schedule_id": "nightly \u30ec\u30dd\u30fc\u30c8", "timestamp": 1793610000.25}`: legacy,
		`{"event_type": "deleted", "schedule_id": "` + someID + `", "timestamp": "yesterday"}`:                     {schedule.Change{Op: schedule.OpDeleted, ID: theID}, KindLegacy},
		`{"event_type": "created", "schedule_id": NaN}`:                                                            unreadable,
		`{'event_type': 'created', 'schedule_id': 42}`:                                                             unreadable,
		// One member that can't be used doesn't spoil the others.
		`{"event_type":["x"],"schedule_id":"` + someID + `","version":3,"next_run_at":"soon"}`:                          {schedule.Change{ID: theID, Version: 3}, KindChange},
		`{"event_type":"updated","schedule_id":"` + someID + `","version":3,"next_run_at":1793610000}`:                  {schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3}, KindChange},
		`{"event_type":"updated","schedule_id":"` + someID + `","version":3,"next_run_at":"2026-11-03T03:00:00+09:00"}`: {schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3, NextRunAt: nextRunAt}, KindChange},
		``:            unreadable,
		`hello`:       unreadable,
		"\x80\x04K*.": unreadable, // a pickled 42
		`{"event_type":"updated","schedule_id":"` + someID + `","version":3,"pad":"` + strings.Repeat("x", maxPayload) + `"}`: unreadable,
	} {
		var got decoded
		got.Change, got.Kind = DecodeRedis(payload)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.200q (-want +got):\n%s", payload, diff)
		}
	}
}

// A message of 10 MiB must cost no more than one of a few bytes.
func TestAHugeMessageIsNotRead(t *testing.T) {
	t.Parallel()
	// If it were read it would be a change.
	huge := `{"op":"updated","id":"` + someID + `","schedule_id":"` + someID + `","version":3,"pad":"` + strings.Repeat("9", 10<<20) + `"}`
	for name, decode := range map[string]func(string) (schedule.Change, Kind){"notify": DecodeNotify, "redis": DecodeRedis} {
		if c, kind := decode(huge); c != (schedule.Change{}) || kind != KindUnreadable {
			t.Errorf("%s: got %v, %s", name, c, kind)
		}
	}
}

func TestWhatIsAnnouncedIsWhatIsHeard(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := schedule.Change{
			Op:      rapid.SampledFrom([]schedule.Op{schedule.OpCreated, schedule.OpUpdated, schedule.OpDeleted}).Draw(t, "op"),
			ID:      schedule.ID(rapid.SliceOfN(rapid.Byte(), 16, 16).Filter(func(b []byte) bool { return schedule.ID(b) != schedule.ID{} }).Draw(t, "id")),
			Version: rapid.Int64Min(1).Draw(t, "version"),
		}
		if rapid.Bool().Draw(t, "has a next run") {
			want.NextRunAt = time.Unix(rapid.Int64Range(0, 250_000_000_000).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		}
		got, kind := DecodeRedis(encodeRedis(want, time.Now()))
		if kind != KindChange {
			t.Errorf("kind %s", kind)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-announced +heard:\n%s", diff)
		}
	})
}

// The subscribers of the old system read these three members and ignore others.
func TestAnAnnouncementHasTheOldMembers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 2, 18, 0, 0, 5_000_000, time.FixedZone("JST", 9*60*60))
	c := schedule.Change{Op: schedule.OpCreated, ID: theID, Version: 1, NextRunAt: nextRunAt.In(now.Location())}
	var got map[string]any
	if err := json.Unmarshal([]byte(encodeRedis(c, now)), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"event_type": "schedule_created", "schedule_id": someID, "timestamp": "2026-11-02T09:00:00.005Z",
		"version": 1.0, "next_run_at": "2026-11-02T18:00:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	if c, kind := DecodeRedis(encodeRedis(schedule.Change{}, now)); c != (schedule.Change{}) || kind != KindEverything {
		t.Errorf("the zero Change came back as %v, %s", c, kind)
	}
}

func FuzzDecodeNotify(f *testing.F) {
	f.Add(`{"op":"updated","id":"` + someID + `","version":3}`)
	f.Add(`{}`)
	f.Add(``)
	f.Add(`{"op":null,"id":7,"version":"x"}`)
	f.Fuzz(func(t *testing.T, payload string) { checkDecoded(t, payload, DecodeNotify) })
}

func FuzzDecodeRedis(f *testing.F) {
	f.Add(`{"event_type":"schedule_updated","schedule_id":"` + someID + `","timestamp":"2026-11-02T09:00:00Z","version":3,"next_run_at":"2026-11-02T18:00:00Z"}`)
	f.Add(`{"event_type": "created", "schedule_id": 42, "timestamp": "2026-11-02T09:00:00"}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, payload string) {
		c, kind := checkDecoded(t, payload, DecodeRedis)
		// RFC 3339 has years of four digits only.
		if year := c.NextRunAt.Year(); kind == KindChange && c.Op != "" && year >= 0 && year <= 9999 {
			if again, _ := DecodeRedis(encodeRedis(c, time.Now())); again != c {
				t.Errorf("%q is %v, and %v when announced again", payload, c, again)
			}
		}
	})
}

// checkDecoded holds what is true of every message.
func checkDecoded(t *testing.T, payload string, decode func(string) (schedule.Change, Kind)) (schedule.Change, Kind) {
	t.Helper()
	c, kind := decode(payload)
	ok := false
	switch kind {
	case KindChange:
		ok = c.Known()
	case KindEverything, KindUnreadable:
		ok = c == schedule.Change{}
	case KindLegacy:
		ok = c.Version == 0 && (!c.ID.IsZero() || c == schedule.Change{})
	}
	if !ok {
		t.Errorf("%q is %s with %v", payload, kind, c)
	}
	if len(payload) > maxPayload && kind != KindUnreadable {
		t.Errorf("%d bytes were read", len(payload))
	}
	return c, kind
}
