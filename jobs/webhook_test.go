package jobs

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// received is a request as its receiver saw it.
type received struct {
	method, path string
	header       http.Header
	body         string
}

// receiver answers by path and keeps what it got.
func receiver(t *testing.T, routes map[string]http.HandlerFunc) (baseURL string, got <-chan received) {
	t.Helper()
	requests := make(chan received, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- received{method: r.Method, path: r.URL.Path, header: r.Header, body: string(body)}
		if route := routes[r.URL.Path]; route != nil {
			route(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func TestAWebhookIsSentAndItsAnswerKept(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, map[string]http.HandlerFunc{"/hook": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thank you")
	}})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, UserAgent: "riverbeat/1.2.3"})

	before := time.Now().Unix()
	s := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/hook", "headers": {"Authorization": "Bearer t", "x-plain": "ü"}}`, url))
	job := client.next(t, insert(t, pool, s))
	if job.State != rivertype.JobStateCompleted {
		t.Fatalf("the job is %s: %s", job.State, lastError(job))
	}
	answer := output[webhookAnswer](t, job)
	if answer.Status != 202 || answer.Body != "thank you" {
		t.Errorf("the answer was kept as %+v", answer)
	}

	r := <-got
	if r.method != "POST" || r.path != "/hook" {
		t.Errorf("got %s %s", r.method, r.path)
	}
	for name, want := range map[string]string{
		"webhook-id":      schedule.RunID(s.ID, noon).String(),
		"User-Agent":      "riverbeat/1.2.3",
		"Content-Type":    "application/json",
		"Idempotency-Key": schedule.RunID(s.ID, noon).String(),
		"Authorization":   "Bearer t",
		"X-Plain":         "ü",
	} {
		if r.header.Get(name) != want {
			t.Errorf("header %s is %q, want %q", name, r.header.Get(name), want)
		}
	}
	if sent, err := strconv.ParseInt(r.header.Get("webhook-timestamp"), 10, 64); err != nil || sent < before || sent > time.Now().Unix() {
		t.Errorf("webhook-timestamp is %q", r.header.Get("webhook-timestamp"))
	}
	var body map[string]string
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{
		"run_id":        schedule.RunID(s.ID, noon).String(),
		"schedule_id":   s.ID.String(),
		"schedule_name": "nightly",
		"scheduled_for": "2026-11-24T12:00:00Z",
	}, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}

func TestTheBodyIsTheOneGiven(t *testing.T) {
	t.Parallel()
	w := newWebhookWorker(webhookConfig{allow: loopback})
	url, got := receiver(t, nil)
	for _, test := range []struct{ args, method, body, contentType string }{
		{`{"body": {"a": [1, "ü"]}}`, "POST", `{"a": [1, "ü"]}`, "application/json"},
		{`{"body": null}`, "POST", `null`, "application/json"},
		{`{"body": "text", "method": "PUT", "headers": {"content-type": "text/plain"}}`, "PUT", `"text"`, "text/plain"},
		{`{"method": "GET"}`, "GET", ``, ""},
		{`{"method": "DELETE"}`, "DELETE", ``, ""},
		{`{"method": "DELETE", "body": [1]}`, "DELETE", `[1]`, "application/json"},
	} {
		args := strings.Replace(test.args, "{", fmt.Sprintf(`{"url": %q, `, url), 1)
		a, wrong := DecodeWebhookArgs(json.RawMessage(args))
		if len(wrong) > 0 {
			t.Errorf("%s: %v", args, fields(wrong))
			continue
		}
		if _, err := w.send(t.Context(), a, RunMetadata{RunID: "r"}); err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		r := <-got
		if r.method != test.method || r.body != test.body || r.header.Get("Content-Type") != test.contentType {
			t.Errorf("%s: got %s %q as %q", args, r.method, r.body, r.header.Get("Content-Type"))
		}
	}
}

