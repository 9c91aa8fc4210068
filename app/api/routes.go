package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// Page sizes.
const (
	defaultPageSize = 50
	maxPageSize     = 1000
)

func (a *api) routes() {
	a.healthRoutes()
	if a.Service != nil {
		a.scheduleRoutes()
		a.calendarRoutes()
		a.propagationRoutes()
		a.catchUpRoutes()
		a.runRoutes()
		a.backfillRoutes()
		a.bulkRoutes()
		a.revisionRoutes()
		a.applyRoutes()
		a.tokenRoutes()
		a.secretRoutes()
		a.alertRoutes()
		a.eventRoutes()
	}
}

func (a *api) scheduleRoutes() {
	schedules, one := []string{"schedules"}, "/v1/schedules/{id}"
	handleWrite(a, huma.Operation{
		OperationID: "create-schedule", Method: http.MethodPost, Path: "/v1/schedules", Tags: schedules,
		Summary: "Create a schedule", Description: "null is the same as leaving a field out: it gets its default.",
		DefaultStatus: http.StatusCreated, Errors: []int{400, 409, 413, 415, 422, 503},
	}, a.create)
	handle(a, huma.Operation{
		OperationID: "list-schedules", Method: http.MethodGet, Path: "/v1/schedules", Tags: schedules,
		Summary: "List schedules", Description: listing, Errors: []int{422, 503},
	}, a.list)
	handle(a, huma.Operation{
		OperationID: "get-schedule", Method: http.MethodGet, Path: one, Tags: schedules,
		Summary: "Read a schedule", Errors: []int{404, 422, 503},
	}, a.get)
	handleWrite(a, huma.Operation{
		OperationID: "replace-schedule", Method: http.MethodPut, Path: one, Tags: schedules,
		Summary:     "Replace a schedule's definition",
		Description: "What the document leaves out, or sets to null, gets its default. Saving the same definition writes nothing.",
		Errors:      []int{400, 404, 409, 412, 413, 415, 422, 503},
	}, a.replace)
	handleWrite(a, huma.Operation{
		OperationID: "patch-schedule", Method: http.MethodPatch, Path: one, Tags: schedules,
		Summary:     "Change parts of a schedule's definition",
		Description: "A JSON merge patch (RFC 7396): null sets a field back to its default.",
		Errors:      []int{400, 404, 409, 412, 413, 415, 422, 503},
	}, a.patch)
	patchContent := a.huma.OpenAPI().Paths[one].Patch.RequestBody.Content
	patchContent["application/merge-patch+json"] = patchContent["application/json"]
	handleWrite(a, huma.Operation{
		OperationID: "delete-schedule", Method: http.MethodDelete, Path: one, Tags: schedules,
		Summary: "Delete a schedule", DefaultStatus: http.StatusNoContent, Errors: []int{404, 412, 422, 503},
	}, a.remove)
	handleWrite(a, huma.Operation{
		OperationID: "pause-schedule", Method: http.MethodPost, Path: one + "/pause", Tags: schedules,
		Summary: "Pause a schedule", Errors: []int{400, 404, 412, 422, 503},
	}, a.pause)
	a.huma.OpenAPI().Paths[one+"/pause"].Post.RequestBody.Required = false // also for Huma itself
	handleWrite(a, huma.Operation{
		OperationID: "resume-schedule", Method: http.MethodPost, Path: one + "/resume", Tags: schedules,
		Summary: "Resume a schedule", Description: "It goes on from now: what passed meanwhile is not owed.",
		Errors: []int{404, 412, 422, 503},
	}, a.resume)
	handle(a, huma.Operation{
		OperationID: "preview", Method: http.MethodPost, Path: "/v1/preview", Tags: []string{"preview"}, Security: needs(app.ScopeRead),
		Summary: "Show when a spec or a schedule would run", Description: "Nothing is stored.", Errors: []int{400, 404, 413, 415, 422, 503},
	}, a.preview)
}

func (a *api) healthRoutes() {
	handle(a, huma.Operation{
		OperationID: "livez", Method: http.MethodGet, Path: "/livez", Tags: []string{"health"}, Security: nothing, Summary: "Is the process alive?",
	}, a.livez)
	handle(a, huma.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{"health"}, Security: nothing,
		Summary: "Is everything there that is needed?", Errors: []int{503},
	}, a.readyz)
}

// The types that inputs embed are exported because Huma passes over others.

// NamespaceParam is the namespace of what a request is about.
type NamespaceParam struct {
	Namespace string `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"When it is left out, the token's only namespace, else default."`
}

