package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

const alertPath = "/v1/alerts/{name}"

func (a *api) alertRoutes() {
	tags := []string{"alerts"}
	handle(a, huma.Operation{
		OperationID: "list-alerts", Method: http.MethodGet, Path: "/v1/alerts", Tags: tags,
		Summary: "List a namespace's alerts, by name", Errors: []int{422, 503},
	}, a.listAlerts)
	handle(a, huma.Operation{
		OperationID: "get-alert", Method: http.MethodGet, Path: alertPath, Tags: tags,
		Summary: "Read an alert", Errors: []int{404, 422, 503},
	}, a.getAlert)
	handle(a, huma.Operation{
		OperationID: "put-alert", Method: http.MethodPut, Path: alertPath, Tags: tags,
		Summary: "Write an alert",
		Description: "It is made if there is none. Its webhook is told when a trouble of a schedule begins and when it is over, once each, " +
			"however many runs it lasts: `schedule.failed`, `schedule.missed`, `schedule.invalid` and `schedule.recovered`. " +
			"Saving the same writes nothing.",
		Errors: []int{400, 412, 413, 415, 422, 503},
	}, a.putAlert)
	alsoCreates(a.huma.OpenAPI().Paths[alertPath].Put)
	handle(a, huma.Operation{
		OperationID: "delete-alert", Method: http.MethodDelete, Path: alertPath, Tags: tags,
		Summary: "Delete an alert", DefaultStatus: http.StatusNoContent, Errors: []int{404, 412, 422, 503},
	}, a.deleteAlert)
}

// alertDocument is an alert in JSON.
type alertDocument struct {
	Namespace string            `json:"namespace" required:"false" default:"default" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"That of the request: it never changes."`
	Name      string            `json:"name" required:"false" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" example:"on-call" doc:"That of the request."`
	On        []string          `json:"on" required:"false" nullable:"false" enum:"failed,missed,invalid" doc:"The troubles to tell of; all when it is left out. failed: the last of its jobs that River finished has failed, for good; missed: a run was missed, and none enqueued since; invalid: it is set aside." example:"[\"failed\", \"missed\", \"invalid\"]"`
	Labels    map[string]string `json:"labels" required:"false" doc:"Only schedules that have all of these; all of the namespace when it is left out." example:"{\"team\": \"growth\"}"`
	Webhook   json.RawMessage   `json:"webhook" doc:"The args of a webhook job, without method and body."`

	Version   int64      `json:"version" required:"false" readOnly:"true" doc:"Grows with each change."`
	CreatedAt *time.Time `json:"created_at" required:"false" readOnly:"true"`
	UpdatedAt *time.Time `json:"updated_at" required:"false" readOnly:"true"`
}

// TransformSchema is huma.SchemaTransformer.
func (alertDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["webhook"].Type, s.Properties["webhook"].AdditionalProperties = huma.TypeObject, true
	s.Examples = []any{json.RawMessage(`{
		"on": ["failed", "missed"], "labels": {"team": "growth"},
		"webhook": {"url": "https://example.com/alerts", "signing_secret": "hooks"}
	}`)}
	return s
}

func toAlertDocument(a *schedule.Alert) alertDocument {
	d := alertDocument{
		Namespace: a.Namespace, Name: a.Name, On: []string{}, Labels: a.Labels, Webhook: a.Webhook,
		Version: a.Version, CreatedAt: optionalTime(a.CreatedAt), UpdatedAt: optionalTime(a.UpdatedAt),
	}
	for _, trouble := range a.On {
		d.On = append(d.On, string(trouble))
	}
	return d
}

// decodeAlert reads what an alert says; what it leaves out gets its default.
func decodeAlert(raw []byte, key app.AlertKey) (schedule.Alert, error) {
	d := alertDocument{Namespace: key.Namespace, Name: key.Name}
	if err := decodeStrict(raw, &d); err != nil {
		return schedule.Alert{}, err
	}
	var wrong []schedule.FieldError
	if d.Namespace != key.Namespace {
		wrong = append(wrong, schedule.FieldError{Field: "namespace", Reason: "must be that of the request, or left out"})
	}
	if d.Name != key.Name {
		wrong = append(wrong, schedule.FieldError{Field: "name", Reason: "must be that of the request, or left out"})
	}
	if len(wrong) > 0 {
		return schedule.Alert{}, schedule.AddFields(nil, wrong)
	}
	a := schedule.Alert{Namespace: key.Namespace, Name: key.Name, Labels: d.Labels, Webhook: d.Webhook}
	if a.Labels == nil {
		a.Labels = map[string]string{}
	}
	for _, trouble := range d.On {
		a.On = append(a.On, schedule.Trouble(trouble))
	}
	if d.On == nil {
		a.On = schedule.Troubles
	}
	return a, nil
}

// AlertParams name the alert that a request is about.
type AlertParams struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" example:"on-call"`
	NamespaceParam
}

func (p *AlertParams) key(ctx context.Context) app.AlertKey {
	return app.AlertKey{Namespace: home(ctx, p.Namespace), Name: p.Name}
}

// alertAnswer is one alert.
type alertAnswer struct {
	Status int
	ETag   string `header:"ETag"`
	Body   alertDocument
}

func answerAlert(alert *schedule.Alert, created bool, err error) (*alertAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &alertAnswer{Status: http.StatusOK, ETag: etag(alert.Version), Body: toAlertDocument(alert)}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

type alertsInput struct {
	PageParams
	NamespaceParam
}

type alertsAnswer struct {
	Body struct {
		Alerts        []alertDocument `json:"alerts" nullable:"false"`
		NextPageToken string          `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func (a *api) listAlerts(ctx context.Context, in *alertsInput) (*alertsAnswer, error) {
	after, err := in.nameCursor()
	if err != nil {
		return nil, err
	}
	page, more, err := a.Service.Alerts(ctx, home(ctx, in.Namespace), after, in.size())
	if err != nil {
		return nil, err
	}
	out := &alertsAnswer{}
	out.Body.Alerts = make([]alertDocument, len(page))
	for i, alert := range page {
		out.Body.Alerts[i] = toAlertDocument(alert)
	}
	if more {
		out.Body.NextPageToken = nameToken(page[len(page)-1].Name)
	}
	return out, nil
}

func (a *api) getAlert(ctx context.Context, in *AlertParams) (*alertAnswer, error) {
	alert, err := a.Service.Alert(ctx, in.key(ctx))
	return answerAlert(alert, false, err)
}

type putAlertInput struct {
	AlertParams
	IfMatch
	Body body[alertDocument]
}

func (a *api) putAlert(ctx context.Context, in *putAlertInput) (*alertAnswer, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	alert, err := decodeAlert(in.Body.raw, in.key(ctx))
	if err != nil {
		return nil, err
	}
	return answerAlert(a.Service.PutAlert(ctx, alert, version))
}

type deleteAlertInput struct {
	AlertParams
	IfMatch
}

func (a *api) deleteAlert(ctx context.Context, in *deleteAlertInput) (*struct{}, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, a.Service.DeleteAlert(ctx, in.key(ctx), version)
}
