package jobs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.opentelemetry.io/otel/propagation"
	"golang.org/x/net/http/httpguts"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// KindWebhook is the kind of the jobs that send an HTTP request.
const KindWebhook = "webhook"

// The bounds of a webhook.
const (
	webhookTimeout      = 15 * time.Second // unless the arguments say otherwise
	webhookShortest     = time.Second
	webhookTimeoutMax   = 5 * time.Minute
	webhookURLMax       = 8 << 10
	webhookHeadersMax   = 50
	webhookHeaderMax    = 8 << 10 // bytes of one value
	webhookReadMax      = 64 << 10
	webhookRecordedBody = 1 << 10
	webhookRedirectsMax = 3
)

var webhookMethods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// webhookDeniedHeaders are those that frame the message or name its receiver:
// they are the HTTP client's to set. The webhook-* headers are ours.
var webhookDeniedHeaders = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// WebhookArgs are the arguments of a webhook job.
type WebhookArgs struct {
	URL           string            // absolute, http or https
	Method        string            // GET, POST, PUT, PATCH or DELETE
	Headers       map[string]string // sent as they are, but for secret://name
	Body          json.RawMessage   // sent as JSON; nil: see DecodeWebhookArgs
	Timeout       time.Duration     // of the whole exchange, 1 s to 5 min
	SigningSecret string            // the name of a secret; empty: it isn't signed
	Redirects     int               // how many are followed
	Retry         *RetryPolicy      // nil: River's own
}

// DecodeWebhookArgs reads the arguments of a webhook job and checks them, without
// looking anything up:
//
//	{"url": "https://example.com/hook", "method": "POST", "headers": {}, "body": {}, "timeout": "15s",
//	 "signing_secret": "name", "redirects": 0,
//	 "retry": {"base": "10s", "max": "1h", "jitter": 0.1, "statuses": {"4xx": "final", "429": "retry"}}}
//
// Only url is required; the others have the defaults shown, but for signing_secret
// (none) and retry (River's own). A header whose value is secret://name has that
// secret's value. Without a body, POST, PUT and PATCH send an object with the run's
// run_id, schedule_id, schedule_name and scheduled_for; GET and DELETE send none.
// Unknown fields are refused.
func DecodeWebhookArgs(raw json.RawMessage) (WebhookArgs, []schedule.FieldError) {
	a := WebhookArgs{Method: http.MethodPost, Timeout: webhookTimeout}
	var inRetry []schedule.FieldError
	wrong := decodeFields(raw, KindWebhook, map[string]fieldDecoder{
		"url":            text(&a.URL),
		"method":         text(&a.Method),
		"signing_secret": text(&a.SigningSecret),
		"redirects":      number(&a.Redirects),
		"retry": func(raw json.RawMessage) string {
			a.Retry, inRetry = decodeRetry(raw)
			return ""
		},
		"headers": func(raw json.RawMessage) string {
			var headers map[string]*string
			if json.Unmarshal(raw, &headers) != nil || headers == nil {
				return "must be an object of strings"
			}
			a.Headers = make(map[string]string, len(headers))
			for name, value := range headers {
				if value == nil {
					return "must be an object of strings"
				}
				a.Headers[name] = *value
			}
			return ""
		},
		"body":    func(raw json.RawMessage) string { a.Body = raw; return "" },
		"timeout": duration(&a.Timeout),
	})
	if wrong = append(wrong, inRetry...); len(wrong) > 0 {
		return a, wrong
	}
	return a, a.Validate()
}

