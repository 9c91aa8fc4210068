package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

const (
	calendarPath = "/v1/calendars/{name}"
	importPath   = "/v1/calendars/:name/import" // as gin has it
)

func (a *api) calendarRoutes() {
	tags := []string{"calendars"}
	handleWrite(a, huma.Operation{
		OperationID: "create-calendar", Method: http.MethodPost, Path: "/v1/calendars", Tags: tags,
		Summary: "Create a calendar", Description: "A named set of days on which the schedules of its namespace that name it don't run.",
		DefaultStatus: http.StatusCreated, Errors: []int{400, 409, 413, 415, 422, 503},
	}, a.createCalendar)
	handle(a, huma.Operation{
		OperationID: "list-calendars", Method: http.MethodGet, Path: "/v1/calendars", Tags: tags,
		Summary: "List a namespace's calendars, by name", Errors: []int{422, 503},
	}, a.listCalendars)
	handle(a, huma.Operation{
		OperationID: "get-calendar", Method: http.MethodGet, Path: calendarPath, Tags: tags,
		Summary: "Read a calendar", Errors: []int{404, 422, 503},
	}, a.getCalendar)
	handleWrite(a, huma.Operation{
		OperationID: "replace-calendar", Method: http.MethodPut, Path: calendarPath, Tags: tags,
		Summary:     "Replace what a calendar says",
		Description: "The schedules that name it are planned anew. What the document leaves out gets its default; namespace and name stay.",
		Errors:      []int{400, 404, 412, 413, 415, 422, 503},
	}, a.replaceCalendar)
	handleWrite(a, huma.Operation{
		OperationID: "patch-calendar", Method: http.MethodPatch, Path: calendarPath, Tags: tags,
		Summary:     "Change parts of a calendar",
		Description: "A JSON merge patch (RFC 7396): null sets a field back to its default; days are replaced as a whole.",
		Errors:      []int{400, 404, 412, 413, 415, 422, 503},
	}, a.patchCalendar)
	patchContent := a.huma.OpenAPI().Paths[calendarPath].Patch.RequestBody.Content
	patchContent["application/merge-patch+json"] = patchContent["application/json"]
	handleWrite(a, huma.Operation{
		OperationID: "delete-calendar", Method: http.MethodDelete, Path: calendarPath, Tags: tags,
		Summary: "Delete a calendar", Description: "409 while a schedule names it.",
		DefaultStatus: http.StatusNoContent, Errors: []int{404, 409, 412, 422, 503},
	}, a.deleteCalendar)
	handleWrite(a, huma.Operation{
		OperationID: "import-calendar", Method: http.MethodPost, Path: calendarPath + "/import", Tags: tags,
		Summary: "Replace a calendar's days by those of an iCalendar file",
		Description: "The file (.ics, RFC 5545) as public holidays are published: each event is a range of days. " +
			"Yearly events repeat up to until_year. The calendar must exist; its zone and weekends stay.",
		Errors: []int{400, 404, 412, 413, 415, 422, 503},
	}, a.importCalendar)
}

// calendarDocument is a calendar in JSON.
type calendarDocument struct {
	Namespace string        `json:"namespace" required:"false" default:"default" pattern:"^[a-z0-9][a-z0-9-]{0,62}$"`
	Name      string        `json:"name" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" example:"jp-holidays" doc:"Unique in its namespace. It never changes: schedules name the calendar by it."`
	Timezone  string        `json:"timezone" required:"false" default:"UTC" example:"Asia/Tokyo" doc:"The IANA zone by whose clock the days begin and end."`
	Weekends  bool          `json:"weekends" required:"false" doc:"Every Saturday and Sunday as well."`
	Days      []dayDocument `json:"days" required:"false" nullable:"false" maxItems:"1000"`

	Version   int64      `json:"version" required:"false" readOnly:"true" doc:"Grows with each change."`
	CreatedAt *time.Time `json:"created_at" required:"false" readOnly:"true"`
	UpdatedAt *time.Time `json:"updated_at" required:"false" readOnly:"true"`
}

