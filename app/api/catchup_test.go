package api

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"
)

func TestCatchUpShowsWhatIsOwedBeforeAndWhileItDrains(t *testing.T) {
	t.Parallel()
	f := setup(t)
	get := func(query string) object {
		return f.do(t, "GET", "/v1/catch-up"+query, "").want(t, http.StatusOK).object(t)
	}
	nothing := object{"schedules": json.Number("0"), "schedules_more": false, "runs": json.Number("0"), "runs_of": json.Number("0"), "oldest": nil, "rate": json.Number("1000"), "ends_at": nil}
	f.create(t, `{"name": "ahead", "spec": {"every": "1h"}, "job": {"kind": "report"}}`)
	equal(t, "while nothing is owed", get(""), nothing)

	// An hour's outage of one every minute that makes up for 10, one that makes up for
	// the latest alone, one for none, and another of a namespace of its own.
	for name, how := range map[string]string{
		"all": `"misfire": "all", "misfire_limit": 10`, "once": `"misfire": "once"`, "skip": `"misfire": "skip"`, "other": `"namespace": "other"`,
	} {
		f.create(t, `{"name": "`+name+`", "spec": {"cron": "* * * * *"}, "job": {"kind": "report"}, `+how+`}`)
	}
	f.exec(t, `UPDATE riverbeat.cursors SET (next_run_at, fire_at) = (date_trunc('minute', now()) - interval '1 hour', date_trunc('minute', now()) - interval '1 hour')
		WHERE schedule_id IN (SELECT id FROM riverbeat.schedules WHERE name <> 'ahead')`)
	owed := get("")
	oldest, ends := owed.time(t, "oldest"), owed.time(t, "ends_at")
	if since := time.Since(oldest); since < 59*time.Minute || since > 62*time.Minute || ends.Before(oldest.Add(time.Hour)) || time.Until(ends) > time.Minute {
		t.Errorf("the oldest is %v, the end %v", oldest, ends)
	}
	want := object{"schedules": json.Number("4"), "schedules_more": false, "runs": json.Number("12"), "runs_of": json.Number("4"), "oldest": owed["oldest"], "rate": json.Number("1000"), "ends_at": owed["ends_at"]}
	equal(t, "before anybody looks", owed, want)
	other := get("?namespace=other")
	equal(t, "schedules of the other namespace", other.number(t, "schedules"), 1)
	equal(t, "runs of the other namespace", other.number(t, "runs"), 1)
	equal(t, "of one that nobody uses", get("?namespace=nobody"), nothing)

	// As a scheduler leaves them that has dealt out their slots.
	f.exec(t, `UPDATE riverbeat.cursors SET fire_at = now() + interval '90 s', share = 1 WHERE schedule_id IN (SELECT id FROM riverbeat.schedules WHERE name IN ('all', 'once'))`)
	f.exec(t, `UPDATE riverbeat.cursors SET fire_at = now() + interval '1 hour', next_run_at = now() + interval '1 hour' WHERE share IS NULL`)
	f.exec(t, `UPDATE riverbeat.catch_up SET slot = now() + interval '90 s', taken = 2`)
	owed = get("")
	equal(t, "schedules that wait", owed.number(t, "schedules"), 2)
	equal(t, "runs that wait", owed.number(t, "runs"), 11)
	equal(t, "the oldest", owed.time(t, "oldest"), oldest)
	if left := time.Until(owed.time(t, "ends_at")); left < time.Minute || left > 91*time.Second {
		t.Errorf("it ends in %v", left)
	}
	f.do(t, "GET", "/v1/catch-up?namespace=X", "").refused(t, http.StatusUnprocessableEntity, "namespace")
}
