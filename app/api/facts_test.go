package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// The known answers of app/schedule, as a user gets them.
func TestPreviewKeepsTheFacts(t *testing.T) {
	t.Parallel()
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
		}
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	f := setup(t)
	answered, refused := 0, 0
	for _, fact := range file.Facts {
		body := fmt.Sprintf(`{"spec": {"cron": %q, "timezone": %q}, "from": %q, "count": %d}`,
			fact.Expr, fact.TZ, fact.From.Format(time.RFC3339), max(len(fact.Expect), 1))
		reply := f.do(t, "POST", "/v1/preview", body)
		if fact.Refused {
			refused++
			if p := reply.refused(t, http.StatusUnprocessableEntity, "spec.cron"); p.Errors[0].Reason == "" {
				t.Errorf("%s: %q is refused without a reason: %s", fact.ID, fact.Expr, fact.Note)
			}
			continue
		}
		answered++
		runs := reply.want(t, http.StatusOK).object(t).list("runs")
		if len(runs) != len(fact.Expect) {
			t.Errorf("%s: %q in %s after %s has %d runs, want %d: %s", fact.ID, fact.Expr, fact.TZ, fact.From, len(runs), len(fact.Expect), fact.Note)
			continue
		}
		for i, want := range fact.Expect {
			if got := runs[i].time(t, "at"); !got.Equal(want) {
				t.Errorf("%s: run %d of %q in %s after %s is at %s, want %s: %s", fact.ID, i+1, fact.Expr, fact.TZ, fact.From, got, want, fact.Note)
			}
		}
	}
	if answered != 95 || refused != 18 {
		t.Errorf("%d facts are answered and %d refused, want 95 and 18", answered, refused)
	}
}
