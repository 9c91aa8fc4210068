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

const secretPath = "/v1/secrets/{name}"

func (a *api) secretRoutes() {
	tags := []string{"secrets"}
	handle(a, huma.Operation{
		OperationID: "list-secrets", Method: http.MethodGet, Path: "/v1/secrets", Tags: tags,
		Summary: "List a namespace's secrets, by name", Description: "Their values are never shown.", Errors: []int{422, 503},
	}, a.listSecrets)
	handle(a, huma.Operation{
		OperationID: "get-secret", Method: http.MethodGet, Path: secretPath, Tags: tags,
		Summary: "Read what may be seen of a secret", Description: "Its values are never shown.", Errors: []int{404, 422, 503},
	}, a.getSecret)
	handle(a, huma.Operation{
		OperationID: "put-secret", Method: http.MethodPut, Path: secretPath, Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Give a secret a value",
		Description: "The secret is made if there is none. The value is encrypted, and used by the webhooks of its namespace that name the secret, from now on; " +
			"the one before it goes on signing beside it for the grace, so that receivers can change theirs meanwhile. " +
			"A value that the secret has already writes nothing. 503 when the server has no RIVERBEAT_ENCRYPTION_KEYS.",
		Errors: []int{400, 412, 413, 415, 422, 503},
	}, a.putSecret)
	handle(a, huma.Operation{
		OperationID: "generate-secret", Method: http.MethodPost, Path: secretPath, Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Give a secret a new signing key",
		Description: "32 random bytes, as Standard Webhooks writes them (whsec_…). The answer is the only one that ever shows the value. " +
			"Otherwise it is the same as to put a value.",
		DefaultStatus: http.StatusCreated, Errors: []int{400, 412, 413, 415, 422, 503},
	}, a.generateSecret)
	alsoCreates(a.huma.OpenAPI().Paths[secretPath].Put)
	a.huma.OpenAPI().Paths[secretPath].Post.RequestBody.Required = false
	handle(a, huma.Operation{
		OperationID: "delete-secret", Method: http.MethodDelete, Path: secretPath, Tags: tags, Security: needs(app.ScopeAdmin),
		Summary: "Delete a secret", Description: "The runs that name it fail from then on, until there is one of its name again.",
		DefaultStatus: http.StatusNoContent, Errors: []int{404, 412, 422, 503},
	}, a.deleteSecret)
}

// secretDocument is what may be seen of a secret.
type secretDocument struct {
	Namespace string                  `json:"namespace"`
	Name      string                  `json:"name" example:"hooks"`
	Signs     bool                    `json:"signs" doc:"Its value is one to sign with: whsec_ and 24 to 64 bytes in base64."`
	CreatedAt time.Time               `json:"created_at" doc:"When its newest value was written."`
	Versions  []secretVersionDocument `json:"versions" nullable:"false" doc:"The live ones, newest first."`
	Value     string                  `json:"value,omitempty" doc:"Only in the answer that has generated it."`
}

// secretVersionDocument is one value of a secret, without the value.
type secretVersionDocument struct {
	Version   int64      `json:"version"`
	KeyID     string     `json:"key_id" doc:"Of the key in RIVERBEAT_ENCRYPTION_KEYS that it is encrypted with."`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at" doc:"Until when it signs beside the newest; null: it is the newest."`
}

func toSecretDocument(s *schedule.Secret) secretDocument {
	d := secretDocument{
		Namespace: s.Namespace, Name: s.Name, Signs: s.Signs, CreatedAt: s.Versions[0].CreatedAt,
		Versions: make([]secretVersionDocument, len(s.Versions)),
	}
	for i, v := range s.Versions {
		d.Versions[i] = secretVersionDocument{Version: v.Version, KeyID: v.KeyID, CreatedAt: v.CreatedAt, ExpiresAt: optionalTime(v.ExpiresAt)}
	}
	return d
}

// graceDocument is how long the value before goes on signing.
type graceDocument struct {
	Grace *duration `json:"grace" required:"false" doc:"How long the value before goes on signing, at most 720h; 24h when it is left out. 0s ends it at once."`
}