// TransformSchema is huma.SchemaTransformer.
func (calendarDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{
		"name": "jp-holidays", "timezone": "Asia/Tokyo", "weekends": true,
		"days": [{"from": "2026-12-31", "to": "2027-01-03", "name": "New Year"}, {"from": "2027-02-11", "name": "National Foundation Day"}]
	}`)}
	return s
}

// dayDocument is a day, or a range of days, in JSON.
type dayDocument struct {
	From date   `json:"from"`
	To   *date  `json:"to,omitempty" required:"false" doc:"The last day, included; the same day when it is left out."`
	Name string `json:"name,omitempty" required:"false" maxLength:"120" example:"New Year"`
}

// date is a day in JSON: "2026-12-25".
type date schedule.Date

// MarshalText is encoding.TextMarshaler.
func (d date) MarshalText() ([]byte, error) { return schedule.Date(d).MarshalText() }

// UnmarshalText is encoding.TextUnmarshaler.
func (d *date) UnmarshalText(text []byte) error { return (*schedule.Date)(d).UnmarshalText(text) }

// Schema is huma.SchemaProvider.
func (date) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date", Examples: []any{"2026-12-25"}}
}

func toCalendarDocument(c *schedule.Calendar) calendarDocument {
	d := calendarDocument{
		Namespace: c.Namespace, Name: c.Name, Timezone: c.Timezone, Weekends: c.Weekends, Days: make([]dayDocument, len(c.Days)),
		Version: c.Version, CreatedAt: optionalTime(c.CreatedAt), UpdatedAt: optionalTime(c.UpdatedAt),
	}
	for i, r := range c.Days {
		d.Days[i] = dayDocument{From: date(r.From), Name: r.Name}
		if r.To != r.From {
			d.Days[i].To = new(date(r.To))
		}
	}
	return d
}

// decodeCalendar reads what a calendar says; what it leaves out gets its default.
func decodeCalendar(raw []byte, key app.CalendarKey) (schedule.Calendar, error) {
	d := calendarDocument{Namespace: key.Namespace, Name: key.Name, Timezone: schedule.DefaultTimezone}
	if err := decodeStrict(raw, &d); err != nil {
		return schedule.Calendar{}, err
	}
	c := schedule.Calendar{Namespace: d.Namespace, Name: d.Name, Timezone: d.Timezone, Weekends: d.Weekends, Days: make([]schedule.DayRange, len(d.Days))}
	for i, day := range d.Days {
		c.Days[i] = schedule.DayRange{From: schedule.Date(day.From), To: schedule.Date(day.From), Name: day.Name}
		if day.To != nil {
			c.Days[i].To = schedule.Date(*day.To)
		}
	}
	return c, nil
}

// CalendarParams name the calendar that a request is about.
type CalendarParams struct {
	Name string `path:"name" example:"jp-holidays"`
	NamespaceParam
}

func (p *CalendarParams) key(ctx context.Context) (app.CalendarKey, error) {
	if !schedule.ValidNamespace(p.Name) { // their names look alike
		return app.CalendarKey{}, schedule.ErrNoCalendar
	}
	return app.CalendarKey{Namespace: home(ctx, p.Namespace), Name: p.Name}, nil
}

// calendarAnswer is one calendar.
type calendarAnswer struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     calendarDocument
}

func answerCalendar(c *schedule.Calendar, err error) (*calendarAnswer, error) {
	if err != nil {
		return nil, err
	}
	return &calendarAnswer{ETag: etag(c.Version), Body: toCalendarDocument(c)}, nil
}

type createCalendarInput struct {
	WaitParams
	Body body[calendarDocument]
}

func (a *api) createCalendar(ctx context.Context, in *createCalendarInput) (*calendarAnswer, error) {
	calendar, err := decodeCalendar(in.Body.raw, app.CalendarKey{Namespace: home(ctx, "")})
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*calendarAnswer, error) {
		out, err := answerCalendar(a.Service.CreateCalendar(ctx, calendar))
		if err == nil {
			out.Location = "/v1/calendars/" + out.Body.Name
			if out.Body.Namespace != schedule.DefaultNamespace {
				out.Location += "?namespace=" + out.Body.Namespace
			}
		}
		return out, err
	})
}

type calendarsInput struct {
	PageParams
	NamespaceParam
}

type calendarsAnswer struct {
	Body struct {
		Calendars     []calendarDocument `json:"calendars" nullable:"false"`
		NextPageToken string             `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func (a *api) listCalendars(ctx context.Context, in *calendarsInput) (*calendarsAnswer, error) {
	after, err := in.nameCursor()
	if err != nil {
		return nil, err
	}
	page, more, err := a.Service.Calendars(ctx, home(ctx, in.Namespace), after, in.size())
	if err != nil {
		return nil, err
	}
	out := &calendarsAnswer{}
	out.Body.Calendars = make([]calendarDocument, len(page))
	for i, c := range page {
		out.Body.Calendars[i] = toCalendarDocument(c)
	}
	if more {
		out.Body.NextPageToken = nameToken(page[len(page)-1].Name)
	}
	return out, nil
}

func (a *api) getCalendar(ctx context.Context, in *CalendarParams) (*calendarAnswer, error) {
	key, err := in.key(ctx)
	if err != nil {
		return nil, err
	}
	return answerCalendar(a.Service.Calendar(ctx, key))
}

// CalendarWrite is what every write of a calendar that exists names.
type CalendarWrite struct {
	CalendarParams
	IfMatch
	WaitParams
}

// editCalendar changes the calendar that the write names.
func (a *api) editCalendar(ctx context.Context, in *CalendarWrite, change func(*schedule.Calendar) error) (*calendarAnswer, error) {
	key, err := in.key(ctx)
	if err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*calendarAnswer, error) {
		return answerCalendar(a.Service.EditCalendar(ctx, key, version, change))
	})
}

