package jobs

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// tlsReceiver is receiver over TLS, on an address of loopback.
func tlsReceiver(t *testing.T, roots *x509.CertPool, route http.HandlerFunc) (baseURL string, got <-chan received) {
	t.Helper()
	requests := make(chan received, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- received{method: r.Method, path: r.URL.Path, header: r.Header, body: string(body)}
		route(w, r)
	}))
	server.Config.ErrorLog = log.New(t.Output(), "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	roots.AddCert(server.Certificate())
	return server.URL, requests
}

func TestRedirectsAreFollowedNoFurtherThanTheyMay(t *testing.T) {
	t.Parallel()
	roots := x509.NewCertPool()
	plain, plainGot := receiver(t, nil)
	elsewhere, elsewhereGot := tlsReceiver(t, roots, func(http.ResponseWriter, *http.Request) {})
	var base string
	base, got := tlsReceiver(t, roots, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/1": base + "/2", "/2": base + "/3", "/3": base + "/4", "/4": base + "/end",
			"/plain": plain, "/elsewhere": elsewhere + "/there?a=b#c", "/relative": "/end",
			"/metadata": "https://169.254.169.254/latest/meta-data", "/mapped": "https://[::ffff:10.0.0.1]/",
			"/other-loopback": "https://127.0.0.2/", "/decimal": "https://2130706433/", "/file": "file:///etc/passwd",
			"/userinfo": "https://a:b@127.0.0.1/", "/unspecified": "https://0.0.0.0/", "/opaque": "https:127.0.0.1",
		}[r.URL.Path]
		switch status := r.URL.Query().Get("status"); {
		case to == "":
		case status == "303":
			http.Redirect(w, r, to, http.StatusSeeOther)
		default:
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	})
	w := newWebhookWorker(webhookConfig{
		allow:   []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
		secrets: vault(map[string][]string{"token": {"Bearer planted"}, "hooks": {newSecret}}),
	})
	w.transport.TLSClientConfig.RootCAs = roots
	send := func(path string, redirects int) (webhookAnswer, error) {
		return w.send(t.Context(), WebhookArgs{
			URL: base + path, Method: "POST", Timeout: time.Minute, Redirects: redirects, SigningSecret: "hooks",
			Headers: map[string]string{"Authorization": "secret://token", "x-api-key": "planted"},
		}, RunMetadata{RunID: "r", Namespace: "default"})
	}
	last := func(from <-chan received) (r received) {
		for len(from) > 0 {
			r = <-from
		}
		return r
	}
	const notFollowed = "redirects are followed, from https to https"
	for _, test := range []struct {
		path      string
		redirects int
		want      string // nothing: success
	}{
		{"/1", 0, "the webhook was answered with 307 Temporary Redirect: redirects are not followed"},
		{"/relative", 1, ""},
		{"/2", 3, ""},
		{"/1", 3, "at most 3 " + notFollowed},
		{"/2", 2, "at most 2 " + notFollowed},
		{"/plain", 3, notFollowed},
		{"/file", 3, notFollowed},
		{"/userinfo", 3, notFollowed},
		{"/opaque", 3, notFollowed},
		{"/metadata", 3, "address 169.254.169.254 is link-local: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{"/mapped", 3, "address 10.0.0.1 is private: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{"/other-loopback", 3, "address 127.0.0.2 is loopback: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{"/unspecified", 3, "address 0.0.0.0 is unspecified: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{"/decimal", 3, "look up"},
	} {
		_, err := send(test.path, test.redirects)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s with %d redirects: got %v, want %q", test.path, test.redirects, err, test.want)
		}
		if test.want != "" {
			continue
		}
		r := last(got)
		if r.path != "/end" || r.method != "POST" || !strings.Contains(r.body, `"run_id":"r"`) ||
			r.header.Get("Authorization") != "Bearer planted" || r.header.Get("webhook-signature") == "" || r.header.Get("Referer") != "" {
			t.Errorf("%s on the same host: got %+v", test.path, r)
		}
	}
	if len(plainGot) > 0 {
		t.Errorf("from https to http: %+v", <-plainGot)
	}
	if _, err := send("/elsewhere", 1); err != nil {
		t.Fatal(err)
	}
	r := last(elsewhereGot)
	if r.path != "/there" || r.method != "POST" || r.header.Get("webhook-id") != "r" {
		t.Errorf("on another host: got %+v", r)
	}
	for _, name := range []string{"Authorization", "x-api-key", "webhook-signature", "Idempotency-Key", "Referer"} {
		if r.header.Get(name) != "" {
			t.Errorf("another host got the header %s: %q", name, r.header.Get(name))
		}
	}
	if _, err := send("/relative?status=303", 1); err != nil {
		t.Fatal(err)
	}
	if r := last(got); r.method != "GET" || r.body != "" || r.header.Get("webhook-signature") != "" {
		t.Errorf("after a 303: got %+v", r)
	}
}

func TestARedirectFromHTTPIsNotFollowed(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, map[string]http.HandlerFunc{"/a": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusFound) }})
	w := newWebhookWorker(webhookConfig{allow: loopback})
	_, err := w.send(t.Context(), WebhookArgs{URL: url + "/a", Method: "POST", Timeout: time.Minute, Redirects: 3}, RunMetadata{RunID: "r"})
	if want := "the webhook was answered with 302 Found: at most 3 redirects are followed, from https to https"; fmt.Sprint(err) != want || len(got) != 1 {
		t.Errorf("got %v after %d requests", err, len(got))
	}
}
