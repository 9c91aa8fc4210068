package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (a *api) revisionRoutes() {
	revisions, all := []string{"revisions"}, "/v1/schedules/{id}/revisions"
	one := all + "/{version}"
	handle(a, huma.Operation{
		OperationID: "list-revisions", Method: http.MethodGet, Path: all, Tags: revisions,
		Summary:     "List what changed a schedule, newest first",
		Description: "Also of one that is gone, by its id. Revisions are kept for RIVERBEAT_REVISION_RETENTION.",
		Errors:      []int{404, 422, 503},
	}, a.revisions)
	handle(a, huma.Operation{
		OperationID: "get-revision", Method: http.MethodGet, Path: one, Tags: revisions,
		Summary: "Read a revision, by the version that it made", Errors: []int{404, 422, 503},
	}, a.revision)
	handleWrite(a, huma.Operation{
		OperationID: "restore-revision", Method: http.MethodPost, Path: one + "/restore", Tags: revisions,
		Summary:     "Give a schedule the definition that a revision has left",
		Description: "That makes a new version. A schedule that is gone is made anew, with another id and a 201.",
		Errors:      []int{404, 409, 412, 422, 503},
	}, a.restore)
	alsoCreates(a.huma.OpenAPI().Paths[one+"/restore"].Post)
}

// revisionDocument is a change of a schedule, in JSON.
type revisionDocument struct {
	ScheduleID string        `json:"schedule_id" format:"uuid"`
	Version    int64         `json:"version" doc:"That it made; of a deletion, the one behind the last."`
	Op         string        `json:"op" enum:"created,updated,deleted"`
	How        string        `json:"how" enum:"api,sql,apply,import"`
	Actor      string        `json:"actor" example:"growth, deployments" doc:"Who changed it: what the token is called, or the database's user."`
	ChangedAt  time.Time     `json:"changed_at"`
	Changes    []fieldChange `json:"changes" nullable:"false" doc:"What differs between before and after; of a creation or a deletion, nothing."`
	Before     any           `json:"before" doc:"The definition before it; null: there was none."`
	After      any           `json:"after" doc:"The definition after it; null: there is none."`
}

// TransformSchema is huma.SchemaTransformer.
func (revisionDocument) TransformSchema(r huma.Registry, s *huma.Schema) *huma.Schema {
	for _, side := range []string{"before", "after"} {
		// One that may be null can't be a reference.
		definition := huma.SchemaFromType(r, typeOf[scheduleDocument]())
		definition.Properties = maps.Clone(definition.Properties)
		maps.DeleteFunc(definition.Properties, func(_ string, p *huma.Schema) bool { return p.ReadOnly })
		definition.Nullable, definition.Description = true, s.Properties[side].Description
		s.Properties[side] = definition
	}
	return s
}

// fieldChange is a field that differs.
type fieldChange struct {
	Field  string `json:"field" example:"spec.cron"`
	Before any    `json:"before" example:"\"0 3 * * *\"" doc:"null: it wasn't set."`
	After  any    `json:"after" example:"\"0 4 * * *\"" doc:"null: it isn't set."`
}

func toRevisionDocument(r *app.Revision) revisionDocument {
	d := revisionDocument{
		ScheduleID: r.ScheduleID.String(), Version: r.Version, Op: r.Op, How: string(r.How), Actor: r.Actor, ChangedAt: r.ChangedAt,
		Changes: changesBetween(r.Before, r.After),
	}
	if r.Before != nil {
		d.Before = definitionFields(r.Before)
	}
	if r.After != nil {
		d.After = definitionFields(r.After)
	}
	return d
}

// definitionFields is what users write of a schedule, in JSON.
func definitionFields(s *schedule.Schedule) map[string]any {
	text, err := json.Marshal(definitionDocument(s))
	if err != nil {
		panic(fmt.Errorf("write a definition: %w", err)) // of which the args alone could be no JSON
	}
	root, err := tree(text)
	if err != nil {
		panic(fmt.Errorf("read a definition: %w", err))
	}
	fields := root.(map[string]any)
	dropReadOnly(fields, typeOf[scheduleDocument]())
	dropReadOnly(fields["spec"].(map[string]any), typeOf[specDocument]())
	return fields
}

