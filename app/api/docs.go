package api

import (
	"io"
	"net/http"

	"github.com/swaggest/swgui/v5emb"
)

// docsPage is Swagger UI over /openapi.json, all of it from this server. Its
// script is a file of its own: the content security policy allows none within
// the page.
const docsPage = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>riverbeat API</title>
<link rel="stylesheet" href="swagger-ui.css">
<link rel="icon" type="image/png" href="favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="swagger-ui-bundle.js"></script>
<script src="start.js"></script>
</body>
</html>
`

// Without validatorUrl it would show a badge from swagger.io.
const docsScript = `SwaggerUIBundle({url: "../openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
`

// docs serves /docs/.
func docs() http.Handler {
	assets := v5emb.New("", "", "/docs/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/docs/":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, docsPage) // a client that left needs no answer
		case "/docs/start.js":
			w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
			_, _ = io.WriteString(w, docsScript)
		default:
			assets.ServeHTTP(w, r)
		}
	})
}
