package api

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (a *api) runRoutes() {
	runs, of := []string{"runs"}, "/v1/schedules/{id}"
	one := of + "/runs/{scheduled_for}"
	handle(a, huma.Operation{
		OperationID: "run-schedule", Method: http.MethodPost, Path: of + "/run", Tags: runs,
		Summary: "Run a schedule now",
		Description: "Beside its own runs, which stay as they are; also when it is paused or completed. " +
			"With respect_overlap it is a 409 while the schedule's overlap policy would hold a run back.",
		DefaultStatus: http.StatusAccepted, Errors: []int{400, 404, 409, 412, 413, 415, 422, 503},
	}, a.run)
	a.huma.OpenAPI().Paths[of+"/run"].Post.RequestBody.Required = false
	handle(a, huma.Operation{
		OperationID: "list-runs", Method: http.MethodGet, Path: of + "/runs", Tags: runs,
		Summary:     "List a schedule's runs, newest first",
		Description: "By scheduled_for. " + shortPages,
		Errors:      []int{404, 422, 503},
	}, a.runs)
	handle(a, huma.Operation{
		OperationID: "list-all-runs", Method: http.MethodGet, Path: "/v1/runs", Tags: runs,
		Summary:     "List the runs of all schedules, newest first",
		Description: "By created_at, which is when they were recorded; also those of schedules that are gone. " + shortPages,
		Errors:      []int{422, 503},
	}, a.allRuns)
	handle(a, huma.Operation{
		OperationID: "get-run", Method: http.MethodGet, Path: one, Tags: runs,
		Summary:     "Read a run",
		Description: "A run is named by its schedule and its instant: its id follows from the two, not they from it.",
		Errors:      []int{404, 422, 503},
	}, a.getRun)
	handle(a, huma.Operation{
		OperationID: "cancel-run", Method: http.MethodPost, Path: one + "/cancel", Tags: runs,
		Summary:     "Cancel a run's job",
		Description: "A job that is running is told to stop, and is cancelled when it does. 409 when it is finished, or there is none.",
		Errors:      []int{404, 409, 422, 503},
	}, a.cancelRun)
	handle(a, huma.Operation{
		OperationID: "retry-run", Method: http.MethodPost, Path: one + "/retry", Tags: runs,
		Summary:     "Have a run's job tried again at once",
		Description: "One that was discarded or cancelled, or that waits for its next attempt. 409 when it is completed or running, or there is none.",
		Errors:      []int{404, 409, 422, 503},
	}, a.retryRun)
}

// shortPages is said of lists whose filters may find little.
const shortPages = "The work for a page is bounded: where a filter lets little through it may be short, or empty, and have a next_page_token all the same."

// runDocument is a line of the ledger in JSON.
type runDocument struct {
	ID             string       `json:"id" format:"uuid" doc:"The same for the same schedule and instant, after every retry and restore."`
	ScheduleID     string       `json:"schedule_id" format:"uuid"`
	ScheduleName   string       `json:"schedule_name"`
	Namespace      string       `json:"namespace"`
	ScheduledFor   time.Time    `json:"scheduled_for" doc:"The instant that the spec names; of a stretch, its first."`
	Reason         string       `json:"reason" enum:"schedule,catch_up,manual,backfill"`
	Outcome        string       `json:"outcome" enum:"enqueued,skipped,missed"`
	Why            string       `json:"why" doc:"Why it was skipped or missed."`
	JobID          *string      `json:"job_id" doc:"Of the River job."`
	Job            *jobStanding `json:"job" doc:"How the River job stands; null: there is none, or River has removed it."`
	ArgsOverridden bool         `json:"args_overridden" doc:"It was asked for with arguments of its own."`
	Args           any          `json:"args,omitempty" doc:"Those; in the answer to run, and where the run is read alone."`
	Until          *time.Time   `json:"until" doc:"The end of a stretch of occurrences that this line covers together."`
	Count          *int64       `json:"count" doc:"How many occurrences this line covers; null for a stretch that nobody counted."`
	CreatedAt      time.Time    `json:"created_at"`
}

// TransformSchema is huma.SchemaTransformer.
func (runDocument) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	// One that may be null can't be a reference.
	job := huma.SchemaFromType(r, reflect.TypeFor[jobStanding]())
	job.Nullable, job.Description = true, s.Properties["job"].Description
	s.Properties["job"] = job
	s.Properties["args"].Type, s.Properties["args"].AdditionalProperties = huma.TypeObject, true
	return s
}

