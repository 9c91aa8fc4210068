// Package api is riverbeat over HTTP: JSON in, JSON or problem details out.
package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// maxBodyBytes is the largest body that is read, but for that of apply.
const maxBodyBytes = 1 << 20

// bodyTime is how long a body may take to come.
const bodyTime = 15 * time.Second

// bodyLimit is the largest body that a route takes.
func bodyLimit(route string) int64 {
	if route == applyPath {
		return maxApplyBytes
	}
	return maxBodyBytes
}

// Config is what the API is made of.
type Config struct {
	Service   *app.Service          // nil: only health and metrics
	Door      *app.Door             // says who somebody is; nil: nobody is let in but to the health checks
	Version   string                // of the program
	LocalOnly bool                  // the server listens on this machine alone
	Events    *app.Tail             // for /v1/events; nil: it isn't there
	RiverUI   http.Handler          // under /riverui/; nil: none
	Metrics   http.Handler          // under /metrics; nil: none
	Registry  prometheus.Registerer // for the server's own figures; nil: nobody sees them
	// Ready says how the parts are that /readyz reports; nil: there are none.
	Ready func(ctx context.Context) []Check
	Log   *slog.Logger

	// How many requests a second are taken with one token, and from one address without
	// a valid one; 0: however many.
	TokenRate, AddressRate int
	// TrustedProxies are believed when they say for whom they ask.
	TrustedProxies []netip.Prefix
}

// Check is how one part is.
type Check struct {
	Part     string
	Required bool   // without it the process isn't ready
	Err      error  // nil: it is fine
	Detail   string // said of a part that is fine; empty: nothing
}

type api struct {
	Config
	huma      huma.API
	metrics   *metrics
	tokens    *buckets[schedule.ID]
	addresses *buckets[netip.Prefix]
	health    healthCache
}

// New is the handler of the whole HTTP side.
func New(config Config) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	// A name in a path may hold any character, escaped. Who reads it unescapes it:
	// gin would take a + for a space.
	engine.UseEscapedPath, engine.UnescapePathValues = true, false
	engine.RedirectTrailingSlash = false
	a := &api{
		Config: config, metrics: newMetrics(config.Registry, config.Events),
		tokens: newBuckets[schedule.ID](config.TokenRate), addresses: newBuckets[netip.Prefix](config.AddressRate),
	}
	engine.Use(a.logRequests, a.traceRequests, a.recover, secureHeaders, a.refuseForeignHosts, a.refuseCrossSite(), a.admit, a.checkQuery, a.requireJSON, chooseLanguage, a.once)
	engine.NoRoute(func(c *gin.Context) {
		a.abort(c, &problem{Status: http.StatusNotFound, Detail: "There is nothing here."})
	})
	engine.NoMethod(func(c *gin.Context) {
		a.abort(c, &problem{Status: http.StatusMethodNotAllowed, Detail: "The Allow header names the methods that there are here."})
	})

	a.huma = humagin.New(engine, humaConfig(config.Version))
	a.huma.UseMiddleware(a.gate, refuseLarge)
	a.routes()
	a.describe()
	a.signInRoutes(engine)

	engine.GET("/docs", func(c *gin.Context) { c.Redirect(http.StatusMovedPermanently, "/docs/") })
	engine.GET("/docs/*path", gin.WrapH(relaxed(docs())))
	if config.Metrics != nil {
		engine.GET("/metrics", gin.WrapH(withoutSecrets(config.Metrics)))
	}
	if config.RiverUI != nil {
		pages := gin.WrapH(relaxed(withoutSecrets(config.RiverUI)))
		engine.Any("/riverui", pages)
		engine.Any("/riverui/*path", pages)
	}
	return engine
}

func humaConfig(version string) huma.Config {
	config := huma.DefaultConfig("riverbeat", version)
	config.Info.Description = "Schedules that become River jobs. Times are RFC 3339, in UTC on the way out; durations are like 90s, 15m, 24h."
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"token": {
		Type: "http", Scheme: "bearer", BearerFormat: "rb_…",
		Description: "An API token: `riverbeat token create` makes one. It has scopes, each its own, and may be limited to namespaces, job kinds and queues; outside its namespaces everything is a 404.",
	}}
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	// Bodies are taken as they are: their handlers decode them strictly.
	jsonFormat := huma.DefaultJSONFormat
	jsonFormat.Unmarshal = func(raw []byte, v any) error {
		taker, ok := v.(interface{ take([]byte) })
		if !ok {
			return errors.New("not a request body")
		}
		taker.take(raw)
		return nil
	}
	// Huma would send what it has of an answer that can't be written, with the
	// status of success.
	jsonFormat.Marshal = func(w io.Writer, v any) error {
		var text bytes.Buffer
		if err := huma.DefaultJSONFormat.Marshal(&text, v); err != nil {
			panic(fmt.Errorf("write the answer: %w", err))
		}
		_, err := text.WriteTo(w)
		return err
	}
	config.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	return config
}