// Validate is every field that can't be accepted, by its path in a schedule's
// JSON, in a fixed order; none if the arguments are good.
func (a WebhookArgs) Validate() []schedule.FieldError {
	var wrong []schedule.FieldError
	refuse := func(field, reason string) {
		wrong = append(wrong, schedule.FieldError{Field: argsPath + "." + field, Reason: reason})
	}
	if reason := checkURL(a.URL); reason != "" {
		refuse("url", reason)
	}
	if !slices.Contains(webhookMethods, a.Method) {
		refuse("method", "must be one of "+strings.Join(webhookMethods, ", "))
	}
	if len(a.Headers) > webhookHeadersMax {
		refuse("headers", fmt.Sprintf("must be at most %d", webhookHeadersMax))
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name) || len(name) > 256:
			refuse("headers", fmt.Sprintf("has the name %.80q, which isn't a header's", name))
		case slices.Contains(webhookDeniedHeaders, canonical) || strings.HasPrefix(canonical, "Webhook-"):
			refuse("headers."+name, "is set by riverbeat alone")
		case seen[canonical]:
			refuse("headers."+name, "is there twice")
		case len(a.Headers[name]) > webhookHeaderMax:
			refuse("headers."+name, fmt.Sprintf("must be at most %d bytes", webhookHeaderMax))
		case !httpguts.ValidHeaderFieldValue(a.Headers[name]):
			refuse("headers."+name, "must not contain control characters")
		case strings.Contains(a.Headers[name], secretScheme):
			if secret, ok := secretName(a.Headers[name]); !ok || !schedule.ValidNamespace(secret) {
				refuse("headers."+name, "must be secret:// and the name of a secret, and nothing else: the secret is the whole value")
			}
		}
		seen[canonical] = true
	}
	if a.Body != nil && !json.Valid(a.Body) {
		refuse("body", "must be JSON")
	}
	if a.Timeout < webhookShortest || a.Timeout > webhookTimeoutMax {
		refuse("timeout", "must be from 1s to 5m")
	}
	if a.SigningSecret != "" && !schedule.ValidNamespace(a.SigningSecret) { // their names look alike
		refuse("signing_secret", schedule.NameRule)
	}
	if a.Redirects < 0 || a.Redirects > webhookRedirectsMax {
		refuse("redirects", fmt.Sprintf("must be from 0 to %d", webhookRedirectsMax))
	}
	return append(wrong, a.Retry.validate()...)
}

// secretScheme begins a header's value that is a secret's.
const secretScheme = "secret://"

// secretName is the secret that a header's value names, if it does.
func secretName(value string) (name string, ok bool) { return strings.CutPrefix(value, secretScheme) }

// secrets are those that the arguments name.
func (a WebhookArgs) secrets() (uses []schedule.SecretUse) {
	if a.SigningSecret != "" {
		uses = append(uses, schedule.SecretUse{Field: argsPath + ".signing_secret", Name: a.SigningSecret, Signs: true})
	}
	for _, header := range slices.Sorted(maps.Keys(a.Headers)) {
		if name, ok := secretName(a.Headers[header]); ok {
			uses = append(uses, schedule.SecretUse{Field: argsPath + ".headers." + header, Name: name})
		}
	}
	return uses
}

// checkURL says why a webhook can't be sent there, or nothing. What the host
// resolves to isn't asked: that is the guard's to judge, each time.
func checkURL(s string) (reason string) {
	switch {
	case s == "":
		return "is required"
	case len(s) > webhookURLMax:
		return fmt.Sprintf("must be at most %d bytes", webhookURLMax)
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f && r < 0xa0 }):
		return "must not contain spaces or control characters"
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "isn't a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return "must be an absolute http or https URL"
	case u.User != nil:
		return "must not contain a user name or password"
	case strings.Contains(s, "#"):
		return "must not contain a fragment"
	case u.Hostname() == "":
		return "must name a host"
	case strings.Contains(u.Hostname(), "%"):
		return "must not contain a zone"
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "must have a port from 1 to 65535"
		}
	}
	return ""
}

// webhookJob keeps a job's arguments as they are: were they decoded by River, bad
// ones would be retried.
type webhookJob struct {
	json.RawMessage
	rest time.Duration // that the receiver asked for; from Work to NextRetry
}

func (webhookJob) Kind() string { return KindWebhook }

