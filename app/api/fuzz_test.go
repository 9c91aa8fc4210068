package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

// Whatever is sent, the answer is JSON and never a fault. What was taken can be
// read, listed and saved again as it is.
func FuzzCreate(f *testing.F) {
	for _, r := range refusals() {
		if len(r.body) < 4096 {
			f.Add([]byte(r.body))
		}
	}
	f.Add([]byte(whole))
	for _, spec := range []string{
		`"every": "1s"`, `"every": "3650d", "start_at": "9998-12-31T23:59:59Z"`, `"at": "1970-01-01T00:00:00Z"`, `"at": "9998-12-31T23:59:59.999999999+14:00"`,
		`"cron": "0 0 29 2 *", "start_at": "9996-03-01T00:00:00Z"`, `"cron": "*/7 1-5 L * ?", "timezone": "Pacific/Apia"`, `"cron": "@daily", "max_runs": 9223372036854775807`,
		`"every": "1.0000001s", "jitter": "0.0000001s"`, `"cron": "0 0 1 1 *", "end_at": "9998-01-01T00:00:00Z", "jitter": "24h"`,
	} {
		f.Add([]byte(minimal("n", spec)))
	}
	f.Add([]byte(job(`"kind": "\u2028", "args": {"a": 1e999, "b": -0.0, "c": "\ud83c\udf0a", "\u2029": [null]}`)))
	f.Add([]byte(job(`"kind": "listed_info", "args": {"date": "2026-11-24", "code": "86970"}`)))
	f.Add([]byte(minimal("\u2028\ufeff\u202e", "")))
	f.Add([]byte(top(`"misfire_grace": "0.000001s", "overlap_stale_after": "3650d", "labels": {"\\": "'"}`)))

	pool := dbtest.Pool(f)
	handler := New(Config{Service: newService(f, pool, nil), Door: openDoor(pool), Log: discard()})
	f.Fuzz(func(t *testing.T, body []byte) {
		do := func(method, path, body string) *httptest.ResponseRecorder {
			request := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request)
			if recorder.Code >= 500 {
				t.Fatalf("%s %s is a %d: %s", method, path, recorder.Code, recorder.Body)
			}
			if text := recorder.Body.Bytes(); len(text) > 0 && !json.Valid(text) {
				t.Fatalf("%s %s answers with no JSON: %q", method, path, text)
			}
			return recorder
		}
		want := func(recorder *httptest.ResponseRecorder, status int) *httptest.ResponseRecorder {
			if recorder.Code != status {
				t.Fatalf("the status is %d, want %d: %s", recorder.Code, status, recorder.Body)
			}
			return recorder
		}
		do("POST", "/v1/preview", fmt.Sprintf(`{"spec": %s}`, body))
		do("POST", "/v1/preview", string(body))
		created := do("POST", "/v1/schedules", string(body))
		if created.Code != http.StatusCreated {
			return
		}
		path := created.Header().Get("Location")
		if read := want(do("GET", path, ""), http.StatusOK); read.Body.String() != created.Body.String() {
			t.Fatalf("read %s\nafter  %s", read.Body, created.Body)
		}
		want(do("GET", "/v1/schedules", ""), http.StatusOK)
		again := want(do("PUT", path, created.Body.String()), http.StatusOK)
		if again.Header().Get("ETag") != `"1"` || again.Body.String() != created.Body.String() {
			t.Fatalf("saved  %s\nbefore %s", again.Body, created.Body)
		}
		want(do("PATCH", path, `{"description": "", "paused": false}`), http.StatusOK)
		want(do("POST", path+"/run", ""), http.StatusAccepted)
		want(do("GET", path+"/runs", ""), http.StatusOK)
		want(do("DELETE", path+"?cancel_jobs=true", ""), http.StatusNoContent)
	})
}

// FuzzPatch merges a patch into a document of which every part may be there.
func FuzzPatch(f *testing.F) {
	for _, patch := range []string{`{}`, `{"spec": {"cron": null, "every": "5m"}}`, `{"job": {"args": {"a": {"b": null}}}}`, `{"labels": null}`, `null`, whole} {
		f.Add([]byte(patch))
	}
	f.Fuzz(func(t *testing.T, patch []byte) {
		merged, err := mergePatch([]byte(whole), patch)
		if err != nil {
			return
		}
		if !json.Valid(merged) {
			t.Fatalf("no JSON: %s", merged)
		}
		// A patch that was applied changes nothing more.
		again, err := mergePatch(merged, patch)
		if err != nil || string(again) != string(merged) {
			t.Fatalf("%v\nonce  %s\ntwice %s", err, merged, again)
		}
		document := newDocument()
		_ = decodeStrict(merged, &document) // must not panic
	})
}