// handle registers an operation whose handler returns errors instead of writing
// them.
func handle[I, O any](a *api, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	op.SkipValidateBody = true
	op.MaxBodyBytes = bodyLimit(op.Path)
	op.BodyReadTimeout = bodyTime
	if op.Method == http.MethodPost && strings.HasPrefix(op.Path, "/v1/") {
		longest := maxKeyLength
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: idempotencyKey, In: "header", Example: "0190b6a4-7a3e-7a5c-9d3f-0a3b5c7d9e1f",
			Description: "Of the caller's choice, another one for each request: the same request once more isn't done again, but answered as it was, for RIVERBEAT_IDEMPOTENCY_RETENTION.",
			Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: &longest, Pattern: "^[!-~]+$"},
		})
		op.Errors = append(op.Errors, http.StatusConflict, http.StatusUnprocessableEntity)
	}
	if scope, none := scopeOf(&op); !none {
		op.Security = needs(scope)
		// 404: a namespace that the token doesn't see.
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusTooManyRequests)
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		var later *pending
		switch {
		case errors.As(err, &later):
			return nil, later
		case err != nil:
			return nil, toProblem(ctx, err, a.Log)
		}
		return out, nil
	})
}

// alsoCreates says that an operation may have made what it answers with.
func alsoCreates(op *huma.Operation) {
	created := *op.Responses["200"]
	created.Description = http.StatusText(http.StatusCreated)
	op.Responses["201"] = &created
}

// refuseLarge refuses a body that says it is too large before any of it is read: what
// is said to be terabytes need never come.
func refuseLarge(ctx huma.Context, next func(huma.Context)) {
	limit := ctx.Operation().MaxBodyBytes
	if length, err := strconv.ParseInt(ctx.Header("Content-Length"), 10, 64); err == nil && limit > 0 && length >= limit {
		writeProblem(humagin.Unwrap(ctx).Writer, tooLarge(limit))
		return
	}
	next(ctx)
}

func tooLarge(limit int64) *problem {
	return &problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("The body must be smaller than %d bytes.", limit)}
}

// logRequests writes one line a request; those of probes are for debugging.
func (a *api) logRequests(c *gin.Context) {
	begun := time.Now()
	id := c.GetHeader("X-Request-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		id = uuid.NewString()
	}
	c.Header("X-Request-Id", id)
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestIDKey{}, id))
	a.metrics.running.Inc()
	defer a.metrics.running.Dec()
	c.Next()
	took := time.Since(begun)
	a.metrics.answered(c, took)
	level := slog.LevelInfo
	if c.Writer.Status() >= 500 {
		level = slog.LevelWarn
	}
	switch c.Request.URL.Path {
	case "/livez", "/readyz", "/metrics":
		level = slog.LevelDebug
	}
	facts := []any{
		"method", methodOf(c.Request), "route", routeOf(c), "status", c.Writer.Status(), "bytes", max(c.Writer.Size(), 0), "took", took, "request_id", id,
	}
	if span := trace.SpanContextFromContext(c.Request.Context()); span.IsValid() {
		facts = append(facts, "trace_id", span.TraceID().String())
	}
	if token := tokenIDOf(c); token != "" {
		facts = append(facts, "token_id", token)
	}
	a.Log.Log(c, level, "request", facts...)
}

// requestIDKey is where a request's context holds its id.
type requestIDKey struct{}

// recover turns a panic into a 500, without a stack for the caller.
func (a *api) recover(c *gin.Context) {
	defer func() {
		switch cause := recover(); cause {
		case nil:
		case http.ErrAbortHandler: // asks the server to cut the connection
			panic(cause)
		default:
			a.Log.Error("a request panicked", "panic", cause, "stack", string(debug.Stack()),
				"request_id", c.Request.Context().Value(requestIDKey{}))
			a.abort(c, &problem{Status: http.StatusInternalServerError})
		}
	}()
	c.Next()
}