// webhookWorker sends webhooks. A delivery is repeated when its answer is lost,
// so a receiver that minds remembers the webhook-id, which is the run's id.
type webhookWorker struct {
	river.WorkerDefaults[webhookJob]
	transport *http.Transport
	hosts     *hostLimit
	secrets   SecretReader // nil: there are none
	userAgent string
}

// webhookConfig is what a webhookWorker is made of. The zero value reaches the
// public internet.
type webhookConfig struct {
	allow     []netip.Prefix
	ports     []uint16
	backends  []string // host:port
	perHost   int
	secrets   SecretReader
	userAgent string
	resolver  *net.Resolver // nil: the machine's own
}

// webhooksPerHost is how many webhooks are under way to one host when nobody says
// otherwise.
const webhooksPerHost = 8

// newWebhookWorker sends through connections that the guard has seen.
func newWebhookWorker(c webhookConfig) *webhookWorker {
	dialer := &net.Dialer{
		Timeout:        10 * time.Second,
		ControlContext: newGuard(c.allow, c.ports, newBackends(c.backends, c.resolver)).control,
		Resolver:       c.resolver,
	}
	return &webhookWorker{
		hosts:     newHostLimit(cmp.Or(c.perHost, webhooksPerHost)),
		secrets:   c.secrets,
		userAgent: cmp.Or(c.userAgent, "riverbeat"),
		transport: &http.Transport{
			Proxy:                  nil, // behind a proxy the guard would only ever see the proxy
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    10 * time.Second,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true, // what is read is bounded as it came
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           100,
			MaxIdleConnsPerHost:    10,
			IdleConnTimeout:        30 * time.Second,
		},
	}
}

// Timeout leaves a minute after the exchange for River to record its end, so that
// a job whose request still runs is never taken for a stuck one.
func (w *webhookWorker) Timeout(job *river.Job[webhookJob]) time.Duration {
	a, wrong := DecodeWebhookArgs(job.Args.RawMessage)
	if len(wrong) > 0 {
		return 0 // the client's; Work cancels it at once
	}
	return a.Timeout + time.Minute
}

// hostPatience is how long a job waits for its turn at a host before it makes way
// for others.
const hostPatience = time.Second

// Work sends the webhook once. An answer of 2xx is success. Everything else is an
// error, which River retries, except what no retry can mend: arguments that can't
// be read, a status that the retry policy calls final, and a blocked address or port
// that the URL itself spells. A *name* that resolves to a blocked address is
// retried, since names are pointed elsewhere.
func (w *webhookWorker) Work(ctx context.Context, job *river.Job[webhookJob]) error {
	a, wrong := DecodeWebhookArgs(job.Args.RawMessage)
	if err := invalid(wrong); err != nil {
		return river.JobCancel(fmt.Errorf("read the job's arguments: %w", err))
	}
	release, ok := w.hosts.acquire(ctx, hostOf(a.URL), hostPatience)
	if !ok {
		if ctx.Err() != nil {
			return fmt.Errorf("wait for other webhooks to the host: %w", context.Cause(ctx))
		}
		return river.JobSnooze(untilNextTurn(job.Metadata))
	}
	defer release()
	start := time.Now()
	answer, err := w.send(ctx, a, runOf(job.ID, job.Metadata))
	answer.DurationMS = time.Since(start).Milliseconds()
	if err := river.RecordOutput(ctx, answer); err != nil { // River keeps it for failed attempts, too
		return fmt.Errorf("record the answer: %w", err)
	}
	job.Args.rest = answer.rest
	var blocked *blockedError
	switch {
	case errors.As(err, &blocked) && (blocked.port != 0 || spellsAddress(a.URL)):
		return river.JobCancel(err)
	case err != nil && a.Retry.isFinal(answer.Status):
		return river.JobCancel(err)
	}
	return err
}

