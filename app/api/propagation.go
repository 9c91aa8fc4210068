package api

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// How long a write may wait until it is in force. The longest is shorter than
// what the server grants to an answer.
const (
	defaultWait = 5 * time.Second
	maxWait     = 30 * time.Second
)

func (a *api) propagationRoutes() {
	handle(a, huma.Operation{
		OperationID: "get-propagation", Method: http.MethodGet, Path: "/v1/schedules/{id}/propagation", Tags: []string{"propagation"},
		Summary:     "Show which version of a schedule each scheduler has in force",
		Description: "Asks the live schedulers, for a second at most; who doesn't answer is shown by what it said last. A version is in force in a scheduler once its last look at the database has seen it.",
		Errors:      []int{404, 422, 503},
	}, a.propagation)
	handle(a, huma.Operation{
		OperationID: "list-schedulers", Method: http.MethodGet, Path: "/v1/schedulers", Tags: []string{"propagation"},
		Summary: "List the schedulers", Description: "Each says every 5 s that it is alive; one that has been silent for 15 s isn't, and is listed for an hour.",
		Errors: []int{503},
	}, a.schedulers)
}

// pathDocument is a way by which messages reach a scheduler, in JSON.
type pathDocument struct {
	Path                string    `json:"path" enum:"notify,redis"`
	State               string    `json:"state" enum:"up,unproven,down" doc:"up: a message went all the way a moment ago; unproven: connected, but nothing proves it; down."`
	Since               time.Time `json:"since"`
	HeartbeatAgeSeconds *float64  `json:"heartbeat_age_seconds" doc:"Since a message last went all the way; null: none has."`
}

// schedulerDocument is a scheduler in JSON.
type schedulerDocument struct {
	ID         string         `json:"id" format:"uuid" doc:"Of the process: another after each start."`
	Host       string         `json:"host"`
	PID        int            `json:"pid"`
	StartedAt  time.Time      `json:"started_at"`
	SeenAt     time.Time      `json:"seen_at" doc:"When it said what is shown here."`
	Alive      bool           `json:"alive"`
	Version    string         `json:"version" doc:"Of the program."`
	Tzdata     string         `json:"tzdata" doc:"Version of its time zone data." example:"2026f"`
	Paths      []pathDocument `json:"paths" nullable:"false"`
	LookedAt   *time.Time     `json:"looked_at" doc:"Its last look at the database."`
	LagSeconds *float64       `json:"lag_seconds" doc:"How long the first due run had been waiting then; null when it hasn't looked, and, as looked_at is, to a token that is limited to namespaces."`
}

func toSchedulerDocument(s *app.Scheduler) schedulerDocument {
	d := schedulerDocument{
		ID: s.ID.String(), Host: s.Host, PID: s.PID, StartedAt: s.StartedAt, SeenAt: s.SeenAt, Alive: s.Alive,
		Version: s.Version, Tzdata: s.Zones, LookedAt: optionalTime(s.LookedAt),
		Paths: make([]pathDocument, len(s.Paths)),
	}
	if !s.LookedAt.IsZero() {
		d.LagSeconds = new(s.Lag.Seconds())
	}
	for i, p := range s.Paths {
		d.Paths[i] = pathDocument{
			Path: string(p.Path), State: p.State, Since: s.SeenAt.Add(-p.For), HeartbeatAgeSeconds: optional(p.HeartbeatAge.Seconds()),
		}
	}
	return d
}

type schedulersAnswer struct {
	Body struct {
		Schedulers []schedulerDocument `json:"schedulers" nullable:"false"`
	}
}

func (a *api) schedulers(ctx context.Context, _ *struct{}) (*schedulersAnswer, error) {
	list, err := a.Service.Schedulers(ctx)
	if err != nil {
		return nil, err
	}
	out := &schedulersAnswer{}
	out.Body.Schedulers = make([]schedulerDocument, len(list))
	for i := range list {
		out.Body.Schedulers[i] = toSchedulerDocument(&list[i])
	}
	return out, nil
}

