package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

func (a *api) tokenRoutes() {
	tags, one := []string{"tokens"}, "/v1/tokens/{id}"
	handle(a, huma.Operation{
		OperationID: "create-token", Method: http.MethodPost, Path: "/v1/tokens", Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Make an API token", Description: "The answer has the token itself, this once: it is kept nowhere. Several may be valid at a time, so a new one can be put in place before the old one is revoked.",
		DefaultStatus: http.StatusCreated, Errors: []int{400, 409, 413, 415, 422, 503},
	}, a.createToken)
	handle(a, huma.Operation{
		OperationID: "list-tokens", Method: http.MethodGet, Path: "/v1/tokens", Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "List API tokens, in the order in which they were made", Description: "Those that are expired or revoked, too.", Errors: []int{422, 503},
	}, a.listTokens)
	handle(a, huma.Operation{
		OperationID: "get-token", Method: http.MethodGet, Path: one, Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Read what is kept of an API token", Errors: []int{404, 422, 503},
	}, a.getToken)
	handle(a, huma.Operation{
		OperationID: "revoke-token", Method: http.MethodDelete, Path: one, Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Revoke an API token", Description: "Every process refuses it within 2 seconds, and ends what is under way with it. It stays in the list.",
		DefaultStatus: http.StatusNoContent, Errors: []int{404, 422, 503},
	}, a.revokeToken)
}

// tokenDocument is what is kept of a token, in JSON.
type tokenDocument struct {
	ID         string     `json:"id" required:"false" readOnly:"true" format:"uuid"`
	Name       string     `json:"name" minLength:"1" maxLength:"120" example:"growth, deployments" doc:"For people; need not be unique."`
	Hint       string     `json:"hint" required:"false" readOnly:"true" example:"rb_7Qm2x" doc:"The first characters of the token, to know it by."`
	Scopes     []string   `json:"scopes" nullable:"false" minItems:"1" enum:"read,write,admin" doc:"Each is its own: write doesn't hold read. admin is for tokens, River UI and metrics."`
	Namespaces []string   `json:"namespaces" required:"false" maxItems:"100" example:"[\"growth\"]" doc:"Outside of these there is nothing for it; null: all."`
	Kinds      []string   `json:"kinds" required:"false" maxItems:"100" example:"[\"webhook\"]" doc:"Of the jobs of schedules that it writes, runs and resumes; null: any."`
	Queues     []string   `json:"queues" required:"false" maxItems:"100" doc:"Of the same; null: any."`
	ExpiresAt  *time.Time `json:"expires_at" required:"false" example:"2027-11-24T00:00:00Z" doc:"null: never."`
	State      string     `json:"state" required:"false" readOnly:"true" enum:"valid,expired,revoked"`
	LastUsedAt *time.Time `json:"last_used_at" required:"false" readOnly:"true" doc:"To about a minute; null: never."`
	CreatedAt  *time.Time `json:"created_at" required:"false" readOnly:"true"`
	RevokedAt  *time.Time `json:"revoked_at" required:"false" readOnly:"true"`
}

// TransformSchema is huma.SchemaTransformer.
func (tokenDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"name": "growth, deployments", "scopes": ["read", "write"], "namespaces": ["growth"]}`)}
	return s
}

// newTokenDocument is a token that was just made.
type newTokenDocument struct {
	Token string `json:"token" example:"rb_7Qm2x…" doc:"The token itself. It is shown this once."`
	TokenFields
}

// TokenFields are a token's document in another's: Huma passes over what isn't exported.
type TokenFields = tokenDocument

func toTokenDocument(t *app.Token) tokenDocument {
	d := tokenDocument{
		ID: t.ID.String(), Name: t.Name, Hint: t.Hint, Scopes: t.Scopes, Namespaces: t.Namespaces, Kinds: t.Kinds, Queues: t.Queues,
		ExpiresAt: optionalTime(t.ExpiresAt), State: "valid", LastUsedAt: optionalTime(t.LastUsedAt),
		CreatedAt: optionalTime(t.CreatedAt), RevokedAt: optionalTime(t.RevokedAt),
	}
	switch {
	case !t.RevokedAt.IsZero():
		d.State = "revoked"
	case t.Expired:
		d.State = "expired"
	}
	return d
}

type createTokenInput struct{ Body body[tokenDocument] }

type newTokenAnswer struct {
	Location     string `header:"Location"`
	CacheControl string `header:"Cache-Control"`
	Body         newTokenDocument
}

func (a *api) createToken(ctx context.Context, in *createTokenInput) (*newTokenAnswer, error) {
	var d tokenDocument
	if err := in.Body.decode(&d); err != nil {
		return nil, err
	}
	t := app.Token{Name: d.Name, Scopes: d.Scopes, Namespaces: d.Namespaces, Kinds: d.Kinds, Queues: d.Queues, ExpiresAt: micros(d.ExpiresAt)}
	created, secret, err := a.Service.CreateToken(ctx, t)
	if err != nil {
		return nil, err
	}
	hideAnswer(ctx)
	return &newTokenAnswer{
		Location: "/v1/tokens/" + created.ID.String(), CacheControl: "no-store",
		Body: newTokenDocument{Token: secret, TokenFields: toTokenDocument(created)},
	}, nil
}

type tokensAnswer struct {
	Body struct {
		Tokens        []tokenDocument `json:"tokens" nullable:"false"`
		NextPageToken string          `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func (a *api) listTokens(ctx context.Context, in *PageParams) (*tokensAnswer, error) {
	mark := markOf("tokens")
	place, err := in.place(mark, 0)
	if err != nil {
		return nil, err
	}
	after, _, ok := cutID(place)
	if place != nil && !ok {
		return nil, errPageToken
	}
	page, more, err := a.Service.Tokens(ctx, after, in.size())
	if err != nil {
		return nil, err
	}
	out := &tokensAnswer{}
	out.Body.Tokens = make([]tokenDocument, len(page))
	for i := range page {
		out.Body.Tokens[i] = toTokenDocument(&page[i])
	}
	if more {
		last := page[len(page)-1].ID
		out.Body.NextPageToken = tokenOf(mark, last[:])
	}
	return out, nil
}

// TokenParams name the token that a request is about.
type TokenParams struct {
	ID string `path:"id" example:"019ab3e4-2f00-7c1e-9f6a-3d2b1c0a9f8e" doc:"The id of the token, not the token itself."`
}

func (p *TokenParams) id() (schedule.ID, error) {
	id, err := uuid.Parse(p.ID)
	if err != nil || len(p.ID) != 36 {
		return schedule.ID{}, schedule.Invalid("id", "must be the UUID of a token")
	}
	return schedule.ID(id), nil
}

type tokenAnswer struct{ Body tokenDocument }

func (a *api) getToken(ctx context.Context, in *TokenParams) (*tokenAnswer, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	t, err := a.Service.Token(ctx, id)
	if err != nil {
		return nil, err
	}
	return &tokenAnswer{Body: toTokenDocument(&t)}, nil
}

func (a *api) revokeToken(ctx context.Context, in *TokenParams) (*struct{}, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	return nil, a.Service.RevokeToken(ctx, id)
}