func TestAFailedWebhookSaysWhatHappened(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, map[string]http.HandlerFunc{
		"/500": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, "sorry\x00 \xff"+strings.Repeat("x", 2000))
		},
		"/302": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"/307": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
		},
		"/304":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"/599":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) },
		"/slow": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/drop": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	})
	selfSigned := httptest.NewUnstartedServer(nil)
	selfSigned.Config.ErrorLog = log.New(t.Output(), "", 0)
	selfSigned.StartTLS()
	t.Cleanup(selfSigned.Close)
	client := work(t, pool, ClientConfig{WebhookAllow: loopback})

	for _, test := range []struct {
		args   string
		state  rivertype.JobState
		status int
		err    string
	}{
		{`{"url": "` + url + `/500"}`, rivertype.JobStateDiscarded, 500, "the webhook was answered with 500 Internal Server Error"},
		{`{"url": "` + url + `/302"}`, rivertype.JobStateDiscarded, 302, "the webhook was answered with 302 Found: redirects are not followed"},
		{`{"url": "` + url + `/307"}`, rivertype.JobStateDiscarded, 307, "the webhook was answered with 307 Temporary Redirect: redirects are not followed"},
		{`{"url": "` + url + `/304"}`, rivertype.JobStateDiscarded, 304, "the webhook was answered with 304 Not Modified: redirects are not followed"},
		{`{"url": "` + url + `/599"}`, rivertype.JobStateDiscarded, 599, "the webhook was answered with 599"},
		{`{"url": "` + url + `/slow", "timeout": "1s"}`, rivertype.JobStateDiscarded, 0, "send the webhook: no answer within 1s"},
		{`{"url": "` + url + `/drop"}`, rivertype.JobStateDiscarded, 0, "send the webhook: EOF"},
		{`{"url": "` + selfSigned.URL + `"}`, rivertype.JobStateDiscarded, 0, "send the webhook: check the server's certificate: x509: certificate signed by unknown authority"},
		{`{"url": "http://127.0.0.1:1/"}`, rivertype.JobStateDiscarded, 0, "send the webhook: dial: connect: connection refused"},
		{`{"url": "http://10.0.0.1/"}`, rivertype.JobStateCancelled, 0, "JobCancelError: send the webhook: address 10.0.0.1 is private: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{`{"url": "ftp://example.com/"}`, rivertype.JobStateCancelled, 0, "JobCancelError: read the job's arguments: job.args.url must be an absolute http or https URL"},
		{`["not an object"]`, rivertype.JobStateCancelled, 0, "JobCancelError: read the job's arguments: job.args must be a JSON object"},
	} {
		job := client.next(t, insert(t, pool, aSchedule(KindWebhook, test.args)))
		if job.State != test.state || lastError(job) != test.err {
			t.Errorf("%s: the job is %s: %s\nwant %s: %s", test.args, job.State, lastError(job), test.state, test.err)
			continue
		}
		if strings.Contains(test.err, "arguments") {
			continue // nothing was sent
		}
		answer := output[webhookAnswer](t, job)
		if answer.Status != test.status {
			t.Errorf("%s: the answer was kept as %+v", test.args, answer)
		}
		if want := "sorry\uFFFD \uFFFD" + strings.Repeat("x", 1024-8); test.status == 500 && answer.Body != want {
			t.Errorf("%s: the body was kept as %q", test.args, answer.Body)
		}
	}
	for len(got) > 0 {
		if r := <-got; r.path == "/elsewhere" {
			t.Error("a redirect was followed")
		}
	}
}

func TestARetryHasTheSameWebhookID(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	var n atomic.Int64
	url, got := receiver(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback})
	s := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/"}`, url))
	s.Job.MaxAttempts = 5
	id := insert(t, pool, s)
	if job := client.next(t, id); lastError(job) != "the webhook was answered with 503 Service Unavailable" {
		t.Errorf("the first attempt ended as %s: %s", job.State, lastError(job))
	}
	job := client.next(t, id)
	if job.State != rivertype.JobStateCompleted || job.Attempt != 2 || output[webhookAnswer](t, job).Status != 200 {
		t.Errorf("after the retry the job is %s, attempt %d: %s", job.State, job.Attempt, job.Output())
	}
	first, second := <-got, <-got
	if a, b := first.header.Get("webhook-id"), second.header.Get("webhook-id"); a != b || a == "" {
		t.Errorf("the webhook-ids are %q and %q", a, b)
	}
}

