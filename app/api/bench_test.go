package api

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

// BenchmarkRequest is what a request costs, the database's part included: for
// profiles. How it compares to the database's part alone, `make bench` says.
func BenchmarkRequest(b *testing.B) {
	pool := dbtest.Pool(b)
	handler := New(Config{Service: newService(b, pool, nil), Door: openDoor(pool), Log: discard()})
	send := func(b *testing.B, method, path, body string, want int) {
		request := httptest.NewRequestWithContext(b.Context(), method, path, strings.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != want {
			b.Fatalf("%s %s: %d %s", method, path, recorder.Code, recorder.Body)
		}
	}
	for i := range 50 {
		send(b, "POST", "/v1/schedules", minimal(fmt.Sprintf("n%d", i), ""), 201)
	}
	n := 0 // names are new each time that the benchmark runs
	for _, r := range []struct {
		by   string
		send func(b *testing.B)
	}{
		{"read", func(b *testing.B) { send(b, "GET", "/v1/schedules/name:n1", "", 200) }},
		{"list", func(b *testing.B) { send(b, "GET", "/v1/schedules?page_size=50", "", 200) }},
		{"edit", func(b *testing.B) {
			send(b, "PATCH", "/v1/schedules/name:n1", fmt.Sprintf(`{"description": "%d"}`, n), 200)
		}},
		{"create", func(b *testing.B) { send(b, "POST", "/v1/schedules", minimal(fmt.Sprintf("created %d", n), ""), 201) }},
		{"refuse", func(b *testing.B) { send(b, "POST", "/v1/schedules", `{"name": ""}`, 422) }},
	} {
		b.Run("by="+r.by, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n++
				r.send(b)
			}
		})
	}
}
