package api

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/riverbeat/riverbeat/app"
)

// The pages for browsers, which can't send a token by themselves.
const (
	signInPath  = "/signin"
	signOutPath = "/signout"
	afterSignIn = "/riverui/"
)

// maxFormBytes is the largest form that is read: a token and a path.
const maxFormBytes = 8 << 10

var signInPage = template.Must(template.New("").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to riverbeat</title>
<link rel="stylesheet" href="/signin/style.css">
</head>
<body>
<main>
<h1>riverbeat</h1>
{{if .Name}}<p>You are signed in as <strong>{{.Name}}</strong>.</p>
<form method="post" action="/signout"><button>Sign out</button></form>
<p><a href="/riverui/">River UI</a> · <a href="/docs/">API reference</a></p>
{{else}}<form method="post" action="/signin">
<label for="token">API token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus{{if .Wrong}} aria-invalid="true" aria-describedby="wrong"{{end}}>
<input name="next" type="hidden" value="{{.Next}}">
{{if .Wrong}}<p id="wrong" role="alert">{{.Wrong}}</p>
{{end}}<button>Sign in</button>
</form>
<p>River UI needs a token with the scope admin and no limits. <code>riverbeat token create</code> makes one.</p>
{{end}}</main>
</body>
</html>
`))

const signInStyle = `body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif; color: #1b2733; background: #f4f6f8; }
main { width: min(24rem, 90vw); }
h1 { font-size: 1.5rem; }
label { display: block; }
input { box-sizing: border-box; width: 100%; padding: .5rem; font: inherit; border: 1px solid #8795a5; border-radius: .25rem; }
button { margin-top: .75rem; padding: .5rem 1rem; font: inherit; color: #fff; background: #1f5fae; border: 0; border-radius: .25rem; }
[role=alert] { color: #a51d2d; }
@media (prefers-color-scheme: dark) { body { color: #e4e9ee; background: #141a20; } input { color: inherit; background: #1f2830; } a { color: #8ab8f0; } [role=alert] { color: #ff9aa5; } }
`

func (a *api) signInRoutes(engine *gin.Engine) {
	if a.Door == nil {
		return
	}
	engine.GET(signInPath, a.showSignIn)
	engine.GET(signInPath+"/style.css", func(c *gin.Context) { c.Data(http.StatusOK, "text/css; charset=utf-8", []byte(signInStyle)) })
	engine.POST(signInPath, a.signIn)
	engine.POST(signOutPath, a.signOut)
}

func (a *api) showSignIn(c *gin.Context) {
	next := relative(c.Query("next"))
	if a.Door.IsOpen() && !forwarded(c.Request) { // there is nothing to sign in with
		c.Redirect(http.StatusSeeOther, next)
		return
	}
	name := ""
	if secret := a.session(c.Request); secret != "" {
		if caller, err := a.Door.Session(c.Request.Context(), secret, false); err == nil {
			name = caller.Name
		}
	}
	a.writeSignIn(c, http.StatusOK, name, next, "")
}

func (a *api) writeSignIn(c *gin.Context, status int, name, next, wrong string) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/html; charset=utf-8")
	c.Status(status)
	_ = signInPage.Execute(c.Writer, map[string]string{"Name": name, "Next": next, "Wrong": wrong}) // a client that left needs no answer
}

func (a *api) signIn(c *gin.Context) {
	if wait, ok := a.addresses.take(network(a.client(c.Request)), costWrongToken); !ok {
		a.abort(c, tooMany("to sign in from this address", wait))
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxFormBytes)
	if err := c.Request.ParseForm(); err != nil {
		a.abort(c, &problem{Status: http.StatusBadRequest, Detail: "The form can't be read."})
		return
	}
	next := relative(c.Request.PostForm.Get("next"))
	secret, err := a.Door.SignIn(c.Request.Context(), strings.TrimSpace(c.Request.PostForm.Get("token")))
	switch {
	case errors.Is(err, app.ErrNoEntry):
		a.writeSignIn(c, http.StatusUnauthorized, "", next, "That isn't a valid token.")
	case err != nil:
		a.abort(c, toProblem(c.Request.Context(), err, a.Log))
	default:
		a.setSession(c, secret, int(app.SessionLifetime.Seconds()))
		c.Redirect(http.StatusSeeOther, next)
	}
}

func (a *api) signOut(c *gin.Context) {
	if wait, ok := a.addresses.take(network(a.client(c.Request)), costNoToken); !ok {
		a.abort(c, tooMany("from this address", wait))
		return
	}
	if secret := a.session(c.Request); secret != "" {
		if err := a.Door.SignOut(c.Request.Context(), secret); err != nil {
			a.abort(c, toProblem(c.Request.Context(), err, a.Log))
			return
		}
	}
	a.setSession(c, "", -1)
	c.Redirect(http.StatusSeeOther, signInPath)
}

// cookieName is that of the session's cookie. Browsers take one with the prefix from
// this very host over an encrypted connection alone.
func (a *api) cookieName(r *http.Request) string {
	if a.encrypted(r) {
		return "__Host-riverbeat"
	}
	return "riverbeat"
}

// session is the secret in the session's cookie; empty: there is none.
func (a *api) session(r *http.Request) string {
	cookie, err := r.Cookie(a.cookieName(r))
	if err != nil {
		return ""
	}
	return cookie.Value
}

func (a *api) setSession(c *gin.Context, secret string, seconds int) {
	http.SetCookie(c.Writer, &http.Cookie{ //nolint:gosec // G124: without encryption a browser wouldn't take a secure one
		Name: a.cookieName(c.Request), Value: secret, Path: "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: a.encrypted(c.Request),
	})
}

// relative is where to go next, on this server; anything else leads to the first page.
func relative(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.Opaque != "" || u.User != nil ||
		!strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.HasPrefix(u.Path, "//") ||
		strings.ContainsFunc(next, func(r rune) bool { return r < ' ' || r == '\\' || r == 0x7f }) || strings.Contains(u.Path, `\`) {
		return afterSignIn
	}
	return next
}
