package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (a *api) backfillRoutes() {
	handle(a, huma.Operation{
		OperationID: "backfill-schedule", Method: http.MethodPost, Path: "/v1/schedules/{id}/backfill", Tags: []string{"runs"},
		Summary: "Enqueue the runs of a range that haven't happened",
		Description: "Those that the schedule's spec, as it stands, names from start to before end, up to now: what was missed or skipped, and what has no line in the ledger, " +
			"as in a pause or before the schedule was there. What was enqueued stays as it is, so the same call twice comes to the same. " +
			"What the scheduler is still to decide on, from next_run_at on, is left to it; next_run_at, run_count and last_run_at stay. " +
			"Ask with dry_run first how many it would be. Many are enqueued in several transactions, oldest first: after an error, or where remaining isn't 0, the same call goes on where they ended.",
		Errors: []int{400, 404, 409, 413, 415, 422, 503},
	}, a.backfill)
}

// backfillDocument is what is to be backfilled, in JSON.
type backfillDocument struct {
	Start   *time.Time `json:"start" doc:"Included."`
	End     *time.Time `json:"end" doc:"Not included. Between the two the spec may name 100,000 instants at most."`
	DryRun  bool       `json:"dry_run" required:"false" doc:"Only say how many it would be."`
	Overlap string     `json:"overlap" required:"false" enum:"ignore,respect" default:"ignore" doc:"respect: of a schedule whose overlap policy isn't allow, enqueue the oldest run alone, and none while the job of its last run is unfinished. The same call later enqueues the next."`
	Limit   int        `json:"limit" required:"false" minimum:"1" maximum:"10000" default:"1000" doc:"How many runs to enqueue at most: 422 when there are more, and nothing is enqueued."`
}

// TransformSchema is huma.SchemaTransformer.
func (backfillDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"start": "2026-11-01T00:00:00Z", "end": "2026-11-08T00:00:00Z", "dry_run": true}`)}
	return s
}

// backfilledDocument is what became of it, in JSON.
type backfilledDocument struct {
	DryRun      bool `json:"dry_run"`
	Occurrences int  `json:"occurrences" doc:"That the spec names in the range, but for those that are the scheduler's to decide on."`
	Ran         int  `json:"ran" doc:"Of those: enqueued before."`
	Enqueued    int  `json:"enqueued" doc:"By this call; of a dry run, that would be."`
	Remaining   int  `json:"remaining" doc:"Still to be enqueued, by the same call again."`
}

type backfillInput struct {
	ScheduleParams
	Body body[backfillDocument]
}

type backfillAnswer struct{ Body backfilledDocument }

func (a *api) backfill(ctx context.Context, in *backfillInput) (*backfillAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	document := backfillDocument{Overlap: "ignore", Limit: app.DefaultBackfill}
	if err := in.Body.decode(&document); err != nil {
		return nil, err
	}
	var wrong []schedule.FieldError
	bad := func(field, reason string) { wrong = append(wrong, schedule.FieldError{Field: field, Reason: reason}) }
	for field, at := range map[string]*time.Time{"start": document.Start, "end": document.End} {
		switch {
		case at == nil:
			bad(field, "is missing")
		case !shown(*at):
			bad(field, "must be between the years 1970 and 9998")
		}
	}
	if document.Limit < 1 || document.Limit > app.MaxBackfill {
		bad("limit", fmt.Sprintf("must be from 1 to %d", app.MaxBackfill))
	}
	if document.Overlap != "ignore" && document.Overlap != "respect" {
		bad("overlap", `must be "ignore" or "respect"`)
	}
	if len(wrong) == 0 && !document.Start.Before(*document.End) {
		bad("end", "must be after start")
	}
	if err := schedule.AddFields(nil, wrong); err != nil {
		return nil, err
	}
	done, err := a.Service.Backfill(ctx, key, app.Backfill{
		Start: *document.Start, End: *document.End, Limit: document.Limit, DryRun: document.DryRun, RespectOverlap: document.Overlap == "respect",
	})
	if err != nil {
		return nil, err
	}
	return &backfillAnswer{Body: backfilledDocument{
		DryRun: document.DryRun, Occurrences: done.Occurrences, Ran: done.Ran, Enqueued: done.Enqueued, Remaining: done.Remaining,
	}}, nil
}
