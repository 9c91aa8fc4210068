package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// public are the routes that need no token: probes have none, and tell neither what
// there is nor where; and nobody is signed in before they have signed in. All others,
// those that don't exist too, are behind the door.
var public = map[string]bool{
	"/livez": true, "/readyz": true, signInPath: true, signInPath + "/style.css": true, signOutPath: true,
}

// admit lets in who has a valid token and says to all behind it who they are.
func (a *api) admit(c *gin.Context) {
	if public[c.FullPath()] {
		return
	}
	caller, refusal := a.identify(c)
	if refusal == nil && !caller.TokenID.IsZero() {
		if wait, ok := a.tokens.take(caller.TokenID, 1); !ok {
			refusal = tooMany("with this token", wait)
		}
	}
	if refusal == nil {
		refusal = mayVisit(c.Request.URL.Path, caller)
	}
	if refusal != nil {
		a.turnAway(c, refusal)
		return
	}
	c.Set(tokenIDKey, caller.TokenID)
	h := c.Writer.Header()
	h.Set("Cache-Control", "private, no-cache") // what one may see, the next may not
	h.Add("Vary", "Authorization, Cookie")
	ctx, stop := a.Door.Until(app.WithCaller(c.Request.Context(), caller), caller)
	defer stop()
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

// tokenIDKey is where gin's context holds the id of the token, for the log.
const tokenIDKey = "token_id"

// identify is who sends the request, or why they aren't let in.
func (a *api) identify(c *gin.Context) (app.Caller, *problem) {
	if a.Door == nil {
		return app.Caller{}, unauthorized()
	}
	check, given := a.credentials(c.Request)
	if !given && a.Door.IsOpen() && !forwarded(c.Request) {
		caller, err := a.Door.Local(c.Request.Context())
		if !errors.Is(err, app.ErrNoEntry) {
			return caller, a.refusal(c, err)
		}
	}
	cost := costNoToken
	if given {
		caller, err := check(c.Request.Context(), false)
		if !errors.Is(err, app.ErrNoEntry) {
			return caller, a.refusal(c, err)
		}
		cost = costWrongToken
	}
	// Who is known comes in whatever others send from the same address. Only who isn't
	// has to stay within its limit, before the database is asked about them.
	if wait, ok := a.addresses.take(network(a.client(c.Request)), cost); !ok {
		return app.Caller{}, tooMany("without a valid token from this address", wait)
	}
	if !given {
		return app.Caller{}, unauthorized()
	}
	caller, err := check(c.Request.Context(), true)
	return caller, a.refusal(c, err)
}

// credentials is how to check what the request brings. The API takes tokens only: a
// cookie is sent by the browser whoever made it send the request.
func (a *api) credentials(r *http.Request) (check func(ctx context.Context, anew bool) (app.Caller, error), given bool) {
	if values := r.Header.Values("Authorization"); len(values) > 0 {
		scheme, secret, _ := strings.Cut(values[0], " ")
		if len(values) > 1 || !strings.EqualFold(scheme, "Bearer") {
			secret = "" // which is no token
		}
		return func(ctx context.Context, anew bool) (app.Caller, error) {
			return a.Door.Token(ctx, strings.TrimSpace(secret), anew)
		}, true
	}
	if strings.HasPrefix(r.URL.Path, "/v1/") {
		return nil, false
	}
	if secret := a.session(r); secret != "" {
		return func(ctx context.Context, anew bool) (app.Caller, error) { return a.Door.Session(ctx, secret, anew) }, true
	}
	return nil, false
}

// mayVisit refuses those pages that show what a caller may not see.
func mayVisit(path string, caller app.Caller) *problem {
	switch {
	case path == "/riverui" || strings.HasPrefix(path, "/riverui/"):
		if !caller.MayEverything() {
			return forbidden(&app.ForbiddenError{Scope: app.ScopeAdmin, All: true})
		}
	case path == "/metrics":
		if !caller.SeesAll() || !caller.May(app.ScopeRead) && !caller.May(app.ScopeAdmin) {
			return forbidden(&app.ForbiddenError{Scope: app.ScopeRead, All: true})
		}
	}
	return nil
}

func unauthorized() *problem {
	return &problem{
		Status: http.StatusUnauthorized, Detail: "A valid API token is needed: Authorization: Bearer rb_…",
		challenge: `Bearer realm="riverbeat"`,
	}
}

func forbidden(err *app.ForbiddenError) *problem {
	p := &problem{
		Status: http.StatusForbidden, Detail: "The token needs the scope " + string(err.Scope) + ".",
		challenge: `Bearer realm="riverbeat", error="insufficient_scope", scope="` + string(err.Scope) + `"`,
	}
	if err.All {
		p.Detail = "The token needs the scope " + string(err.Scope) + ", and not to be limited to namespaces, kinds or queues."
	}
	return p
}

// refusal is the answer to an error of the door; nil: there is none.
func (a *api) refusal(c *gin.Context, err error) *problem {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, app.ErrNoEntry):
		return unauthorized()
	}
	return toProblem(c.Request.Context(), err, a.Log)
}