// jobStanding is how a run's River job stands, in JSON.
type jobStanding struct {
	State           string     `json:"state" enum:"available,cancelled,completed,discarded,pending,retryable,running,scheduled"`
	Attempt         int        `json:"attempt" doc:"The last one that began; 0: none has."`
	MaxAttempts     int        `json:"max_attempts"`
	AttemptedAt     *time.Time `json:"attempted_at" doc:"When that one began."`
	FinalizedAt     *time.Time `json:"finalized_at" doc:"When the job was completed, cancelled or discarded."`
	DurationSeconds *float64   `json:"duration_seconds" doc:"How long the last attempt of a finished job took."`
	Error           string     `json:"error" maxLength:"1024" doc:"Of the last attempt that failed, its first 1,024 bytes."`
	OutputStatus    *int       `json:"output_status" doc:"The status in the output that the job recorded: of a webhook, that of the answer."`
}

func toRunDocument(s *schedule.RunStatus) runDocument {
	r := &s.Run
	d := runDocument{
		ID: schedule.RunID(r.ScheduleID, r.ScheduledFor).String(), ScheduleID: r.ScheduleID.String(),
		ScheduleName: r.ScheduleName, Namespace: r.Namespace, ScheduledFor: r.ScheduledFor,
		Reason: string(r.Reason), Outcome: string(r.Outcome), Why: r.Why, JobID: jobID(r.JobID), ArgsOverridden: s.Overridden,
		Until: optionalTime(r.Until), Count: optional(r.Count), CreatedAt: r.CreatedAt,
	}
	if s.Args != nil {
		d.Args = s.Args
	}
	if j := s.Job; j != nil {
		d.Job = &jobStanding{
			State: string(j.State), Attempt: j.Attempt, MaxAttempts: j.MaxAttempts,
			AttemptedAt: optionalTime(j.AttemptedAt), FinalizedAt: optionalTime(j.FinalizedAt),
			DurationSeconds: optional(j.Duration().Seconds()), Error: j.Error, OutputStatus: optional(j.OutputStatus),
		}
	}
	return d
}

type runAnswer struct{ Body runDocument }

func answerRun(run schedule.RunStatus, err error) (*runAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &runAnswer{Body: toRunDocument(&run)}, nil
}

// runNowDocument is how a run is asked for.
type runNowDocument struct {
	RespectOverlap bool            `json:"respect_overlap" required:"false" doc:"Don't run while the schedule's overlap policy would hold a run back."`
	Args           json.RawMessage `json:"args" required:"false" doc:"Arguments for this run alone, instead of the schedule's, as a whole."`
}

// TransformSchema is huma.SchemaTransformer.
func (runNowDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["args"].Type, s.Properties["args"].AdditionalProperties = huma.TypeObject, true
	s.Examples = []any{json.RawMessage(`{"args": {"url": "https://example.com/hook", "body": {"day": "2026-11-24"}}}`)}
	return s
}

type runInput struct {
	ScheduleParams
	IfMatch
	Body body[runNowDocument]
}

func (a *api) run(ctx context.Context, in *runInput) (*runAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	var how runNowDocument
	if in.Body.raw != nil {
		if err := in.Body.decode(&how); err != nil {
			return nil, err
		}
	}
	return answerRun(a.Service.RunNow(ctx, key, app.RunNow{Version: version, RespectOverlap: how.RespectOverlap, Args: how.Args}))
}

// RunFilterParams say which runs to list.
type RunFilterParams struct {
	Outcome  string    `query:"outcome" enum:"enqueued,skipped,missed"`
	Reason   string    `query:"reason" enum:"schedule,catch_up,manual,backfill"`
	JobState string    `query:"job_state" enum:"available,cancelled,completed,discarded,pending,retryable,running,scheduled" doc:"Of the River job, while River still has it."`
	Since    time.Time `query:"since" doc:"From this instant on: of the one that the list is ordered by."`
	Until    time.Time `query:"until" doc:"Before this instant."`
}

func (p *RunFilterParams) filter(page *PageParams) (app.RunFilter, error) {
	for field, at := range map[string]time.Time{"since": p.Since, "until": p.Until} {
		if !at.IsZero() && !shown(at) {
			return app.RunFilter{}, schedule.Invalid(field, "must be between the years 1970 and 9998")
		}
	}
	return app.RunFilter{
		Outcome: schedule.Outcome(p.Outcome), Reason: schedule.Reason(p.Reason), JobState: schedule.JobState(p.JobState),
		Since: p.Since, Until: p.Until, Limit: page.size(),
	}, nil
}

