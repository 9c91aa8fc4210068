package api

import (
	"context"
	"strings"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// listing is said of the list of schedules.
const listing = "By order_by, and by id where that is equal. " + shortPages + " " +
	"Ordered by next_run_at they come as they are due, which jitter may delay; those without a next run come last."

type listInput struct {
	PageParams
	Namespace  string   `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"All namespaces when it is left out."`
	Name       string   `query:"name" maxLength:"120"`
	NamePrefix string   `query:"name_prefix" maxLength:"120"`
	Label      []string `query:"label,explode" nullable:"false" maxItems:"16" doc:"key:value; given several times, all must hold."`
	Selector   string   `query:"selector" maxLength:"4096" example:"team=growth,tier in (1,2),!retired" doc:"By labels, in the form of Kubernetes."`
	State      string   `query:"state" enum:"active,paused,completed,invalid"`
	Kind       string   `query:"kind" maxLength:"127"`
	Q          string   `query:"q" maxLength:"120" doc:"A part of the name or description, in upper or lower case. No index helps: among many schedules pages are short."`
	OrderBy    string   `query:"order_by" enum:"id,id desc,name,name desc,next_run_at,next_run_at desc,updated_at,updated_at desc" default:"id" doc:"id is the order of creation; names are compared by their bytes."`
	Count      bool     `query:"count" doc:"Say in total how many schedules there are on all pages."`
}

type listAnswer struct {
	Body struct {
		Schedules       []scheduleDocument `json:"schedules" nullable:"false"`
		NextPageToken   string             `json:"next_page_token" doc:"Empty on the last page."`
		Total           *int64             `json:"total,omitempty" doc:"With count=true: how many there are on all pages."`
		TotalIsEstimate *bool              `json:"total_is_estimate,omitempty" doc:"total is what the database's statistics expect: so many weren't counted."`
	}
}

func (in *listInput) filter() (app.Filter, error) {
	order, descending := strings.CutSuffix(in.OrderBy, " desc")
	filter := app.Filter{
		Name: in.Name, NamePrefix: in.NamePrefix, State: schedule.State(in.State), Kind: in.Kind, Search: in.Q, Limit: in.size(),
		OrderBy: app.ListOrder(order), Descending: descending,
	}
	for field, text := range map[string]string{
		"name": in.Name, "name_prefix": in.NamePrefix, "kind": in.Kind, "label": strings.Join(in.Label, ""), "q": in.Q,
	} {
		if !storable(text) {
			return filter, schedule.Invalid(field, "must be valid UTF-8 without NUL characters")
		}
	}
	if in.Namespace != "" {
		filter.Namespaces = []string{in.Namespace}
	}
	var err error
	if filter.Selector, err = parseSelector(in.Selector); err != nil {
		return filter, err
	}
	labels := map[string]bool{}
	for _, label := range in.Label {
		key, value, ok := strings.Cut(label, ":")
		if !ok || key == "" {
			return filter, schedule.Invalid("label", "must be key:value")
		}
		if labels[key] {
			return filter, schedule.Invalid("label", "must not name a key twice")
		}
		labels[key] = true
		filter.Selector = append(filter.Selector, schedule.Term{Key: key, Op: schedule.TermIn, Values: []string{value}})
	}
	return filter, nil
}

func (a *api) list(ctx context.Context, in *listInput) (*listAnswer, error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	mark := markOf("schedules", in.Namespace, in.Name, in.NamePrefix, filter.Selector, in.State, in.Kind, in.Q, filter.OrderBy, filter.Descending)
	raw, err := in.place(mark, 1)
	if err != nil {
		return nil, err
	}
	if raw != nil {
		if filter.After = readListPlace(raw); filter.After == nil {
			return nil, errPageToken
		}
	}
	list, err := a.Service.List(ctx, filter, in.Count)
	if err != nil {
		return nil, err
	}
	out := &listAnswer{}
	out.Body.Schedules = make([]scheduleDocument, len(list.Schedules))
	for i, status := range list.Schedules {
		out.Body.Schedules[i] = statusDocument(status, languageOf(ctx))
	}
	if list.Next != nil {
		out.Body.NextPageToken = tokenOf(mark, listPlaceBytes(list.Next))
	}
	if in.Count {
		out.Body.Total, out.Body.TotalIsEstimate = &list.Total, &list.Estimated
	}
	return out, nil
}

// listPlaceBytes are a place's flag, instant, id and name.
func listPlaceBytes(p *app.ListPlace) []byte {
	raw := []byte{0}
	if p.Idle {
		raw[0] = 1
	}
	at := p.At
	if at.IsZero() {
		at = time.Unix(0, 0)
	}
	raw = append(append(raw, instantBytes(at)...), p.ID[:]...)
	return append(raw, p.Name...)
}

// readListPlace is the way back; nil: it isn't one.
func readListPlace(raw []byte) *app.ListPlace {
	p := &app.ListPlace{Idle: raw[0] == 1}
	var ok, ok2 bool
	p.At, raw, ok = cutInstant(raw[1:])
	p.ID, raw, ok2 = cutID(raw)
	if p.Name = string(raw); !ok || !ok2 || !storable(p.Name) {
		return nil
	}
	return p
}