// turnAway answers who isn't let in. Somebody who wants to see a page is shown where
// to sign in.
func (a *api) turnAway(c *gin.Context, refusal *problem) {
	page := c.Request.Method == http.MethodGet && !strings.HasPrefix(c.Request.URL.Path, "/v1/") &&
		strings.Contains(c.GetHeader("Accept"), "text/html")
	if refusal.Status == http.StatusUnauthorized && page {
		c.Redirect(http.StatusSeeOther, signInPath+"?next="+url.QueryEscape(c.Request.URL.RequestURI()))
		c.Abort()
		return
	}
	a.abort(c, refusal)
}

// needs is what an operation's document says of the scope that it takes.
func needs(scope app.Scope) []map[string][]string {
	return []map[string][]string{{"token": {string(scope)}}}
}

// nothing is what it says of an operation that anybody may ask for.
var nothing = []map[string][]string{}

// scopeOf is the scope that an operation takes: what its document says, else read to
// read and write for everything else.
func scopeOf(op *huma.Operation) (scope app.Scope, none bool) {
	switch {
	case op.Security != nil && len(op.Security) == 0:
		return "", true
	case len(op.Security) > 0 && len(op.Security[0]["token"]) > 0:
		return app.Scope(op.Security[0]["token"][0]), false
	case op.Method == http.MethodGet:
		return app.ScopeRead, false
	}
	return app.ScopeWrite, false
}

// gate keeps an operation from who lacks its scope, before anything of the request is
// read. The service asks once more.
func (a *api) gate(ctx huma.Context, next func(huma.Context)) {
	scope, none := scopeOf(ctx.Operation())
	caller := app.CallerOf(ctx.Context())
	switch {
	case none:
	case scope == app.ScopeAdmin && !caller.MayEverything():
		a.abort(humagin.Unwrap(ctx), forbidden(&app.ForbiddenError{Scope: scope, All: true}))
		return
	case !caller.May(scope):
		a.abort(humagin.Unwrap(ctx), forbidden(&app.ForbiddenError{Scope: scope}))
		return
	}
	next(ctx)
}

// home is the namespace, or the one that the caller means by none.
func home(ctx context.Context, namespace string) string {
	return cmp.Or(namespace, app.CallerOf(ctx).Home())
}

// peer is the address of who opened the connection.
func peer(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}

func (a *api) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(a.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// client is the address of who sends the request: the peer's, or the one that trusted
// proxies name, from the last to the first.
func (a *api) client(r *http.Request) netip.Addr {
	addr := peer(r)
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.trusts(addr); i-- {
		before, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = before.Unmap()
	}
	return addr
}

// encrypted reports whether the client's connection is, as far as can be told.
func (a *api) encrypted(r *http.Request) bool {
	return r.TLS != nil || a.trusts(peer(r)) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// forwarded reports whether a proxy says that it passes the request on: then it may be
// anybody's, though it comes from this machine.
func forwarded(r *http.Request) bool {
	return slices.ContainsFunc([]string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip"},
		func(name string) bool { return r.Header.Get(name) != "" })
}

// tokenIDOf is the id of the request's token, for the log; empty: there is none.
func tokenIDOf(c *gin.Context) string {
	id, _ := c.Value(tokenIDKey).(schedule.ID)
	if id.IsZero() {
		return ""
	}
	return id.String()
}