// inForceDocument is what one scheduler has in force, in JSON.
type inForceDocument struct {
	ID        string     `json:"id" format:"uuid"`
	Host      string     `json:"host"`
	StartedAt time.Time  `json:"started_at"`
	Applied   bool       `json:"applied" doc:"It has the newest version in force."`
	Version   *int64     `json:"version" doc:"That it has in force; null: an older one, nobody knows which."`
	Since     *time.Time `json:"since" doc:"null: nobody knows any more."`
	Path      *string    `json:"path" enum:"notify,redis,poll,local" doc:"How it learnt of it; local: the same process wrote it, null: nobody knows any more."`
}

type propagationAnswer struct {
	Body struct {
		ScheduleID string            `json:"schedule_id" format:"uuid"`
		Version    int64             `json:"version" doc:"The newest."`
		ChangedAt  time.Time         `json:"changed_at"`
		Applied    bool              `json:"applied" doc:"Every live scheduler has it in force, and there is one."`
		Schedulers []inForceDocument `json:"schedulers" nullable:"false" doc:"The live ones."`
	}
}

func (a *api) propagation(ctx context.Context, in *ScheduleParams) (*propagationAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	p, err := a.Service.Propagation(ctx, key)
	if err != nil {
		return nil, err
	}
	out := &propagationAnswer{}
	out.Body.ScheduleID, out.Body.Version, out.Body.ChangedAt = p.ScheduleID.String(), p.Version, p.ChangedAt
	out.Body.Applied = len(p.Schedulers) > 0
	out.Body.Schedulers = make([]inForceDocument, len(p.Schedulers))
	for i, f := range p.Schedulers {
		out.Body.Schedulers[i] = inForceDocument{
			ID: f.ID.String(), Host: f.Host, StartedAt: f.StartedAt, Applied: f.Applied,
			Version: optional(f.Version), Since: optionalTime(f.Since), Path: optional(string(f.Path)),
		}
		out.Body.Applied = out.Body.Applied && f.Applied
	}
	return out, nil
}

// WaitParams say what a write waits for.
type WaitParams struct {
	Wait    string `query:"wait" enum:"applied" doc:"applied: answer once every live scheduler has the change in force, or with a 202 that says which hasn't."`
	Timeout string `query:"timeout" doc:"How long to wait, from 0.001s to 30s; 5s when it is left out." example:"5s"`
}

// long is how long to wait; 0: not at all.
func (p *WaitParams) long() (time.Duration, error) {
	if p.Wait == "" {
		if p.Timeout != "" {
			return 0, schedule.Invalid("timeout", "has a meaning only with wait=applied")
		}
		return 0, nil
	}
	if p.Timeout == "" {
		return defaultWait, nil
	}
	long, err := schedule.ParseDuration(p.Timeout)
	if err != nil || long < time.Millisecond || long > maxWait {
		return 0, schedule.Invalid("timeout", fmt.Sprintf("must be a duration from 0.001s to %v, such as 5s", maxWait))
	}
	return long, nil
}

// written is the answer to a write.
type written interface {
	// await waits until the write is in force.
	await(context.Context, *app.Watch) (missing []app.Scheduler, all bool, err error)
	// pending is the answer when it isn't, without the schedulers that are missing.
	pending() *pending
}

// pending is the answer to a write that is done, but not in force everywhere.
type pending struct {
	Schedule *scheduleDocument   `json:"schedule,omitempty" doc:"As it was written; none after a delete."`
	Calendar *calendarDocument   `json:"calendar,omitempty"`
	Missing  []schedulerDocument `json:"missing" nullable:"false" doc:"The live schedulers that don't have it in force yet; none when no scheduler is alive."`
	Detail   string              `json:"detail" example:"1 scheduler doesn't have the change in force yet."`

	headers http.Header
}

// Error and the next two make it what huma answers in place of an answer.
func (p *pending) Error() string { return p.Detail }