// refuseForeignHosts answers only to names that can't be somebody else's, while
// the server is for this machine alone: a page whose name was pointed here after
// it was loaded would otherwise count as ours.
func (a *api) refuseForeignHosts(c *gin.Context) {
	if !a.LocalOnly || a.trusts(peer(c.Request)) {
		return
	}
	host := c.Request.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err != nil && !strings.EqualFold(host, "localhost") {
		a.abort(c, &problem{Status: http.StatusMisdirectedRequest, Detail: "This server answers to localhost and to addresses only."})
	}
}

// refuseCrossSite keeps a browser that visits another site from writing here.
func (a *api) refuseCrossSite() gin.HandlerFunc {
	guard := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if guard.Check(c.Request) != nil {
			a.abort(c, &problem{Status: http.StatusForbidden, Detail: "Writes from other sites are refused."})
		}
	}
}

// checkQuery refuses parameters that would be passed over without a word: those
// that can't be read, are empty, or are there twice. A filter that is passed
// over lets everything through.
func (a *api) checkQuery(c *gin.Context) {
	if !strings.HasPrefix(c.Request.URL.Path, "/v1/") {
		return
	}
	query, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		a.abort(c, &problem{Status: http.StatusBadRequest, Detail: "The query can't be read."})
		return
	}
	var wrong []schedule.FieldError
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch values := query[name]; {
		case len(values) > 1 && name != "label":
			wrong = append(wrong, schedule.FieldError{Field: name, Reason: "must be given once"})
		case slices.Contains(values, ""):
			wrong = append(wrong, schedule.FieldError{Field: name, Reason: "must not be empty: leave it out"})
		}
	}
	if len(wrong) > 0 {
		a.abort(c, invalidProblem(wrong))
	}
}

type languageKey struct{}

// chooseLanguage keeps the language that a request asks for words in.
func chooseLanguage(c *gin.Context) {
	language := schedule.ParseLanguage(c.GetHeader("Accept-Language"))
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), languageKey{}, language))
	c.Writer.Header().Add("Vary", "Accept-Language")
	c.Next()
}

func languageOf(ctx context.Context) schedule.Language {
	language, _ := ctx.Value(languageKey{}).(schedule.Language)
	return language
}

// secureHeaders denies browsers everything that JSON doesn't need.
func secureHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	c.Next()
}

// relaxed allows what the pages of River UI and of the API's documentation need,
// all of it from this server.
func relaxed(pages http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		pages.ServeHTTP(w, r)
	})
}

// requireJSON refuses bodies that say they are something else.
func (a *api) requireJSON(c *gin.Context) {
	if c.Request.ContentLength == 0 || c.Request.Body == nil || !strings.HasPrefix(c.Request.URL.Path, "/v1/") {
		return
	}
	contentType := strings.ToLower(c.ContentType())
	if c.FullPath() == importPath {
		if contentType != "text/calendar" {
			a.abort(c, &problem{Status: http.StatusUnsupportedMediaType, Detail: "The body must be text/calendar."})
		}
		return
	}
	if c.FullPath() == applyPath && slices.Contains(yamlTypes, contentType) {
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), yamlKey{}, true))
		contentType = "application/json" // its handler makes it so
	}
	switch contentType {
	case "application/json", "application/merge-patch+json":
		// Huma knows one JSON; which of the two it is makes no difference to it.
		c.Request.Header.Set("Content-Type", "application/json")
	case "":
		// A plain client that sends none means JSON.
	default:
		a.abort(c, &problem{Status: http.StatusUnsupportedMediaType, Detail: "The body must be application/json."})
	}
}

// withoutSecrets keeps from pages that aren't ours what they have no use for, and
// bodies that are too large.
func withoutSecrets(pages http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Authorization")
		r.Header.Del("Cookie")
		r.Body = http.MaxBytesReader(w, r.Body, maxBodyBytes)
		pages.ServeHTTP(w, r)
	})
}

func (a *api) abort(c *gin.Context, p *problem) {
	c.Abort()
	if !c.Writer.Written() {
		writeProblem(c.Writer, p)
	}
}

func writeProblem(w http.ResponseWriter, p *problem) {
	text, err := p.MarshalJSON()
	if err != nil {
		text = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.WriteHeader(p.Status)
	_, _ = io.WriteString(w, string(text)+"\n") // a client that left needs no answer
}