type replaceCalendarInput struct {
	CalendarWrite
	Body body[calendarDocument]
}

func (a *api) replaceCalendar(ctx context.Context, in *replaceCalendarInput) (*calendarAnswer, error) {
	return a.editCalendar(ctx, &in.CalendarWrite, func(c *schedule.Calendar) (err error) {
		*c, err = decodeCalendar(in.Body.raw, app.CalendarKey{Namespace: c.Namespace, Name: c.Name})
		return err
	})
}

// calendarPatch is any part of a calendar.
type calendarPatch map[string]any

// TransformSchema is huma.SchemaTransformer.
func (calendarPatch) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"weekends": true}`)}
	return s
}

type patchCalendarInput struct {
	CalendarWrite
	Body body[calendarPatch]
}

func (a *api) patchCalendar(ctx context.Context, in *patchCalendarInput) (*calendarAnswer, error) {
	return a.editCalendar(ctx, &in.CalendarWrite, func(c *schedule.Calendar) error {
		before, err := json.Marshal(toCalendarDocument(c))
		if err != nil {
			return fmt.Errorf("write the calendar to patch: %w", err)
		}
		merged, err := mergePatch(before, in.Body.raw)
		if err != nil {
			return err
		}
		*c, err = decodeCalendar(merged, app.CalendarKey{Namespace: c.Namespace, Name: c.Name})
		return err
	})
}

func (a *api) deleteCalendar(ctx context.Context, in *CalendarWrite) (*deletedAnswer, error) {
	key, err := in.key(ctx)
	if err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*deletedAnswer, error) {
		return &deletedAnswer{calendar: &key}, a.Service.DeleteCalendar(ctx, key, version)
	})
}

// defaultUntil is how many years from now yearly events repeat when nobody says.
const defaultUntil = 10

type importInput struct {
	CalendarWrite
	UntilYear int    `query:"until_year" minimum:"1970" maximum:"9998" doc:"The last year of yearly events; ten years from now when it is left out."`
	RawBody   []byte `contentType:"text/calendar"`
}

func (a *api) importCalendar(ctx context.Context, in *importInput) (*calendarAnswer, error) {
	days, err := schedule.ParseICalendar(bytes.NewReader(in.RawBody), cmp.Or(in.UntilYear, time.Now().Year()+defaultUntil))
	if err != nil {
		return nil, schedule.Invalid("file", err.Error())
	}
	return a.editCalendar(ctx, &in.CalendarWrite, func(c *schedule.Calendar) error {
		c.Days = days
		return nil
	})
}