// GetStatus is huma.StatusError.
func (p *pending) GetStatus() int { return http.StatusAccepted }

// GetHeaders is huma.HeadersError.
func (p *pending) GetHeaders() http.Header { return p.headers }

// watched does a write and then waits as the request says.
func watched[O written](ctx context.Context, a *api, p *WaitParams, write func() (O, error)) (out O, err error) {
	var none O
	long, err := p.long()
	if err != nil {
		return none, err
	}
	if long == 0 {
		return write()
	}
	watch, err := a.Service.Watch(ctx, long)
	if err != nil {
		return none, err
	}
	if out, err = write(); err != nil {
		watch.Close(ctx)
		return none, err
	}
	if asked := askedOf(ctx); asked != nil {
		asked.after = func(ctx context.Context, err error) *pending {
			defer watch.Close(ctx)
			if err != nil {
				return nil
			}
			return a.await(ctx, watch, out)
		}
		return out, nil
	}
	defer watch.Close(ctx)
	if answer := a.await(ctx, watch, out); answer != nil {
		return none, answer
	}
	return out, nil
}

// await waits until the write is in force; nil: it is.
func (a *api) await(ctx context.Context, watch *app.Watch, out written) *pending {
	missing, all, err := out.await(ctx, watch)
	if all && err == nil {
		return nil
	}
	// Written it is, whatever has become of the watch.
	answer := out.pending()
	answer.Missing = make([]schedulerDocument, len(missing))
	for i := range missing {
		answer.Missing[i] = toSchedulerDocument(&missing[i])
	}
	switch {
	case err != nil:
		answer.Detail = "The change is written; where it is in force can't be found out now."
		a.Log.WarnContext(ctx, "can't find out where a change is in force", "err", err, "request_id", ctx.Value(requestIDKey{}))
	case len(missing) == 0:
		answer.Detail = "The change is written; no scheduler is alive to put it in force."
	case len(missing) == 1:
		answer.Detail = "1 scheduler doesn't have the change in force yet."
	default:
		answer.Detail = fmt.Sprintf("%d schedulers don't have the change in force yet.", len(missing))
	}
	return answer
}

func (o *scheduleAnswer) await(ctx context.Context, w *app.Watch) ([]app.Scheduler, bool, error) {
	return w.Schedule(ctx, o.id)
}

func (o *scheduleAnswer) pending() *pending {
	return &pending{Schedule: &o.Body, headers: headersOf(o.ETag, o.Location)}
}

// deletedAnswer has nothing to show.
type deletedAnswer struct {
	transaction uint64
	calendar    *app.CalendarKey // of a calendar's deletion
}

func (o *deletedAnswer) await(ctx context.Context, w *app.Watch) ([]app.Scheduler, bool, error) {
	if o.calendar != nil {
		return w.Calendar(ctx, *o.calendar)
	}
	return w.Deleted(ctx, o.transaction)
}

func (o *deletedAnswer) pending() *pending { return &pending{} }

func (o *calendarAnswer) await(ctx context.Context, w *app.Watch) ([]app.Scheduler, bool, error) {
	return w.Calendar(ctx, app.CalendarKey{Namespace: o.Body.Namespace, Name: o.Body.Name})
}

func (o *calendarAnswer) pending() *pending {
	return &pending{Calendar: &o.Body, headers: headersOf(o.ETag, o.Location)}
}

// headersOf are the headers of what was written; it has a location when it is new.
func headersOf(etag, location string) http.Header {
	headers := http.Header{"Etag": {etag}}
	if location != "" {
		headers.Set("Location", location)
	}
	return headers
}

// handleWrite is handle for a write that can be waited for.
func handleWrite[I any, O any](a *api, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.Responses = map[string]*huma.Response{"202": {
		Description: "With wait=applied: written, but not in force in every live scheduler by the end of the timeout",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[pending](), true, "pending")}},
	}}
	handle(a, op, handler)
}
