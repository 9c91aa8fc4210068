package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// An alert's webhook gets one message when the runs of a schedule begin to fail and one
// when they don't any more, over a restart of everything.
func TestAnAlertIsToldOfFailuresAndOfRecovery(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(target.Close)
	told := make(chan string, 100)
	onCall := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event struct {
			Type string
			Data struct {
				Schedules []struct {
					Name   string `json:"schedule_name"`
					Reason string
				}
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || len(event.Data.Schedules) != 1 || r.Header.Get("webhook-id") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		told <- event.Type + " " + event.Data.Schedules[0].Name + " " + event.Data.Schedules[0].Reason
	}))
	t.Cleanup(onCall.Close)
	next := func() string {
		select {
		case text := <-told:
			return text
		case <-time.After(30 * time.Second):
			t.Fatal("nobody was told")
			return ""
		}
	}
	h := newHouse(t)
	p := h.start(allowLoopback)
	p.ask("PUT", "/v1/alerts/on-call", map[string]any{"webhook": map[string]any{"url": onCall.URL}}, 201)
	doc := webhookTo("often", target.URL, map[string]any{"cron": "* * * * * *"})
	doc["job"].(map[string]any)["args"] = map[string]any{"url": target.URL, "retry": map[string]any{"statuses": map[string]any{"4xx": "final"}}}
	p.ask("POST", "/v1/schedules", doc, 201)
	if got := next(); got != "schedule.failed often JobCancelError: the webhook was answered with 404 Not Found" {
		t.Errorf("told of %s", got)
	}
	p.stop()
	p = h.start(allowLoopback)
	failures := value[int](h, `SELECT count(*) FROM river_job WHERE state = 'cancelled'`)
	h.becomes("more have failed", `SELECT count(*) > $1 + 8 FROM river_job WHERE state = 'cancelled'`, failures) // longer than a look
	broken.Store(false)
	if got := next(); got != "schedule.recovered often " {
		t.Errorf("told of %s", got)
	}
	p.stop()
	if len(told) > 0 {
		t.Errorf("told of %s besides", <-told)
	}
	h.equals("alerts", 2, `SELECT count(*) FROM river_job WHERE queue = 'riverbeat_alerts' AND state = 'completed'`)
}