type runsAnswer struct {
	Body struct {
		Runs          []runDocument `json:"runs" nullable:"false"`
		NextPageToken string        `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func answerRuns(page app.RunPage, mark []byte) *runsAnswer {
	out := &runsAnswer{}
	out.Body.Runs = make([]runDocument, len(page.Runs))
	for i := range page.Runs {
		out.Body.Runs[i] = toRunDocument(&page.Runs[i])
	}
	if next := page.Next; next != (app.RunPlace{}) {
		place := append(instantBytes(next.ScheduledFor), instantBytes(next.CreatedAt)...)
		out.Body.NextPageToken = tokenOf(mark, append(place, next.ScheduleID[:]...))
	}
	return out
}

// runPlace is where the page is to begin; zero for the first.
func runPlace(page *PageParams, mark []byte) (place app.RunPlace, err error) {
	raw, err := page.place(mark, 32)
	if err != nil || raw == nil {
		return place, err
	}
	var ok, ok2, ok3 bool
	place.ScheduledFor, raw, ok = cutInstant(raw)
	place.CreatedAt, raw, ok2 = cutInstant(raw)
	place.ScheduleID, raw, ok3 = cutID(raw)
	if !ok || !ok2 || !ok3 || len(raw) > 0 {
		return place, errPageToken
	}
	return place, nil
}

type runsInput struct {
	ScheduleParams
	PageParams
	RunFilterParams
}

func (a *api) runs(ctx context.Context, in *runsInput) (*runsAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	filter, err := in.filter(&in.PageParams)
	if err != nil {
		return nil, err
	}
	mark := markOf("runs", in.ID, in.Namespace, in.RunFilterParams)
	if filter.Before, err = runPlace(&in.PageParams, mark); err != nil {
		return nil, err
	}
	page, err := a.Service.Runs(ctx, key, filter)
	if err != nil {
		return nil, err
	}
	return answerRuns(page, mark), nil
}

type allRunsInput struct {
	PageParams
	RunFilterParams
	Namespace string `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"All namespaces when it is left out."`
}

func (a *api) allRuns(ctx context.Context, in *allRunsInput) (*runsAnswer, error) {
	filter, err := in.filter(&in.PageParams)
	if err != nil {
		return nil, err
	}
	if in.Namespace != "" {
		filter.Namespaces = []string{in.Namespace}
	}
	mark := markOf("all runs", in.Namespace, in.RunFilterParams)
	if filter.Before, err = runPlace(&in.PageParams, mark); err != nil {
		return nil, err
	}
	page, err := a.Service.AllRuns(ctx, filter)
	if err != nil {
		return nil, err
	}
	return answerRuns(page, mark), nil
}

// RunParams name the run that a request is about.
type RunParams struct {
	ScheduleParams
	ScheduledFor string `path:"scheduled_for" doc:"The run's scheduled_for, escaped." example:"2026-11-24T18:00:00Z"`
}

func (p *RunParams) names() (key app.Key, scheduledFor time.Time, err error) {
	if key, err = p.key(); err != nil {
		return key, scheduledFor, err
	}
	text, err := url.PathUnescape(p.ScheduledFor)
	if err == nil {
		scheduledFor, err = time.Parse(time.RFC3339Nano, text)
	}
	if err != nil || !shown(scheduledFor) {
		return key, scheduledFor, schedule.Invalid("scheduled_for", `must be an instant in RFC 3339, such as "2026-11-24T03:00:00Z"`)
	}
	return key, scheduledFor, nil
}

func (a *api) getRun(ctx context.Context, in *RunParams) (*runAnswer, error) {
	key, at, err := in.names()
	if err != nil {
		return nil, err
	}
	return answerRun(a.Service.Run(ctx, key, at))
}

func (a *api) cancelRun(ctx context.Context, in *RunParams) (*runAnswer, error) {
	key, at, err := in.names()
	if err != nil {
		return nil, err
	}
	return answerRun(a.Service.CancelRun(ctx, key, at))
}

func (a *api) retryRun(ctx context.Context, in *RunParams) (*runAnswer, error) {
	key, at, err := in.names()
	if err != nil {
		return nil, err
	}
	return answerRun(a.Service.RetryRun(ctx, key, at))
}