// ScheduleParams name the schedule that a request is about.
type ScheduleParams struct {
	ID        string `path:"id" doc:"The id, or name: and the name, escaped." example:"name:nightly-report"`
	Namespace string `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"Where a name is looked up; when it is left out, the token's only namespace, else default."`
}

func (p *ScheduleParams) key() (app.Key, error) {
	text, err := url.PathUnescape(p.ID)
	if err != nil {
		return app.Key{}, schedule.ErrNotFound
	}
	return scheduleKey("id", text, p.Namespace)
}

// scheduleKey reads the text of a field that names a schedule of the namespace,
// which may be empty: then names are those of the caller's own.
func scheduleKey(field, text, namespace string) (app.Key, error) {
	if name, ok := strings.CutPrefix(text, "name:"); ok {
		if !storable(name) {
			return app.Key{}, schedule.ErrNotFound
		}
		return app.Key{Namespace: namespace, Name: name}, nil
	}
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return app.Key{}, schedule.Invalid(field, `must be a UUID, or name: and a name`)
	}
	return app.Key{Namespace: namespace, ID: schedule.ID(id)}, nil
}

// IfMatch is the version that a write expects.
type IfMatch struct {
	Tag string `header:"If-Match" doc:"The ETag of the version that was read: 412 when the schedule has changed since." example:"\"3\""`
}

func (m *IfMatch) version() (int64, error) {
	tag := strings.TrimSpace(m.Tag)
	if tag == "" || tag == "*" {
		return app.AnyVersion, nil
	}
	version, err := strconv.ParseInt(strings.Trim(tag, `"`), 10, 64)
	if err != nil || version < 1 || tag != etag(version) {
		return 0, schedule.ErrStale // no version of ours has such a tag
	}
	return version, nil
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

// scheduleAnswer is one schedule.
type scheduleAnswer struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     scheduleDocument

	id schedule.ID
}

// answer shows a schedule in the language that the request asks for.
func answer(ctx context.Context) func(*schedule.Status, error) (*scheduleAnswer, error) {
	return func(status *schedule.Status, err error) (*scheduleAnswer, error) {
		if err != nil {
			return nil, err
		}
		return &scheduleAnswer{Status: http.StatusOK, ETag: etag(status.Schedule.Version), Body: statusDocument(status, languageOf(ctx)), id: status.Schedule.ID}, nil
	}
}

type createInput struct {
	WaitParams
	Body body[scheduleDocument]
}

func (a *api) create(ctx context.Context, in *createInput) (*scheduleAnswer, error) {
	definition, err := decodeDefinition(in.Body.raw, home(ctx, ""))
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*scheduleAnswer, error) {
		out, err := answer(ctx)(a.Service.Create(ctx, definition))
		if err == nil {
			out.Status, out.Location = http.StatusCreated, "/v1/schedules/"+out.Body.ID
		}
		return out, err
	})
}

// decodeDefinition reads a definition; what it leaves out gets its default.
func decodeDefinition(raw []byte, namespace string) (schedule.Schedule, error) {
	document := newDocument()
	document.Namespace = namespace
	if err := decodeStrict(raw, &document); err != nil {
		return schedule.Schedule{}, err
	}
	return document.definition(), nil
}

// PageParams ask for a page.
type PageParams struct {
	PageSize  int    `query:"page_size" minimum:"1" maximum:"1000" default:"50"`
	PageToken string `query:"page_token" maxLength:"1000" doc:"next_page_token of the page before."`
}

func (p *PageParams) size() int {
	if p.PageSize == 0 {
		return defaultPageSize
	}
	return min(p.PageSize, maxPageSize)
}

var errPageToken = schedule.Invalid("page_token", "must be the next_page_token of the page before, of a list with the same filters and order")

func (a *api) get(ctx context.Context, in *ScheduleParams) (*scheduleAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	return answer(ctx)(a.Service.Get(ctx, key))
}

// target is the schedule and the version that a write is about.
func target(p *ScheduleParams, m *IfMatch) (key app.Key, version int64, err error) {
	if key, err = p.key(); err != nil {
		return key, 0, err
	}
	version, err = m.version()
	return key, version, err
}

type replaceInput struct {
	ScheduleParams
	IfMatch
	WaitParams
	Body body[scheduleDocument]
}

func (a *api) replace(ctx context.Context, in *replaceInput) (*scheduleAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	return a.edit(ctx, &in.WaitParams, key, version, func(s *schedule.Schedule) (err error) {
		// The namespace never changes, so it may be left out.
		*s, err = decodeDefinition(in.Body.raw, s.Namespace)
		return err
	})
}

