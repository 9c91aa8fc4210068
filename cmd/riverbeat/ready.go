package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverbeat/riverbeat/app/api"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/app/wake"
	"github.com/riverbeat/riverbeat/db"
)

// ready says how each part is. Only what requests and runs need makes the
// process unready; the paths of messages may be lost without harm.
func (s *server) ready(ctx context.Context) []api.Check {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	checks := []api.Check{{Part: "postgresql", Required: true, Err: s.store.Ping(ctx)}}
	if checks[0].Err != nil {
		checks[0].Err = errors.New("can't be reached") // the reason is in the log
	}
	schema := api.Check{Part: "schema", Required: true}
	if err := s.checkSchema(ctx); errors.Is(err, db.ErrNotMigrated) {
		schema.Err = err
	} else if err != nil {
		schema.Err = errors.New("can't be checked")
	}
	checks = append(checks, schema)
	if s.scheduler != nil {
		looked := api.Check{Part: "scheduler", Required: true}
		if since, ok := s.scheduler.SinceLastLook(); !ok {
			looked.Err = errors.New("has not looked at the database yet")
		} else if since > 2*s.config.PollInterval+pollSlack {
			looked.Err = fmt.Errorf("last looked at the database %v ago", since.Round(time.Second))
		}
		checks = append(checks, looked, s.wakeCheck(), path("notify", s.listener.Status()))
		checks = append(checks, triggerChecks(s.scheduler)...)
	}
	if s.sub != nil {
		checks = append(checks, path("redis", s.sub.Status()))
	}
	used, err := s.store.ZoneData(ctx)
	if err != nil { // the checks above say why
		used.Newest = ""
	}
	return append(checks, zonesCheck(s.zones, used.Newest, time.Now()))
}

// pollSlack is how much later than due a poll may be.
const pollSlack = 5 * time.Second

// wakeCheck fails when nothing proves that changes are found: neither a path of
// messages nor a poll.
func (s *server) wakeCheck() api.Check {
	check := api.Check{Part: "wake", Required: true}
	for _, path := range s.paths() {
		if path.State == string(wake.StateUp) {
			return check
		}
	}
	switch since, ok := s.scheduler.SinceLastPoll(); {
	case !ok:
		check.Err = errors.New("no path of messages is proven, and nothing has been polled yet")
	case since > s.config.PollInterval+pollSlack:
		check.Err = fmt.Errorf("no path of messages is proven, and the last poll was %v ago", since.Round(time.Second))
	}
	return check
}

// triggerChecks says which of the database's triggers were missing at the last poll.
func triggerChecks(s *scheduler.Scheduler) []api.Check {
	keeping, announcing := s.MissingTriggers()
	checks := []api.Check{{Part: "triggers", Required: true}, {Part: "announcing triggers"}}
	if len(keeping) > 0 {
		checks[0].Err = fmt.Errorf("missing or disabled: %s: schedules that are written may never run", strings.Join(keeping, ", "))
	}
	if len(announcing) > 0 {
		checks[1].Err = fmt.Errorf("missing or disabled: %s: what SQL writes is found by the poll", strings.Join(announcing, ", "))
	}
	return checks
}

func path(name string, status wake.Status) api.Check {
	if status.State == wake.StateUp {
		return api.Check{Part: name, Detail: fmt.Sprintf("heartbeat %.1f s ago", status.Heartbeat.Seconds())}
	}
	return api.Check{Part: name, Err: fmt.Errorf("%s; changes are found by the other paths and the poll", status.Reason)}
}
