package jobs

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
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
	URL     string            // absolute, http or https
	Method  string            // GET, POST, PUT, PATCH or DELETE
	Headers map[string]string // sent as they are
	Body    json.RawMessage   // sent as JSON; nil: see DecodeWebhookArgs
	Timeout time.Duration     // of the whole exchange, 1 s to 5 min
}

// DecodeWebhookArgs reads the arguments of a webhook job and checks them, without
// looking anything up:
//
//	{"url": "https://example.com/hook", "method": "POST", "headers": {}, "body": {}, "timeout": "15s"}
//
// Only url is required; the others have the defaults shown. Without a body, POST,
// PUT and PATCH send an object with the run's run_id, schedule_id, schedule_name
// and scheduled_for; GET and DELETE send none. Unknown fields are refused.
func DecodeWebhookArgs(raw json.RawMessage) (WebhookArgs, []schedule.FieldError) {
	a := WebhookArgs{Method: http.MethodPost, Timeout: webhookTimeout}
	wrong := decodeFields(raw, KindWebhook, map[string]fieldDecoder{
		"url":    text(&a.URL),
		"method": text(&a.Method),
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
		"body": func(raw json.RawMessage) string { a.Body = raw; return "" },
		"timeout": func(raw json.RawMessage) string {
			var written string
			if reason := text(&written)(raw); reason != "" {
				return `must be a duration such as "15s"`
			}
			timeout, err := time.ParseDuration(written)
			if err != nil {
				return `must be a duration such as "15s"`
			}
			a.Timeout = timeout
			return ""
		},
	})
	if len(wrong) > 0 {
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
		}
		seen[canonical] = true
	}
	if a.Body != nil && !json.Valid(a.Body) {
		refuse("body", "must be JSON")
	}
	if a.Timeout < webhookShortest || a.Timeout > webhookTimeoutMax {
		refuse("timeout", "must be from 1s to 5m")
	}
	return wrong
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
type webhookJob struct{ json.RawMessage }

func (webhookJob) Kind() string { return KindWebhook }

// webhookWorker sends webhooks. A delivery is repeated when its answer is lost,
// so a receiver that minds remembers the webhook-id, which is the run's id.
type webhookWorker struct {
	river.WorkerDefaults[webhookJob]
	client    *http.Client
	userAgent string
}

// newWebhookWorker sends through connections that the guard has seen. The
// resolver may be nil, for the machine's own.
func newWebhookWorker(allow []netip.Prefix, userAgent string, resolver *net.Resolver) *webhookWorker {
	dialer := &net.Dialer{
		Timeout:  10 * time.Second,
		Control:  newGuard(allow).control,
		Resolver: resolver,
	}
	return &webhookWorker{
		userAgent: userAgent,
		client: &http.Client{
			// A redirect is an answer like any other that isn't 2xx: following it
			// would send the body and the headers to somebody the author didn't name.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  nil, // behind a proxy the guard would only ever see the proxy
				DialContext:            dialer.DialContext,
				TLSHandshakeTimeout:    10 * time.Second,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true, // what is read is bounded as it came
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConns:           100,
				MaxIdleConnsPerHost:    10,
				IdleConnTimeout:        30 * time.Second,
			},
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

// Work sends the webhook once. An answer of 2xx is success. Everything else is an
// error, which River retries, except what no retry can mend: arguments that can't
// be read, and a blocked address that the URL itself spells. A *name* that resolves
// to a blocked address is retried, since names are pointed elsewhere.
func (w *webhookWorker) Work(ctx context.Context, job *river.Job[webhookJob]) error {
	a, wrong := DecodeWebhookArgs(job.Args.RawMessage)
	if err := invalid(wrong); err != nil {
		return river.JobCancel(fmt.Errorf("read the job's arguments: %w", err))
	}
	start := time.Now()
	answer, err := w.send(ctx, a, runOf(job.ID, job.Metadata))
	answer.DurationMS = time.Since(start).Milliseconds()
	if err := river.RecordOutput(ctx, answer); err != nil { // River keeps it for failed attempts, too
		return fmt.Errorf("record the answer: %w", err)
	}
	var blocked *blockedError
	if errors.As(err, &blocked) && spellsAddress(a.URL) {
		return river.JobCancel(err)
	}
	return err
}

// webhookAnswer is what a job's output says of its last attempt.
type webhookAnswer struct {
	Status     int    `json:"status,omitempty"` // none when there was no answer
	DurationMS int64  `json:"duration_ms"`
	Body       string `json:"body"` // its first KiB
}

// send makes the exchange. The answer is set as far as there was one.
func (w *webhookWorker) send(parent context.Context, a WebhookArgs, run RunMetadata) (webhookAnswer, error) {
	ctx, cancel := context.WithTimeout(parent, a.Timeout)
	defer cancel()

	req, err := w.request(ctx, a, run)
	if err != nil {
		return webhookAnswer{}, err
	}
	resp, err := w.client.Do(req)
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
	answer := webhookAnswer{
		Status: resp.StatusCode,
		Body:   storable(string(body[:min(len(body), webhookRecordedBody)])),
	}
	switch status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))); {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
		return answer, nil
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return answer, fmt.Errorf("the webhook was answered with %s: redirects are not followed", status)
	default:
		return answer, fmt.Errorf("the webhook was answered with %s", status)
	}
}

func (w *webhookWorker) request(ctx context.Context, a WebhookArgs, run RunMetadata) (*http.Request, error) {
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
	for name, value := range a.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("webhook-id", run.RunID)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(time.Now().Unix(), 10))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
	return req, nil
}

// runOf is the run that a job belongs to. A job that somebody inserted by hand has
// none: its own id then tells a repeated delivery from a new one.
func runOf(jobID int64, metadata []byte) RunMetadata {
	var m jobMetadata
	if json.Unmarshal(metadata, &m) != nil || m.Riverbeat.RunID == "" {
		return RunMetadata{RunID: "job_" + strconv.FormatInt(jobID, 10)}
	}
	return m.Riverbeat
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

// storable makes text that PostgreSQL takes in a jsonb out of what a stranger sent.
func storable(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