func TestAStopGivesTheJobBackWithoutALostAttempt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback})
	id := insert(t, pool, aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/", "timeout": "5m"}`, url)))
	<-got
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.StopAndCancel(ctx); err != nil {
		t.Fatal(err)
	}
	if job := client.job(t, id); job.State != rivertype.JobStateAvailable || job.Attempt != 0 || len(job.Errors) != 0 {
		t.Errorf("the job is %s, attempt %d, errors %v", job.State, job.Attempt, job.Errors)
	}
}

func TestARunningWebhookCanBeCancelled(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback})
	s := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/", "timeout": "5m"}`, url))
	s.Job.MaxAttempts = 5
	id := insert(t, pool, s)
	<-got
	if _, err := client.JobCancel(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if job := client.next(t, id); job.State != rivertype.JobStateCancelled {
		t.Errorf("the job is %s: %s", job.State, lastError(job))
	}
}

func TestAnEndlessBodyIsNotReadToItsEnd(t *testing.T) {
	t.Parallel()
	done := make(chan int, 1)
	url, _ := receiver(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		sent := 0
		for r.Context().Err() == nil {
			n, err := w.Write(make([]byte, 1<<20))
			sent += n
			if err != nil {
				break
			}
		}
		done <- sent
	}})
	w := newWebhookWorker(webhookConfig{allow: loopback})
	answer, err := w.send(t.Context(), WebhookArgs{URL: url + "/", Method: "GET", Timeout: webhookTimeoutMax}, RunMetadata{})
	if err != nil || answer.Status != 200 || answer.Body != strings.Repeat("\uFFFD", webhookRecordedBody) {
		t.Errorf("got %d, %d bytes, %v", answer.Status, len(answer.Body), err)
	}
	<-done // the connection was given up
}

func TestAJobWithoutARunIsKnownByItsOwnID(t *testing.T) {
	t.Parallel()
	for _, metadata := range []string{``, `{}`, `[]`, `{"riverbeat": 1}`, `{"riverbeat": {}}`, `{"riverbeat": "%"}`, `{"riverbeat": "version=1"}`} {
		if got := runOf(42, []byte(metadata)).RunID; got != "job_42" {
			t.Errorf("metadata %s: got %q", metadata, got)
		}
	}
}

func TestWebhookArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	headers := func(n int) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`"x-%d": ""`, i))
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	for _, test := range []struct {
		args string
		want []string
	}{
		{`{"url": "https://example.com"}`, nil},
		{`{"url": "http://example.com:8080/a%20b?c=d%23", "method": "PATCH", "headers": {"X-A": "b\tc", "Content-Type": "text/plain"}, "body": null, "timeout": "5m"}`, nil},
		{`{"url": "https://例え.jp/パス"}`, nil},
		{`{"url": "http://[2606:4700::1]:65535/"}`, nil},
		{`{"url": "https://example.com", "headers": ` + headers(50) + `, "timeout": "1s"}`, nil},

		{``, []string{"job.args must be a JSON object"}},
		{`null`, []string{"job.args must be a JSON object"}},
		{`[]`, []string{"job.args must be a JSON object"}},
		{`{"url": "https://example.com"} {}`, []string{"job.args must be a JSON object"}},
		{`{}`, []string{"job.args.url is required"}},
		{`{"url": ""}`, []string{"job.args.url is required"}},
		{`{"url": null}`, []string{"job.args.url must be a string"}},
		{`{"url": 1}`, []string{"job.args.url must be a string"}},
		{`{"URL": "https://example.com"}`, []string{"job.args.URL isn't an argument of webhook jobs"}},
		{`{"url": 1, "verify": false, "method": []}`, []string{"job.args.method must be a string", "job.args.url must be a string", "job.args.verify isn't an argument of webhook jobs"}},

		{`{"url": "example.com"}`, []string{"job.args.url must be an absolute http or https URL"}},
		{`{"url": "//example.com/"}`, []string{"job.args.url must be an absolute http or https URL"}},
		{`{"url": "/hook"}`, []string{"job.args.url must be an absolute http or https URL"}},
		{`{"url": "file:///etc/passwd"}`, []string{"job.args.url must be an absolute http or https URL"}},
		{`{"url": "gopher://example.com/"}`, []string{"job.args.url must be an absolute http or https URL"}},
		{`{"url": "http:example.com"}`, []string{"job.args.url must name a host"}},
		{`{"url": "http:///path"}`, []string{"job.args.url must name a host"}},
		{`{"url": "http://:80/"}`, []string{"job.args.url must name a host"}},
		{`{"url": "http://a@example.com/"}`, []string{"job.args.url must not contain a user name or password"}},
		{`{"url": "http://:@example.com/"}`, []string{"job.args.url must not contain a user name or password"}},
		{`{"url": "http://example.com/#top"}`, []string{"job.args.url must not contain a fragment"}},
		{`{"url": "http://example.com/#"}`, []string{"job.args.url must not contain a fragment"}},
		{`{"url": "http://example.com:0/"}`, []string{"job.args.url must have a port from 1 to 65535"}},
		{`{"url": "http://example.com:65536/"}`, []string{"job.args.url must have a port from 1 to 65535"}},
		{`{"url": "http://example.com:http/"}`, []string{"job.args.url isn't a URL"}},
		{`{"url": "http://exa%zzmple.com/"}`, []string{"job.args.url isn't a URL"}},
		{`{"url": "http://example.com/\r\nX: y"}`, []string{"job.args.url must not contain spaces or control characters"}},
		{`{"url": "http://example.com/\u0000"}`, []string{"job.args.url must not contain spaces or control characters"}},
		{`{"url": "http://example.com/\u0085"}`, []string{"job.args.url must not contain spaces or control characters"}},
		{`{"url": " http://example.com/"}`, []string{"job.args.url must not contain spaces or control characters"}},
		{`{"url": "http://[fe80::1%25eth0]/"}`, []string{"job.args.url must not contain a zone"}},
		{`{"url": "http://example.com/` + strings.Repeat("x", 8<<10) + `"}`, []string{"job.args.url must be at most 8192 bytes"}},

		{`{"url": "https://example.com", "method": "post"}`, []string{"job.args.method must be one of GET, POST, PUT, PATCH, DELETE"}},
		{`{"url": "https://example.com", "method": "CONNECT"}`, []string{"job.args.method must be one of GET, POST, PUT, PATCH, DELETE"}},
		{`{"url": "https://example.com", "method": ""}`, []string{"job.args.method must be one of GET, POST, PUT, PATCH, DELETE"}},

		{`{"url": "https://example.com", "timeout": 15}`, []string{`job.args.timeout must be a duration such as "15s"`}},
		{`{"url": "https://example.com", "timeout": "soon"}`, []string{`job.args.timeout must be a duration such as "15s"`}},
		{`{"url": "https://example.com", "timeout": "0s"}`, []string{"job.args.timeout must be from 1s to 5m"}},
		{`{"url": "https://example.com", "timeout": "-1s"}`, []string{"job.args.timeout must be from 1s to 5m"}},
		{`{"url": "https://example.com", "timeout": "5m1s"}`, []string{"job.args.timeout must be from 1s to 5m"}},

		{`{"url": "https://example.com", "signing_secret": "a", "redirects": 3, "retry": {}, "headers": {"A": "secret://b"}}`, nil},
		{`{"url": "https://example.com", "retry": {"base": "1s", "max": "168h", "jitter": 1, "statuses": {"4xx": "final", "429": "retry", "301": "final"}}}`, nil},
		{`{"url": "https://example.com", "signing_secret": null}`, []string{"job.args.signing_secret must be a string"}},
		{`{"url": "https://example.com", "signing_secret": "A"}`, []string{"job.args.signing_secret " + schedule.NameRule}},
		{`{"url": "https://example.com", "redirects": 4}`, []string{"job.args.redirects must be from 0 to 3"}},
		{`{"url": "https://example.com", "redirects": -1}`, []string{"job.args.redirects must be from 0 to 3"}},
		{`{"url": "https://example.com", "redirects": "1"}`, []string{"job.args.redirects must be a whole number"}},
		{`{"url": "https://example.com", "redirects": null}`, []string{"job.args.redirects must be a whole number"}},
		{`{"url": "https://example.com", "headers": {"A": "secret://"}}`, []string{"job.args.headers.A must be secret:// and the name of a secret, and nothing else: the secret is the whole value"}},
		{`{"url": "https://example.com", "headers": {"A": "Bearer secret://b"}}`, []string{"job.args.headers.A must be secret:// and the name of a secret, and nothing else: the secret is the whole value"}},
		{`{"url": "https://example.com", "headers": {"A": "secret://b/c"}}`, []string{"job.args.headers.A must be secret:// and the name of a secret, and nothing else: the secret is the whole value"}},
		{`{"url": "https://example.com", "retry": null}`, []string{"job.args.retry must be a JSON object"}},
		{`{"url": "https://example.com", "retry": {"tries": 1}}`, []string{"job.args.retry.tries isn't a part of a retry policy"}},
		{`{"url": "https://example.com", "retry": {"base": 1, "jitter": "x", "statuses": []}}`, []string{`job.args.retry.base must be a duration such as "15s"`, "job.args.retry.jitter must be a number", `job.args.retry.statuses must be an object such as {"4xx": "final", "429": "retry"}`}},
		{`{"url": "https://example.com", "retry": {"base": "0s", "max": "169h", "jitter": 1.1}}`, []string{"job.args.retry.base must be from 1s to 24h", "job.args.retry.max must be from base to 168h", "job.args.retry.jitter must be from 0 to 1"}},
		{`{"url": "https://example.com", "retry": {"base": "2h", "max": "1h"}}`, []string{"job.args.retry.max must be from base to 168h"}},
		{`{"url": "https://example.com", "retry": {"statuses": {"200": "final", "4XX": "final", "404": "no"}}}`, []string{
			`job.args.retry.statuses has the key "200": must be a status from 300 to 599, or 3xx, 4xx or 5xx`, `job.args.retry.statuses.404 must be "final" or "retry"`,
			`job.args.retry.statuses has the key "4XX": must be a status from 300 to 599, or 3xx, 4xx or 5xx`}},

		{`{"url": "https://example.com", "headers": null}`, []string{"job.args.headers must be an object of strings"}},
		{`{"url": "https://example.com", "headers": ["a"]}`, []string{"job.args.headers must be an object of strings"}},
		{`{"url": "https://example.com", "headers": {"a": 1}}`, []string{"job.args.headers must be an object of strings"}},
		{`{"url": "https://example.com", "headers": {"a": null}}`, []string{"job.args.headers must be an object of strings"}},
		{`{"url": "https://example.com", "headers": ` + headers(51) + `}`, []string{"job.args.headers must be at most 50"}},
		{`{"url": "https://example.com", "headers": {"": "a"}}`, []string{`job.args.headers has the name "", which isn't a header's`}},
		{`{"url": "https://example.com", "headers": {"a b": "a"}}`, []string{`job.args.headers has the name "a b", which isn't a header's`}},
		{`{"url": "https://example.com", "headers": {"a\r\nb": "a"}}`, []string{`job.args.headers has the name "a\r\nb", which isn't a header's`}},
		{`{"url": "https://example.com", "headers": {"a": "b\r\nc: d"}}`, []string{"job.args.headers.a must not contain control characters"}},
		{`{"url": "https://example.com", "headers": {"a": "b\u0000"}}`, []string{"job.args.headers.a must not contain control characters"}},
		{`{"url": "https://example.com", "headers": {"a": "` + strings.Repeat("x", 8<<10+1) + `"}}`, []string{"job.args.headers.a must be at most 8192 bytes"}},
		{`{"url": "https://example.com", "headers": {"X-A": "1", "x-a": "2"}}`, []string{"job.args.headers.x-a is there twice"}},
	} {
		_, wrong := DecodeWebhookArgs(json.RawMessage(test.args))
		if diff := cmp.Diff(test.want, fields(wrong)); diff != "" {
			t.Errorf("%.200s (-want +got):\n%s", test.args, diff)
		}
	}
	for _, name := range []string{"Host", "host", "Content-Length", "TRANSFER-ENCODING", "Connection", "Upgrade", "te", "Trailer", "keep-alive", "Proxy-Connection", "webhook-id", "Webhook-Signature", "WEBHOOK-timestamp"} {
		_, wrong := DecodeWebhookArgs(json.RawMessage(`{"url": "https://example.com", "headers": {"` + name + `": "x"}}`))
		if want := "job.args.headers." + name + " is set by riverbeat alone"; !slices.Equal(fields(wrong), []string{want}) {
			t.Errorf("header %s: got %v", name, fields(wrong))
		}
	}
}