func dropReadOnly(fields map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("readOnly") == "true" {
			delete(fields, f.Tag.Get("json"))
		}
	}
}

// changesBetween are the fields that differ, in order; none where one of the two is nil.
func changesBetween(before, after *schedule.Schedule) []fieldChange {
	list := []fieldChange{}
	if before == nil || after == nil {
		return list
	}
	was, is := map[string]any{}, map[string]any{}
	flatten("", definitionFields(before), was)
	flatten("", definitionFields(after), is)
	// An object that had nothing in it has become what is in it.
	for name, empty := range map[string]any{"labels": map[string]any{}, "job.args": map[string]any{}} {
		for _, side := range []map[string]any{was, is} {
			if reflect.DeepEqual(side[name], empty) {
				delete(side, name)
			}
		}
	}
	for _, field := range slices.Sorted(maps.Keys(merged(was, is))) {
		if !reflect.DeepEqual(was[field], is[field]) {
			list = append(list, fieldChange{Field: field, Before: was[field], After: is[field]})
		}
	}
	return list
}

// merged holds the keys of both.
func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// flatten has each value that isn't an object under its path.
func flatten(path string, value any, into map[string]any) {
	object, ok := value.(map[string]any)
	if !ok || len(object) == 0 {
		into[path] = value
		return
	}
	for name, child := range object {
		if path != "" {
			name = path + "." + name
		}
		flatten(name, child, into)
	}
}

// RevisionParams name a revision.
type RevisionParams struct {
	Version int64 `path:"version" minimum:"1" doc:"That it made."`
}

type revisionsInput struct {
	ScheduleParams
	PageParams
}

type revisionsAnswer struct {
	Body struct {
		Revisions     []revisionDocument `json:"revisions" nullable:"false"`
		NextPageToken string             `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func (a *api) revisions(ctx context.Context, in *revisionsInput) (*revisionsAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	mark := markOf("revisions", in.ID, in.Namespace)
	raw, err := in.place(mark, 8)
	if err != nil {
		return nil, err
	}
	var place int64
	if raw != nil {
		if place = int64(binary.BigEndian.Uint64(raw)); len(raw) != 8 || place < 1 {
			return nil, errPageToken
		}
	}
	page, next, err := a.Service.Revisions(ctx, key, place, in.size())
	if err != nil {
		return nil, err
	}
	out := &revisionsAnswer{}
	out.Body.Revisions = make([]revisionDocument, len(page))
	for i := range page {
		out.Body.Revisions[i] = toRevisionDocument(&page[i])
	}
	if next != 0 {
		out.Body.NextPageToken = tokenOf(mark, binary.BigEndian.AppendUint64(nil, uint64(next)))
	}
	return out, nil
}

type revisionInput struct {
	ScheduleParams
	RevisionParams
}

type revisionAnswer struct{ Body revisionDocument }

func (a *api) revision(ctx context.Context, in *revisionInput) (*revisionAnswer, error) {
	key, err := in.key()
	if err != nil {
		return nil, err
	}
	r, err := a.Service.Revision(ctx, key, in.Version)
	if err != nil {
		return nil, err
	}
	return &revisionAnswer{Body: toRevisionDocument(r)}, nil
}

type restoreInput struct {
	ScheduleParams
	RevisionParams
	IfMatch
	WaitParams
}

func (a *api) restore(ctx context.Context, in *restoreInput) (*scheduleAnswer, error) {
	key, seen, err := target(&in.ScheduleParams, &in.IfMatch)
	if err != nil {
		return nil, err
	}
	return watched(ctx, a, &in.WaitParams, func() (*scheduleAnswer, error) {
		status, created, err := a.Service.Restore(ctx, key, in.Version, seen)
		out, err := answer(ctx)(status, err)
		if created {
			out.Status, out.Location = http.StatusCreated, "/v1/schedules/"+out.Body.ID
		}
		return out, err
	})
}