// edit changes the definition of a schedule.
func (a *api) edit(ctx context.Context, wait *WaitParams, key app.Key, version int64, change func(*schedule.Schedule) error) (*scheduleAnswer, error) {
	return watched(ctx, a, wait, func() (*scheduleAnswer, error) {
		return answer(ctx)(a.Service.Edit(ctx, key, version, change))
	})
}

// patchDocument is any part of a schedule.
type patchDocument map[string]any

// TransformSchema is huma.SchemaTransformer.
func (patchDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"spec": {"cron": null, "every": "15m"}, "labels": {"team": "growth"}}`)}
	return s
}

type patchInput struct {
	ScheduleParams
	IfMatch
	WaitParams
	Body body[patchDocument]
}

func (a *api) patch(ctx context.Context, in *patchInput) (*scheduleAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	return a.edit(ctx, &in.WaitParams, key, version, func(s *schedule.Schedule) error {
		before, err := json.Marshal(definitionDocument(s))
		if err != nil {
			return fmt.Errorf("write the document to patch: %w", err)
		}
		merged, err := mergePatch(before, in.Body.raw)
		if err != nil {
			return err
		}
		*s, err = decodeDefinition(merged, s.Namespace)
		return err
	})
}

type removeInput struct {
	ScheduleParams
	IfMatch
	WaitParams
	CancelJobs bool `query:"cancel_jobs" doc:"Cancel the jobs of its runs that aren't finished. They stay when it is left out."`
}

func (a *api) remove(ctx context.Context, in *removeInput) (*deletedAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*deletedAnswer, error) {
		transaction, err := a.Service.Delete(ctx, key, version, in.CancelJobs)
		return &deletedAnswer{transaction: transaction}, err
	})
}

// pauseDocument is why a schedule is paused.
type pauseDocument struct {
	Reason string `json:"reason" required:"false" maxLength:"1000"`
}

// TransformSchema is huma.SchemaTransformer.
func (pauseDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"reason": "The receiver is being moved."}`)}
	return s
}

type pauseInput struct {
	ScheduleParams
	IfMatch
	WaitParams
	Body body[pauseDocument]
}

func (a *api) pause(ctx context.Context, in *pauseInput) (*scheduleAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	var why pauseDocument
	if in.Body.raw != nil {
		if err := in.Body.decode(&why); err != nil {
			return nil, err
		}
	}
	return watched(ctx, a, &in.WaitParams, func() (*scheduleAnswer, error) {
		return answer(ctx)(a.Service.Pause(ctx, key, version, why.Reason))
	})
}

type resumeInput struct {
	ScheduleParams
	IfMatch
	WaitParams
}

func (a *api) resume(ctx context.Context, in *resumeInput) (*scheduleAnswer, error) {
	key, version, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*scheduleAnswer, error) {
		return answer(ctx)(a.Service.Resume(ctx, key, version))
	})
}

type livezAnswer struct {
	Body struct {
		Status string `json:"status" example:"ok"`
	}
}

func (a *api) livez(context.Context, *struct{}) (*livezAnswer, error) {
	out := &livezAnswer{}
	out.Body.Status = "ok"
	return out, nil
}

type readyzAnswer struct {
	Status int
	Body   struct {
		Status string            `json:"status" example:"ok" enum:"ok,degraded,unavailable" doc:"degraded: something is missing that can be done without; unavailable, with a 503: something that can't."`
		Checks map[string]string `json:"checks" doc:"For each part ok, or ok: and a detail, or what is wrong."`
	}
}

func (a *api) readyz(ctx context.Context, _ *struct{}) (*readyzAnswer, error) {
	out := &readyzAnswer{Status: http.StatusOK}
	out.Body.Status, out.Body.Checks = "ok", map[string]string{}
	var checks []Check
	if a.Ready != nil {
		checks = a.health.checks(ctx, a.Ready)
	}
	for _, check := range checks {
		out.Body.Checks[check.Part] = "ok"
		if check.Err == nil {
			if check.Detail != "" {
				out.Body.Checks[check.Part] = "ok: " + check.Detail
			}
			continue
		}
		out.Body.Checks[check.Part] = check.Err.Error()
		if check.Required {
			out.Status, out.Body.Status = http.StatusServiceUnavailable, "unavailable"
		} else if out.Status == http.StatusOK {
			out.Body.Status = "degraded"
		}
	}
	return out, nil
}
