package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/riverbeat/riverbeat/app"
)

//go:generate go run ./contract

// Document is the OpenAPI document of the whole API, as JSON that reads well. The
// one that is served at /openapi.json is the same in fewer bytes.
func Document(version string) ([]byte, error) {
	gin.SetMode(gin.ReleaseMode)
	a := &api{Config: Config{Service: &app.Service{}}, huma: humagin.New(gin.New(), humaConfig(version))}
	a.routes()
	a.describe()
	text, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write the document: %w", err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, fmt.Errorf("indent the document: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// schemaName is what a type is called in the document, and so in the clients that
// are generated from it: scheduleDocument is a Schedule.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if name == "ListAnswerBody" {
		return "SchedulesAnswer" // beside CalendarsAnswer, RunsAnswer
	}
	return cmp.Or(strings.TrimSuffix(strings.TrimSuffix(name, "Body"), "Document"), name)
}

// parameterTexts describe parameters that don't do it themselves.
var parameterTexts = map[string]string{
	"name":        "What it is called.",
	"name_prefix": "Only those whose name begins so.",
	"state":       "Only those that are in this state.",
	"kind":        "Only those with jobs of this kind.",
	"page_size":   "How many there are on a page, at most.",
}

// tagTexts say what the operations of a tag are about. A tag that isn't here says
// its name.
var tagTexts = map[string]string{ //nolint:gosec // it tells of secrets, and holds none
	"schedules":   "What runs when, and under which policy.",
	"runs":        "What became of the occurrences, one line each, and running at once.",
	"calendars":   "Named days on which schedules don't run.",
	"preview":     "When something would run, without storing it.",
	"propagation": "Which scheduler has which change in force.",
	"tokens":      "Who may do what.",
	"secrets":     "What webhooks are signed with. They are never shown.",
	"events":      "What happens, as it happens.",
	"revisions":   "What changed, who changed it, and the way back.",
	"apply":       "All schedules of a file at once.",
	"health":      "How the process is.",
}

// describe completes the document that Huma has made of the routes: whatever is
// true of every operation isn't written at each of them. It takes all from the
// routes, so that a new one needs nothing here.
func (a *api) describe() {
	doc := a.huma.OpenAPI()
	doc.Info.Contact = &huma.Contact{Name: "riverbeat", URL: "https://github.com/riverbeat/riverbeat"}
	doc.Info.License = &huma.License{Name: "MIT", URL: "https://opensource.org/license/mit"}
	doc.Servers = []*huma.Server{{URL: "/", Description: "The one that serves this document"}}
	doc.Components.Responses = map[string]*huma.Response{}
	delete(doc.Components.Schemas.Map(), "JobStanding") // it stands where it is used, since it may be null
	e := examples{schemas: doc.Components.Schemas.Map()}
	tags := map[string]bool{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		for _, op := range operationsOf(doc.Paths[path]) {
			for _, tag := range op.Tags {
				tags[tag] = true
			}
			a.describeErrors(op)
			if op.Description == "" {
				op.Description = op.Summary
				if !strings.HasSuffix(op.Summary, "?") {
					op.Description += "."
				}
			}
			for _, p := range op.Parameters {
				p.Example = e.parameter(p)
				if p.Description == "" {
					p.Description = cmp.Or(parameterTexts[p.Name], sentence(strings.ReplaceAll(p.Name, "_", " ")))
				}
			}
			e.operation(op)
		}
	}
	doc.Tags = nil
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: tag, Description: cmp.Or(tagTexts[tag], sentence(tag))})
	}
	if item := doc.Paths["/readyz"]; item != nil { // not a problem: it has the same to say
		item.Get.Responses["503"] = &huma.Response{
			Description: "Something is missing that can't be done without", Content: item.Get.Responses["200"].Content,
		}
	}
}

func operationsOf(item *huma.PathItem) (list []*huma.Operation) {
	for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete, item.Patch} {
		if op != nil {
			list = append(list, op)
		}
	}
	return list
}