func (d graceDocument) grace() time.Duration {
	if d.Grace == nil {
		return schedule.DefaultGrace
	}
	return time.Duration(*d.Grace)
}

// valueDocument is a value to put.
type valueDocument struct {
	Value string `json:"value" writeOnly:"true" minLength:"1" doc:"At most 8,192 bytes. To sign with: whsec_ and 24 to 64 bytes in base64. Otherwise a header's whole value, such as \"Bearer …\"."`
	GraceFields
}

// GraceFields are a grace in another document: Huma passes over what isn't exported.
type GraceFields = graceDocument

// TransformSchema is huma.SchemaTransformer.
func (valueDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Examples = []any{json.RawMessage(`{"value": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "grace": "48h"}`)}
	return s
}

// SecretParams name the secret that a request is about.
type SecretParams struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" example:"hooks"`
	NamespaceParam
}

func (p *SecretParams) key(ctx context.Context) app.SecretKey {
	return app.SecretKey{Namespace: home(ctx, p.Namespace), Name: p.Name}
}

// secretAnswer is one secret.
type secretAnswer struct {
	Status       int
	ETag         string `header:"ETag"`
	CacheControl string `header:"Cache-Control"`
	Body         secretDocument
}

func answerSecret(secret *schedule.Secret, created bool, err error) (*secretAnswer, error) {
	if err != nil {
		return nil, err
	}
	out := &secretAnswer{Status: http.StatusOK, ETag: etag(secret.Versions[0].Version), CacheControl: "no-store", Body: toSecretDocument(secret)}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

type secretsInput struct {
	PageParams
	NamespaceParam
}

type secretsAnswer struct {
	Body struct {
		Secrets       []secretDocument `json:"secrets" nullable:"false"`
		NextPageToken string           `json:"next_page_token" doc:"Empty on the last page."`
	}
}

func (a *api) listSecrets(ctx context.Context, in *secretsInput) (*secretsAnswer, error) {
	after, err := in.nameCursor()
	if err != nil {
		return nil, err
	}
	page, more, err := a.Service.Secrets().List(ctx, home(ctx, in.Namespace), after, in.size())
	if err != nil {
		return nil, err
	}
	out := &secretsAnswer{}
	out.Body.Secrets = make([]secretDocument, len(page))
	for i, secret := range page {
		out.Body.Secrets[i] = toSecretDocument(secret)
	}
	if more {
		out.Body.NextPageToken = nameToken(page[len(page)-1].Name)
	}
	return out, nil
}

func (a *api) getSecret(ctx context.Context, in *SecretParams) (*secretAnswer, error) {
	secret, err := a.Service.Secrets().Get(ctx, in.key(ctx))
	return answerSecret(secret, false, err)
}

type putSecretInput struct {
	SecretParams
	IfMatch
	Body body[valueDocument]
}

func (a *api) putSecret(ctx context.Context, in *putSecretInput) (*secretAnswer, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	var d valueDocument
	if err := in.Body.decode(&d); err != nil {
		return nil, err
	}
	return answerSecret(a.Service.Secrets().Put(ctx, in.key(ctx), version, d.Value, d.grace()))
}

type generateSecretInput struct {
	SecretParams
	IfMatch
	Body body[graceDocument]
}

func (a *api) generateSecret(ctx context.Context, in *generateSecretInput) (*secretAnswer, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	var d graceDocument
	if in.Body.raw != nil {
		if err := in.Body.decode(&d); err != nil {
			return nil, err
		}
	}
	secret, value, _, err := a.Service.Secrets().Generate(ctx, in.key(ctx), version, d.grace())
	out, err := answerSecret(secret, true, err)
	if err == nil {
		hideAnswer(ctx)
		out.Body.Value = value
	}
	return out, err
}

type deleteSecretInput struct {
	SecretParams
	IfMatch
}

func (a *api) deleteSecret(ctx context.Context, in *deleteSecretInput) (*struct{}, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	return nil, a.Service.Secrets().Delete(ctx, in.key(ctx), version)
}
