package zonedata

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// The known answers of app/schedule, by the embedded data: none is left out for
// want of new rules. It isn't parallel, as it sets what all specs are read by.
func TestTheScheduleKeepsEveryFactByTheEmbeddedData(t *testing.T) {
	d := embeddedData(t)
	schedule.SetZones(d.Load)
	defer schedule.SetZones(nil)
	text, err := os.ReadFile("../../testdata/next/facts.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Facts []struct {
			ID, Expr, TZ, Note string
			From               time.Time
			Expect             []time.Time
			Refused            bool
			MinTZData          string `json:"min_tzdata"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	newRules := 0
	for _, fact := range file.Facts {
		if fact.MinTZData != "" {
			newRules++
		}
		if Compare(fact.MinTZData, d.Version()) > 0 {
			t.Errorf("%s needs %s, which is newer than the embedded %s: bring it up to date (generate.go)", fact.ID, fact.MinTZData, d.Version())
		}
		timing, err := schedule.Spec{Cron: fact.Expr, Timezone: fact.TZ}.Timing(fact.From)
		if fact.Refused {
			if err == nil {
				t.Errorf("%s: %q is accepted, want it refused: %s", fact.ID, fact.Expr, fact.Note)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %q in %s: %v", fact.ID, fact.Expr, fact.TZ, err)
			continue
		}
		at := fact.From
		for _, want := range fact.Expect {
			got := timing.Next(at)
			if !got.Equal(want) {
				t.Errorf("%s: %q in %s after %s runs at %s, want %s: %s", fact.ID, fact.Expr, fact.TZ, at, got, want, fact.Note)
				break
			}
			if latest := timing.Latest(want); !latest.Equal(want) {
				t.Errorf("%s: the latest up to %s is %s, want that instant itself", fact.ID, want, latest)
			}
			at = got
		}
	}
	if len(file.Facts) < 113 || newRules < 6 {
		t.Errorf("there are %d facts, %d of them about new rules; want 113 and 6 at least", len(file.Facts), newRules)
	}
}

func TestTheScheduleShowsTheReasonOfALoader(t *testing.T) {
	d := embeddedData(t)
	schedule.SetZones(d.Load)
	defer schedule.SetZones(nil)
	reason := func(name string) string {
		_, err := schedule.Spec{Cron: "@daily", Timezone: name}.Timing(time.Time{})
		var invalid *schedule.InvalidError
		if !errors.As(err, &invalid) {
			t.Fatalf("%q: %v, want an InvalidError", name, err)
		}
		return invalid.Error()
	}
	if got, want := reason("europe/berlin"), `spec.timezone is not an IANA time zone: "europe/berlin" (did you mean "Europe/Berlin"?)`; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for _, name := range []string{"", "Local"} {
		_, err := d.Load(name)
		if got, want := reason(name), "spec.timezone "+err.Error(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
	schedule.SetZones(nil)
	if got := reason("Europe/Berln"); strings.Contains(got, "did you mean") || !strings.Contains(got, "is not an IANA time zone") {
		t.Errorf("without the loader it says %q", got)
	}
}