// Whatever is accepted can be sent: the request goes to a host over HTTP, and
// written out it is one request, which a server reads as it was meant.
func FuzzDecodeWebhookArgs(f *testing.F) {
	for _, seed := range []string{
		`{"url": "https://example.com/hook", "method": "PUT", "headers": {"X-A": "b"}, "body": {"a": 1}, "timeout": "15s"}`,
		`{"url": "http://[::1]:80/?q=%23"}`, `{"url": "http://①②⑦.⓪.⓪.①/"}`, `{"URL": ""}`, `[]`, `null`, ``,
		`{"url": "http://a@b"}`, `{"url": "http://a", "headers": {"Host": "b", "webhook-id": "c", "a\r\n": "\u0000"}}`,
	} {
		f.Add([]byte(seed))
	}
	w := newWebhookWorker(webhookConfig{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, wrong := DecodeWebhookArgs(raw)
		if len(wrong) > 0 {
			for _, field := range wrong {
				if !strings.HasPrefix(field.Field, argsPath) || field.Reason == "" {
					t.Errorf("%q is refused with %+v", raw, field)
				}
			}
			return
		}
		req, err := w.request(t.Context(), a, RunMetadata{RunID: "run"}, planted(a))
		if err != nil {
			t.Fatalf("%q was accepted, but: %v", raw, err)
		}
		if req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.User != nil || req.URL.Hostname() == "" || req.Host == "" {
			t.Errorf("%q goes to %v", raw, req.URL)
		}
		var wire bytes.Buffer
		if err := req.Write(&wire); err != nil {
			t.Fatalf("%q was accepted, but: %v", raw, err)
		}
		in := bufio.NewReader(&wire)
		read, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q was accepted, but no server reads it: %v", raw, err)
		}
		body, err := io.ReadAll(read.Body)
		if err != nil || a.Body != nil && !bytes.Equal(body, a.Body) {
			t.Errorf("%q sends the body %q, %v", raw, body, err)
		}
		if got := read.Header.Values("webhook-id"); !slices.Equal(got, []string{"run"}) || read.Method != a.Method {
			t.Errorf("%q is read as %s with webhook-id %q", raw, read.Method, got)
		}
		if rest, _ := io.ReadAll(in); len(rest) > 0 {
			t.Errorf("%q sends more than one request: %q", raw, rest)
		}
	})
}