// errorsOfAll are the refusals that no operation needs to name.
func errorsOfAll(op *huma.Operation) []int {
	list := []int{http.StatusMisdirectedRequest, http.StatusUnprocessableEntity, http.StatusInternalServerError}
	if strings.HasPrefix(op.Path, "/v1/") {
		list = append(list, http.StatusBadRequest, http.StatusUnsupportedMediaType, http.StatusServiceUnavailable)
	}
	if op.Method != http.MethodGet {
		list = append(list, http.StatusForbidden)
	}
	if op.RequestBody != nil {
		list = append(list, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge)
	}
	return list
}

// describeErrors makes each error of the operation a reference to the one answer
// that all operations share.
func (a *api) describeErrors(op *huma.Operation) {
	statuses := errorsOfAll(op)
	for code := range op.Responses {
		if status, err := strconv.Atoi(code); err == nil && status >= 400 {
			statuses = append(statuses, status)
		}
	}
	delete(op.Responses, "default")
	components := a.huma.OpenAPI().Components
	for _, status := range statuses {
		name := strings.ReplaceAll(http.StatusText(status), " ", "")
		if components.Responses[name] == nil {
			components.Responses[name] = a.errorAnswer(status)
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Ref: "#/components/responses/" + name}
	}
}

// errorTexts say when there is such an answer, and give an example of its detail.
var errorTexts = map[int]struct{ when, detail string }{
	http.StatusBadRequest:            {"The body or the query can't be read", "The body isn't JSON: it ends too early, at byte 34, in spec.every."},
	http.StatusUnauthorized:          {"There is no valid token", "A valid API token is needed: Authorization: Bearer rb_…"},
	http.StatusForbidden:             {"The token, or where the request comes from, doesn't allow it", "Writes from other sites are refused."},
	http.StatusNotFound:              {"There is no such thing, or none that the token sees", "There is no such schedule."},
	http.StatusRequestTimeout:        {"The body didn't come in time", "Timed out."},
	http.StatusConflict:              {"What is there already doesn't allow it", "Another schedule of the namespace has this name."},
	http.StatusPreconditionFailed:    {"It isn't the version that If-Match names", "It has changed since it was read: read it again."},
	http.StatusRequestEntityTooLarge: {"The body is too large", fmt.Sprintf("The body must be smaller than %d bytes.", maxBodyBytes)},
	http.StatusUnsupportedMediaType:  {"The body is something else", "The body must be application/json."},
	http.StatusMisdirectedRequest:    {"The server is for this machine alone, and was asked for by another name", "This server answers to localhost and to addresses only."},
	http.StatusUnprocessableEntity:   {"A field or a parameter is wrong: errors names each", "One field is wrong."},
	http.StatusTooManyRequests:       {"Too many requests: Retry-After says when to go on", "Too many requests with this token."},
	http.StatusInternalServerError:   {"A fault of the server: its log says which, under the id of X-Request-Id", ""},
	http.StatusServiceUnavailable:    {"The database can't be reached or is busy: Retry-After says when to try again", "The database can't be reached or is busy. Try again."},
}

func (a *api) errorAnswer(status int) *huma.Response {
	text := errorTexts[status]
	p := &problem{Status: status, Detail: text.detail}
	if status == http.StatusUnprocessableEntity {
		p.Errors = []fieldProblem{{Field: "spec.cron", Reason: "must have 5 fields, or 6 with leading seconds"}}
	}
	answer := &huma.Response{
		Description: cmp.Or(text.when, http.StatusText(status)),
		Content: map[string]*huma.MediaType{"application/problem+json": {
			Schema: a.huma.OpenAPI().Components.Schemas.Schema(typeOf[problem](), true, "problem"), Example: p,
		}},
	}
	switch status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		answer.Headers = map[string]*huma.Header{"Retry-After": {
			Description: "Seconds", Schema: &huma.Schema{Type: huma.TypeInteger}, Example: 1,
		}}
	case http.StatusUnauthorized:
		answer.Headers = map[string]*huma.Header{"WWW-Authenticate": {Schema: &huma.Schema{Type: huma.TypeString}, Example: `Bearer realm="riverbeat"`}}
	}
	return answer
}

