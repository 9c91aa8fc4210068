package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (a *api) bulkRoutes() {
	handle(a, huma.Operation{
		OperationID: "pause-schedules", Method: http.MethodPost, Path: "/v1/schedules/pause", Tags: []string{"schedules"},
		Summary:     "Pause all schedules of a namespace or with certain labels",
		Description: "In one transaction. Those that are paused already get the reason. With dry_run they are only counted.",
		Errors:      []int{400, 413, 415, 422, 503},
	}, a.pauseAll)
	handle(a, huma.Operation{
		OperationID: "resume-schedules", Method: http.MethodPost, Path: "/v1/schedules/resume", Tags: []string{"schedules"},
		Summary:     "Resume all schedules of a namespace or with certain labels",
		Description: "In one transaction. They go on from now: what passed meanwhile is not owed. The schedulers plan their next runs at once, so that many are shown without next_run_at for a moment. With dry_run they are only counted.",
		Errors:      []int{400, 413, 415, 422, 503},
	}, a.resumeAll)
}

// selectionDocument says which schedules are meant, in JSON.
type selectionDocument struct {
	Namespace string `json:"namespace" required:"false" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Of all namespaces when it is left out."`
	Selector  string `json:"selector" required:"false" example:"team=growth,tier in (1,2),!retired" doc:"By labels, in the form of Kubernetes; at most 4,096 bytes."`
	All       bool   `json:"all" required:"false" doc:"Must be true where neither namespace nor selector is given: every schedule is meant."`
	DryRun    bool   `json:"dry_run" required:"false" doc:"Only say how many it would be."`
}

func (d *selectionDocument) selection() (sel app.Selection, err error) {
	switch {
	case d.Namespace == "" && d.Selector == "" && !d.All:
		return sel, schedule.Invalid("all", "must be true where neither namespace nor selector is given: every schedule is meant")
	case d.Namespace != "" && !schedule.ValidNamespace(d.Namespace):
		return sel, schedule.Invalid("namespace", schedule.NameRule)
	case d.All && (d.Namespace != "" || d.Selector != ""):
		return sel, schedule.Invalid("all", "can't be given together with namespace or selector")
	case d.Namespace != "":
		sel.Namespaces = []string{d.Namespace}
	}
	sel.Selector, err = parseSelector(d.Selector)
	return sel, err
}

// parseSelector reads a selector; "" is none.
func parseSelector(text string) (schedule.Selector, error) {
	if text == "" {
		return nil, nil
	}
	sel, err := schedule.ParseSelector(text)
	if err != nil {
		return nil, schedule.Invalid("selector", err.Error())
	}
	return sel, nil
}

// SelectionFields are a selection in another document: Huma passes over what isn't
// exported.
type SelectionFields = selectionDocument

// pauseAllDocument is which schedules are to be paused, and why.
type pauseAllDocument struct {
	SelectionFields
	Reason string `json:"reason" required:"false" maxLength:"1000"`
}

// TransformSchema is huma.SchemaTransformer.
func (pauseAllDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"namespace": "default", "selector": "team=growth", "reason": "The receiver is being moved.", "dry_run": true}`)}
	return s
}

// resumeAllDocument is which schedules are to be resumed.
type resumeAllDocument struct{ SelectionFields }

// TransformSchema is huma.SchemaTransformer.
func (resumeAllDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"selector": "team=growth"}`)}
	return s
}

type bulkAnswer struct {
	Body struct {
		DryRun  bool  `json:"dry_run"`
		Matched int64 `json:"matched" doc:"Schedules that are meant."`
		Changed int64 `json:"changed" doc:"Of those: that weren't so before; of a dry run, that would change."`
	}
}

func answerBulk(dryRun bool, b app.Bulk, err error) (*bulkAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &bulkAnswer{}
	out.Body.DryRun, out.Body.Matched, out.Body.Changed = dryRun, b.Matched, b.Changed
	return out, nil
}

type pauseAllInput struct{ Body body[pauseAllDocument] }

func (a *api) pauseAll(ctx context.Context, in *pauseAllInput) (*bulkAnswer, error) {
	var document pauseAllDocument
	if err := in.Body.decode(&document); err != nil {
		return nil, err
	}
	sel, err := document.selection()
	if err != nil {
		return nil, err
	}
	b, err := a.Service.PauseAll(ctx, sel, document.Reason, document.DryRun)
	return answerBulk(document.DryRun, b, err)
}

type resumeAllInput struct{ Body body[resumeAllDocument] }

func (a *api) resumeAll(ctx context.Context, in *resumeAllInput) (*bulkAnswer, error) {
	var document resumeAllDocument
	if err := in.Body.decode(&document); err != nil {
		return nil, err
	}
	sel, err := document.selection()
	if err != nil {
		return nil, err
	}
	b, err := a.Service.ResumeAll(ctx, sel, document.DryRun)
	return answerBulk(document.DryRun, b, err)
}
