package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

const (
	applyPath = "/v1/apply"

	// maxApplyBytes is the largest body that is applied: 10,000 schedules of more than
	// a kilobyte.
	maxApplyBytes = 16 << 20

	// maxYAMLBytes is the largest YAML: it takes many times its size to read.
	maxYAMLBytes = 4 << 20
)

func (a *api) applyRoutes() {
	handle(a, huma.Operation{
		OperationID: "apply", Method: http.MethodPost, Path: applyPath, Tags: []string{"apply"},
		Summary: "Make, change and delete schedules so that they are as said",
		Description: "Schedules are known by namespace and name. All of it is done in one transaction, or nothing is; what is as it is to be isn't touched, " +
			"so that the same once more writes nothing. What a schedule leaves out gets its default, but for paused: a schedule that was paused meanwhile stays so unless the document says otherwise. " +
			"The schedulers plan the next runs at once. The body may be YAML too, and have 16 MiB, 4 of YAML. The token needs the scope read too, since the answer tells what there is.",
		Errors: []int{400, 409, 413, 415, 422, 503},
	}, a.apply)
	content := a.huma.OpenAPI().Paths[applyPath].Post.RequestBody.Content
	content["application/yaml"] = content["application/json"]
}

// applyDocument is what there is to be, in JSON.
type applyDocument struct {
	Namespace string             `json:"namespace" required:"false" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"Of the schedules that name none, and of prune; when it is left out, the token's only namespace, else default."`
	Schedules []scheduleDocument `json:"schedules" nullable:"false" maxItems:"10000"`
	Prune     string             `json:"prune" required:"false" example:"team=growth" doc:"A selector by labels, at most 4,096 bytes: schedules of the namespace that it selects and that aren't in the list are deleted. Each of the list must be in the namespace, and be selected."`
	DryRun    bool               `json:"dry_run" required:"false" doc:"Only say what would change."`
}

// TransformSchema is huma.SchemaTransformer.
func (applyDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{
		"prune": "team=growth",
		"dry_run": true,
		"schedules": [{
			"name": "nightly-report",
			"labels": {"team": "growth"},
			"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo"},
			"job": {"kind": "webhook", "args": {"url": "https://example.com/hook", "body": {"report": "nightly"}}}
		}]
	}`)}
	return s
}

// appliedDocument is a schedule that has changed, in JSON.
type appliedDocument struct {
	Op        string        `json:"op" enum:"created,updated,deleted"`
	ID        *string       `json:"id" format:"uuid" doc:"null: a dry run would give it one."`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Version   *int64        `json:"version" doc:"That it has now; null: it is deleted."`
	Changes   []fieldChange `json:"changes" nullable:"false" doc:"What differs; of a creation or a deletion, nothing."`
}

type applyInput struct{ Body body[applyDocument] }

type applyAnswer struct {
	Body struct {
		DryRun    bool              `json:"dry_run" doc:"Nothing was written: it says what would change."`
		Created   int               `json:"created"`
		Updated   int               `json:"updated"`
		Deleted   int               `json:"deleted"`
		Unchanged int               `json:"unchanged" doc:"How many were as they are to be."`
		Changes   []appliedDocument `json:"changes" nullable:"false" doc:"In the order of namespace and name."`
	}
}

func (a *api) apply(ctx context.Context, in *applyInput) (*applyAnswer, error) {
	application, err := readApplication(ctx, in.Body.raw)
	if err != nil {
		return nil, err
	}
	changes, unchanged, err := a.Service.Apply(ctx, application)
	if err != nil {
		return nil, err
	}
	out := &applyAnswer{}
	out.Body.DryRun, out.Body.Unchanged = application.DryRun, unchanged
	out.Body.Changes = make([]appliedDocument, len(changes))
	for i := range changes {
		c := &changes[i]
		s := c.Schedule()
		d := appliedDocument{Op: "updated", ID: new(s.ID.String()), Namespace: s.Namespace, Name: s.Name, Version: &s.Version, Changes: changesBetween(c.Before, c.After)}
		switch {
		case c.Before == nil:
			d.Op = "created"
			out.Body.Created++
			if application.DryRun {
				d.ID = nil
			}
		case c.After == nil:
			d.Op, d.Version = "deleted", nil
			out.Body.Deleted++
		default:
			out.Body.Updated++
		}
		out.Body.Changes[i] = d
	}
	return out, nil
}

// readApplication reads the document, each schedule by itself, so that errors name it.
func readApplication(ctx context.Context, raw []byte) (application app.Application, err error) {
	if isYAML(ctx) {
		if len(raw) > maxYAMLBytes {
			return application, tooLarge(maxYAMLBytes)
		}
		if raw, err = FromYAML(raw); err != nil {
			return application, &problem{Status: http.StatusBadRequest, Detail: short("The body isn't YAML that is also JSON: " + strings.ReplaceAll(err.Error(), "\n", " ") + ".")}
		}
	}
	var d struct {
		Namespace string           `json:"namespace"`
		Schedules []jsontext.Value `json:"schedules"`
		Prune     string           `json:"prune"`
		DryRun    bool             `json:"dry_run"`
	}
	if err := decodeStrict(raw, &d); err != nil {
		return application, err
	}
	if d.Namespace != "" && !schedule.ValidNamespace(d.Namespace) {
		return application, schedule.Invalid("namespace", schedule.NameRule)
	}
	application = app.Application{Namespace: home(ctx, d.Namespace), DryRun: d.DryRun}
	if d.Prune != "" {
		if application.Prune, err = schedule.ParseSelector(d.Prune); err != nil {
			return application, schedule.Invalid("prune", err.Error())
		}
	}
	if d.Schedules == nil {
		return application, schedule.Invalid("schedules", "is missing")
	}
	var wrong error
	for i, raw := range d.Schedules {
		wanted, err := readWanted(raw, application.Namespace)
		var invalid *schedule.InvalidError
		if err := app.InSchedule(i, err); errors.As(err, &invalid) {
			wrong = schedule.AddFields(wrong, invalid.Fields)
		} else if err != nil {
			return application, err
		}
		application.Schedules = append(application.Schedules, wanted)
	}
	return application, wrong
}

func readWanted(raw jsontext.Value, namespace string) (wanted app.Wanted, err error) {
	if raw.Kind() != '{' {
		return wanted, schedule.Invalid("", "must be an object")
	}
	if wanted.Schedule, err = decodeDefinition(raw, namespace); err != nil {
		return wanted, err
	}
	var said struct {
		Paused      *bool   `json:"paused"`
		PauseReason *string `json:"pause_reason"`
	}
	wanted.KeepsPause = json.Unmarshal(raw, &said) == nil && said.Paused == nil && said.PauseReason == nil
	return wanted, nil
}

// yamlTypes are what YAML is called.
var yamlTypes = []string{"application/yaml", "application/x-yaml", "text/yaml"}

type yamlKey struct{}

// isYAML reports whether the request's body is YAML.
func isYAML(ctx context.Context) bool { return ctx.Value(yamlKey{}) != nil }
