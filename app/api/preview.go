package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

const (
	defaultPreview = 10
	maxPreview     = 1000
)

// previewDocument asks when a spec would run.
type previewDocument struct {
	Spec      *specDocument `json:"spec" required:"false"`
	Schedule  string        `json:"schedule" required:"false" doc:"Instead of spec: the id of a stored schedule, or name: and its name." example:"name:nightly-report"`
	Namespace string        `json:"namespace" required:"false" default:"default" doc:"Where calendars and the schedule's name are looked up."`
	From      *time.Time    `json:"from" required:"false" doc:"Runs after this instant; now when it is left out."`
	To        *time.Time    `json:"to" required:"false" doc:"Runs up to this instant, included; then total says how many there are."`
	Count     *int          `json:"count" required:"false" minimum:"1" maximum:"1000" default:"10"`
}

// TransformSchema is huma.SchemaTransformer.
func (previewDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo"}, "count": 5}`)}
	return s
}

// previewRun is one run that would come.
type previewRun struct {
	At    time.Time `json:"at" doc:"In UTC."`
	Local string    `json:"local" doc:"In the spec's zone." example:"2026-11-25T03:00:00+09:00"`
	Note  string    `json:"note" doc:"What is out of the ordinary about it: what a clock change, a calendar or jitter does to it; else empty."`
}

type previewAnswer struct {
	Body struct {
		Description string       `json:"description" doc:"The spec in words, in the language of Accept-Language (en, ja)." example:"At 03:00 on weekdays, Asia/Tokyo"`
		Runs        []previewRun `json:"runs" nullable:"false"`
		Excluded    []previewRun `json:"excluded" nullable:"false" doc:"What calendars take away, up to the end of the list of runs, at most 1,000; their notes say which calendar and day."`
		Total       *int64       `json:"total" doc:"How many runs lie between from and to, listed or not; null without to. With calendars it ends after 100 years, and where excluded runs move at 10,000."`
	}
}

func (a *api) preview(ctx context.Context, in *struct{ Body body[previewDocument] }) (*previewAnswer, error) {
	document := previewDocument{Namespace: home(ctx, "")}
	if err := in.Body.decode(&document); err != nil {
		return nil, err
	}
	within, err := document.within(time.Now())
	if err != nil {
		return nil, err
	}
	preview, err := a.previewOf(ctx, in.Body.raw, &document, within)
	if err != nil {
		return nil, err
	}
	out := &previewAnswer{}
	out.Body.Description = schedule.Describe(preview.Spec, languageOf(ctx))
	if document.To != nil {
		out.Body.Total = &preview.Total
	}
	out.Body.Runs, out.Body.Excluded = previewRuns(preview.Runs), previewRuns(preview.Excluded)
	return out, nil
}

// previewOf previews what the document names: a spec or a stored schedule.
func (a *api) previewOf(ctx context.Context, raw []byte, document *previewDocument, within app.PreviewRange) (app.Preview, error) {
	if !schedule.ValidNamespace(document.Namespace) {
		return app.Preview{}, schedule.Invalid("namespace", schedule.NameRule)
	}
	switch {
	case document.Schedule == "" && document.Spec == nil:
		return app.Preview{}, schedule.Invalid("spec", "is missing: give a spec, or a schedule")
	case document.Schedule != "" && document.Spec != nil:
		return app.Preview{}, schedule.Invalid("schedule", "can't be given together with spec")
	case document.Schedule != "":
		key, err := scheduleKey("schedule", document.Schedule, document.Namespace)
		if err != nil {
			return app.Preview{}, err
		}
		return a.Service.PreviewSchedule(ctx, key, within)
	}
	// Read once more, into a spec that has every default set.
	defaults := newDocument().Spec
	document.Spec = &defaults
	if err := decodeStrict(raw, document); err != nil {
		return app.Preview{}, err
	}
	return a.Service.PreviewSpec(ctx, document.Namespace, document.Spec.spec(), within)
}

// within is the range that the document asks for.
func (d *previewDocument) within(now time.Time) (r app.PreviewRange, err error) {
	r = app.PreviewRange{From: now, Count: defaultPreview}
	if d.Count != nil {
		if r.Count = *d.Count; r.Count < 1 || r.Count > maxPreview {
			return r, schedule.Invalid("count", fmt.Sprintf("must be from 1 to %d", maxPreview))
		}
	}
	if d.From != nil {
		if r.From = *d.From; !shown(r.From) {
			return r, schedule.Invalid("from", "must be between the years 1970 and 9998")
		}
	}
	if d.To != nil {
		if r.To = *d.To; !shown(r.To) {
			return r, schedule.Invalid("to", "must be between the years 1970 and 9998")
		}
		if !r.To.After(r.From) {
			return r, schedule.Invalid("to", "must be after from")
		}
	}
	return r, nil
}

func previewRuns(runs []app.PreviewRun) []previewRun {
	list := make([]previewRun, len(runs))
	for i, run := range runs {
		list[i] = previewRun{At: run.At, Local: run.Local.Format(time.RFC3339Nano), Note: run.Note}
	}
	return list
}