// NextRetry is by the job's own policy, and not before the receiver wants it. The
// zero time leaves it to River.
func (w *webhookWorker) NextRetry(job *river.Job[webhookJob]) time.Time {
	a, wrong := DecodeWebhookArgs(job.Args.RawMessage)
	if len(wrong) > 0 {
		return time.Time{}
	}
	return a.Retry.next(time.Now(), job.JobRow, job.Args.rest)
}

// untilNextTurn is how long a job makes way that found its host busy: the longer
// the more often it did.
func untilNextTurn(metadata []byte) time.Duration {
	var m struct {
		Snoozes int `json:"snoozes"` // River counts them
	}
	if json.Unmarshal(metadata, &m) != nil {
		m.Snoozes = 0
	}
	most := min(time.Second<<min(m.Snoozes, 5), 30*time.Second)
	return most/2 + rand.N(most/2)
}

// hostOf is the host that a URL names.
func hostOf(webhookURL string) string {
	u, err := url.Parse(webhookURL)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
}

// webhookAnswer is what a job's output says of its last attempt.
type webhookAnswer struct {
	Status     int    `json:"status,omitempty"` // none when there was no answer
	DurationMS int64  `json:"duration_ms"`
	Body       string `json:"body"` // its first KiB

	rest time.Duration // how long the receiver wants not to be asked
}

// send makes the exchange. The answer is set as far as there was one.
func (w *webhookWorker) send(parent context.Context, a WebhookArgs, run RunMetadata) (webhookAnswer, error) {
	ctx, cancel := context.WithTimeout(parent, a.Timeout)
	defer cancel()

	values, err := w.readSecrets(ctx, a, run.Namespace)
	if err != nil {
		return webhookAnswer{}, err
	}
	req, err := w.request(ctx, a, run, values)
	if err != nil {
		return webhookAnswer{}, err
	}
	client := &http.Client{Transport: w.transport, CheckRedirect: redirects(a).check}
	resp, err := client.Do(req)
	if err != nil {
		if parent.Err() != nil {
			// River tells a stop and a cancelled job from a failure by this.
			return webhookAnswer{}, fmt.Errorf("send the webhook: %w", context.Cause(parent))
		}
		return webhookAnswer{}, fmt.Errorf("send the webhook: %w", transportError(ctx, err, a.Timeout))
	}
	defer resp.Body.Close()

	// The status decides. A body that ends early changes nothing: the receiver has
	// answered, and another delivery would be a second one.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, webhookReadMax))
	body = values.hide(body) // some receivers answer with what they were sent
	answer := webhookAnswer{
		Status: resp.StatusCode,
		Body:   storable(string(body[:min(len(body), webhookRecordedBody)])),
		rest:   wantedRest(resp),
	}
	switch status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))); {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return answer, nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400 && a.Redirects == 0:
		return answer, fmt.Errorf("the webhook was answered with %s: redirects are not followed", status)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return answer, fmt.Errorf("the webhook was answered with %s: at most %d redirects are followed, from https to https", status, a.Redirects)
	default:
		return answer, fmt.Errorf("the webhook was answered with %s", status)
	}
}