// examples makes examples from those of the fields.
type examples struct{ schemas map[string]*huma.Schema }

func (e examples) resolve(s *huma.Schema) *huma.Schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return e.schemas[name]
	}
	return s
}

// operation gives an example to what is sent and to what is answered.
func (e examples) operation(op *huma.Operation) {
	if op.RequestBody != nil {
		for _, media := range op.RequestBody.Content {
			if media.Schema == nil || media.Example != nil {
				continue
			}
			s := e.resolve(media.Schema)
			if len(s.Examples) > 0 {
				media.Example = s.Examples[0]
			} else if s.Type == huma.TypeObject {
				media.Example = e.of("", s, false)
			}
		}
	}
	for code, answer := range op.Responses {
		for contentType, media := range answer.Content {
			if code < "300" && contentType == "application/json" && media.Schema != nil && media.Example == nil {
				media.Example = e.of("", media.Schema, true)
			}
		}
	}
}

func (e examples) parameter(p *huma.Param) any {
	if p.Example != nil {
		return p.Example
	}
	if example := e.of(p.Name, e.resolve(p.Schema), true); example != "" {
		return example
	}
	return nil
}

// exampleTexts are examples of fields that have none of their own.
var exampleTexts = map[string]string{
	"namespace": "default", "schedule_name": "nightly-report", "host": "worker-1", "version": "v1.0.0", "last_job_id": "4711", "job_id": "4711",
	"name": "nightly-report", "name_prefix": "nightly-", "kind": "webhook", "label": "team:growth", "timeout": "5s", "until": "2026-11-25T00:00:00Z",
}

// of is an example of the named field; an answer has also what is read only.
func (e examples) of(name string, s *huma.Schema, answer bool) any {
	s = e.resolve(s)
	text, known := exampleTexts[name]
	switch {
	case s.Type == huma.TypeObject && s.Properties != nil:
		return e.object(s, answer)
	case len(s.Examples) > 0:
		return s.Examples[0]
	case s.Default != nil:
		return s.Default
	case len(s.Enum) > 0:
		return s.Enum[0]
	case s.Nullable && !known && s.Format == "":
		return nil
	}
	switch s.Type {
	case huma.TypeArray:
		return []any{e.of(name, s.Items, answer)}
	case huma.TypeObject:
		return map[string]any{}
	case huma.TypeBoolean:
		return false
	case huma.TypeInteger, huma.TypeNumber:
		if s.Minimum != nil {
			return max(*s.Minimum, 1)
		}
		return 1
	}
	switch s.Format {
	case "date-time":
		return "2026-11-24T18:00:00Z"
	case "date":
		return "2026-12-25"
	case "uuid":
		return "0190b6a4-7a3e-7a5c-9d3f-0a3b5c7d9e1f"
	}
	return text
}

// object takes the example of the whole where there is one, and those of the
// fields for what it lacks.
func (e examples) object(s *huma.Schema, answer bool) any {
	whole := map[string]any{}
	if len(s.Examples) > 0 {
		if text, err := json.Marshal(s.Examples[0]); err == nil {
			_ = json.Unmarshal(text, &whole) // one that isn't an object lacks everything
		}
	}
	for name, property := range s.Properties {
		if _, ok := whole[name]; ok || property.ReadOnly && !answer {
			continue
		}
		if alone := name == "every" || name == "at"; alone && s.Properties["cron"] != nil {
			continue // exactly one of the three
		}
		if !answer && !slices.Contains(s.Required, name) {
			continue
		}
		whole[name] = e.of(name, property, answer)
	}
	return whole
}
