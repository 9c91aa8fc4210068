package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/api/client"
)

// api is the process by its own Go client.
func (p *process) api() *client.API {
	p.t.Helper()
	api, err := client.New(p.base, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return api
}

func TestEditsByManyClientsLoseNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	api, ctx := h.start("RIVERBEAT_ROLES=api").api(), t.Context()
	created, err := api.CreateScheduleWithResponse(ctx, nil, client.Schedule{
		Name: "counter/ 漢", Labels: map[string]string{"n": "0"}, Spec: client.Spec{Every: new("15m")},
		Job: client.Job{Kind: "noop", Args: json.RawMessage(`{"large": 9007199254740993}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	count := func(s *client.Schedule) error {
		n, err := strconv.Atoi(s.Labels["n"])
		s.Labels["n"] = strconv.Itoa(n + 1)
		return err
	}
	const clients, edits = 4, 10
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for done := 0; done < edits; {
				_, err := api.Edit(ctx, "name:counter/ 漢", client.GetScheduleParams{}, count)
				switch {
				case err == nil:
					done++
				case !client.IsStatus(err, 412): // too many others: again
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	read, err := api.GetScheduleWithResponse(ctx, created.JSON201.ID.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := read.JSON200; got.Labels["n"] != strconv.Itoa(clients*edits) || *got.Version != clients*edits+1 || string(got.Job.Args) != `{"large":9007199254740993}` {
		t.Errorf("it is %v in version %d with %s", got.Labels, *got.Version, got.Job.Args)
	}
}

func TestTheClientGoesThroughEveryPage(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	api := h.start("RIVERBEAT_ROLES=api").api()
	h.exec(`INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || n, interval '1 hour', 'noop' FROM generate_series(1, 2345) n`)
	seen := map[string]bool{}
	for s, err := range api.Schedules(t.Context(), client.ListSchedulesParams{PageSize: new(int64(100))}) {
		if err != nil {
			t.Fatal(err)
		}
		seen[s.Name] = true
	}
	if len(seen) != 2345 {
		t.Errorf("%d schedules", len(seen))
	}
	for _, err := range api.Runs(t.Context(), "name:nobody", client.ListRunsParams{}) {
		if !client.IsStatus(err, 404) {
			t.Errorf("the error is %v", err)
		}
	}
}

// While PostgreSQL's locks make the server say "try again", the client does.
func TestTheClientWaitsForAServerThatIsBusy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	api, ctx := h.start("RIVERBEAT_ROLES=api").api(), t.Context()
	if _, err := api.CreateScheduleWithResponse(ctx, nil, client.Schedule{Name: "n", Spec: client.Spec{Every: new("15m")}, Job: client.Job{Kind: "noop"}}); err != nil {
		t.Fatal(err)
	}
	tx, err := h.pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `SELECT FROM riverbeat.schedules FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := api.PatchScheduleWithResponse(ctx, "name:n", &client.PatchScheduleParams{IfMatch: client.AnyVersion}, json.RawMessage(`{"description": "late"}`))
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it didn't wait: %v", err)
	case <-time.After(3 * time.Second): // the server gives up after two
	}
	if err := tx.Rollback(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	// And no longer than it is given.
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := api.LivezWithResponse(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", fmt.Sprint(err))
	}
}