func (w *webhookWorker) request(ctx context.Context, a WebhookArgs, run RunMetadata, values secretValues) (*http.Request, error) {
	body := []byte(a.Body)
	if body == nil && a.Method != http.MethodGet && a.Method != http.MethodDelete {
		var err error
		body, err = json.Marshal(map[string]any{
			"run_id":        run.RunID,
			"schedule_id":   run.ScheduleID,
			"schedule_name": run.ScheduleName,
			"scheduled_for": run.ScheduledFor,
		})
		if err != nil {
			return nil, fmt.Errorf("write the webhook's body: %w", err)
		}
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, a.Method, a.URL, reader)
	if err != nil {
		return nil, fmt.Errorf("write the webhook's request: %w", err)
	}
	req.Header.Set("User-Agent", w.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if a.Method != http.MethodGet {
		req.Header.Set("Idempotency-Key", run.RunID)
	}
	for name, value := range a.Headers {
		if secret, ok := secretName(value); ok {
			value = values[secret][0]
		}
		req.Header.Set(name, value)
	}
	now := time.Now()
	req.Header.Set(standardwebhooks.HeaderWebhookID, run.RunID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if a.SigningSecret != "" {
		signature, err := sign(values[a.SigningSecret], run.RunID, now, body)
		if err != nil {
			return nil, fmt.Errorf("sign with the secret %s: %w", a.SigningSecret, err)
		}
		req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	return req, nil
}

// redirects are how a webhook's redirects are followed.
type redirects WebhookArgs

// check is http.Client's CheckRedirect. What it doesn't let through is an answer
// like any other that isn't 2xx: following it would send the body and the headers to
// somebody the author didn't name. Where a redirect leads is for the guard to judge,
// as with every connection.
func (a redirects) check(req *http.Request, via []*http.Request) error {
	to, from := *req.URL, via[0].URL
	to.Fragment, to.RawFragment = "", "" // which isn't sent
	if len(via) > a.Redirects || from.Scheme != "https" || to.Scheme != "https" || checkURL(to.String()) != "" {
		return http.ErrUseLastResponse
	}
	req.Header.Del("Referer") // the URL may hold what is meant for its own host only
	if to.Host != from.Host {
		for name := range a.Headers {
			req.Header.Del(name)
		}
		for _, name := range []string{"Authorization", "Cookie", "Idempotency-Key", standardwebhooks.HeaderWebhookSignature} {
			req.Header.Del(name)
		}
	}
	if req.Method != a.Method { // and has no body any more
		req.Header.Del(standardwebhooks.HeaderWebhookSignature)
	}
	return nil
}

// runOf is the run that a job belongs to. A job that somebody inserted by hand has
// none: its own id then tells a repeated delivery from a new one.
func runOf(jobID int64, metadata []byte) RunMetadata {
	run, ok := ReadRunMetadata(metadata)
	if !ok {
		return RunMetadata{RunID: "job_" + strconv.FormatInt(jobID, 10)}
	}
	return run
}

func spellsAddress(webhookURL string) bool {
	u, err := url.Parse(webhookURL)
	if err != nil {
		return false
	}
	_, err = netip.ParseAddr(u.Hostname())
	return err == nil
}

// transportError says what went wrong without what the schedule's author needn't
// learn: neither the addresses of our resolvers and sockets nor the whole URL. The
// context is the exchange's own, which ends by its timeout.
func transportError(ctx context.Context, err error, timeout time.Duration) error {
	var (
		blocked     *blockedError
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		op          *net.OpError
		whole       *url.Error
	)
	switch {
	case errors.As(err, &blocked):
		if errors.As(err, &whole) && !spellsAddress(whole.URL) {
			return &hiddenError{blocked}
		}
		return blocked
	case errors.As(err, &dns):
		switch {
		case dns.IsNotFound:
			return fmt.Errorf("look up %q: no such host", dns.Name)
		case dns.IsTimeout:
			return fmt.Errorf("look up %q: the name servers didn't answer", dns.Name)
		default:
			return fmt.Errorf("look up %q: the name servers didn't know", dns.Name)
		}
	case ctx.Err() != nil:
		return fmt.Errorf("no answer within %s", timeout)
	case errors.As(err, &certificate):
		return fmt.Errorf("check the server's certificate: %s", storable(certificate.Err.Error()))
	case errors.As(err, &op):
		return fmt.Errorf("%s: %s", op.Op, storable(op.Err.Error()))
	case errors.As(err, &whole):
		return errors.New(storable(whole.Err.Error()))
	default:
		return errors.New(storable(err.Error()))
	}
}

// hiddenError is a blockedError that doesn't say which address a name resolved to.
type hiddenError struct{ *blockedError }

func (e *hiddenError) Error() string { return e.about("the host's address") }
func (e *hiddenError) Unwrap() error { return e.blockedError }

// storable makes text that PostgreSQL takes in a jsonb out of what a stranger sent.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
