// Package client talks to riverbeat's HTTP API. The types and one method an operation
// are generated from the API's own document; what is written by hand makes them safe
// to use: who it is comes with every request, an edit names the version that it is
// based on, a POST can be repeated, an answer that says so is waited for, and what
// isn't a success is an error.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// API is riverbeat over HTTP. Each operation of the document is a method ending in
// WithResponse; its error is an *Error whenever the server has answered with one, so
// that without an error the answer is there. A field or parameter that is nil is left
// out. It may be used by several goroutines.
type API struct{ *ClientWithResponses }

// Option changes what New makes.
type Option func(*sender)

// Through sends requests by another HTTP client than New's own.
func Through(c *http.Client) Option { return func(s *sender) { s.http = c } }

// WithPatience is how long an operation may wait, in sum, for a server that asks to try
// again later (429 and 503 with Retry-After): 30 s unless it is set, 0 not to wait.
func WithPatience(d time.Duration) Option { return func(s *sender) { s.patience = d } }

// New is the API at the base URL, such as http://127.0.0.1:8080, for who has the token;
// an empty one sends none.
func New(base, token string, options ...Option) (*API, error) {
	at, err := url.Parse(base)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" {
		// The URL isn't repeated: it may hold a password.
		return nil, errors.New("the base URL must be like http://127.0.0.1:8080")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = 90 * time.Second // longer than the server takes over anything
	s := &sender{http: &http.Client{Transport: transport}, base: strings.TrimSuffix(at.Path, "/"), token: token, patience: 30 * time.Second}
	for _, option := range options {
		option(s)
	}
	generated, err := NewClientWithResponses(base, WithHTTPClient(s))
	if err != nil {
		return nil, err
	}
	return &API{generated}, nil
}

// Error is an answer of the server that isn't a success: RFC 9457 problem details.
type Error struct {
	Status int          // of HTTP
	Title  string       // what the status is called
	Detail string       // a sentence for people; may be empty
	Fields []FieldError // that are wrong; may be none

	RequestID  string        // by which the server's log has it
	RetryAfter time.Duration // 0: the server doesn't say
}

// FieldError is a field that is wrong, such as spec.cron, and why.
type FieldError struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

func (e *Error) Error() string {
	text := e.Title
	if e.Detail != "" {
		text = e.Detail
	}
	for i, f := range e.Fields {
		sep := "; "
		if i == 0 {
			sep = " "
		}
		text += sep + f.Field + " " + f.Reason
	}
	return fmt.Sprintf("%s (%d)", text, e.Status)
}

// IsStatus reports whether the error is an *Error with one of the statuses.
func IsStatus(err error, statuses ...int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	for _, status := range statuses {
		if e.Status == status {
			return true
		}
	}
	return false
}

// AnyVersion is what If-Match says of an edit that takes any version for its base.
const AnyVersion = "*"

// ETag is what If-Match says of the version that the edit is based on.
func ETag(version *int64) string {
	if version == nil {
		return ""
	}
	return `"` + strconv.FormatInt(*version, 10) + `"`
}

// Edit reads the schedule, has change change it and puts it back, and once more with
// what is there then, when somebody else has changed it meanwhile. An error of change
// ends it.
func (a *API) Edit(ctx context.Context, id string, params GetScheduleParams, change func(*Schedule) error) (*Schedule, error) {
	const tries = 5
	for try := 1; ; try++ {
		read, err := a.GetScheduleWithResponse(ctx, id, &params)
		if err != nil {
			return nil, err
		}
		s := read.JSON200
		tag := ETag(s.Version)
		if err := change(s); err != nil {
			return nil, err
		}
		put, err := a.ReplaceScheduleWithResponse(ctx, id, &ReplaceScheduleParams{IfMatch: tag, Namespace: params.Namespace}, *s)
		if err == nil {
			return put.JSON200, nil
		}
		if !IsStatus(err, http.StatusPreconditionFailed) || try == tries {
			return nil, err
		}
	}
}

// Schedules are all that params name, page by page as they are asked for. It ends with
// the first error.
func (a *API) Schedules(ctx context.Context, params ListSchedulesParams) iter.Seq2[Schedule, error] {
	return Pages(params.PageToken, func(token *string) ([]Schedule, string, error) {
		params.PageToken = token
		page, err := a.ListSchedulesWithResponse(ctx, &params)
		if err != nil {
			return nil, "", err
		}
		return page.JSON200.Schedules, page.JSON200.NextPageToken, nil
	})
}

// Runs are those of a schedule, newest first, like Schedules.
func (a *API) Runs(ctx context.Context, id string, params ListRunsParams) iter.Seq2[Run, error] {
	return Pages(params.PageToken, func(token *string) ([]Run, string, error) {
		params.PageToken = token
		page, err := a.ListRunsWithResponse(ctx, id, &params)
		if err != nil {
			return nil, "", err
		}
		return page.JSON200.Runs, page.JSON200.NextPageToken, nil
	})
}

// Revisions are those of a schedule, newest first, like Schedules.
func (a *API) Revisions(ctx context.Context, id string, params ListRevisionsParams) iter.Seq2[Revision, error] {
	return Pages(params.PageToken, func(token *string) ([]Revision, string, error) {
		params.PageToken = token
		page, err := a.ListRevisionsWithResponse(ctx, id, &params)
		if err != nil {
			return nil, "", err
		}
		return page.JSON200.Revisions, page.JSON200.NextPageToken, nil
	})
}

// Calendars are those of a namespace, by name, like Schedules.
func (a *API) Calendars(ctx context.Context, params ListCalendarsParams) iter.Seq2[Calendar, error] {
	return Pages(params.PageToken, func(token *string) ([]Calendar, string, error) {
		params.PageToken = token
		page, err := a.ListCalendarsWithResponse(ctx, &params)
		if err != nil {
			return nil, "", err
		}
		return page.JSON200.Calendars, page.JSON200.NextPageToken, nil
	})
}

// Pages goes through the pages of any list, from the page of the token, nil for the
// first. fetch is given the token of the page and gives that of the next, "" after the
// last one.
func Pages[T any](token *string, fetch func(token *string) (page []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for token := token; ; {
			page, next, err := fetch(token)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, one := range page {
				if !yield(one, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			token = &next
		}
	}
}

// sender sends what the generated client makes.
type sender struct {
	http     *http.Client
	base     string // path before those of the document
	token    string
	patience time.Duration
}

// Do is HttpRequestDoer.
func (s *sender) Do(request *http.Request) (*http.Response, error) {
	if request.Header.Get("If-Match") == "" && s.isConditional(request) {
		return nil, fmt.Errorf("%s %s: the edit names no version: set IfMatch to an ETag or AnyVersion", request.Method, request.URL.Path)
	}
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	if request.Method == http.MethodPost && request.Header.Get("Idempotency-Key") == "" {
		request.Header.Set("Idempotency-Key", uuid.NewString())
	}
	for left := s.patience; ; {
		response, err := s.http.Do(request)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < 400 {
			return response, nil
		}
		problem := readError(response)
		wait := problem.RetryAfter
		again := response.StatusCode == http.StatusTooManyRequests || response.StatusCode == http.StatusServiceUnavailable
		if !again || wait <= 0 || wait > left {
			return nil, problem
		}
		left -= wait
		if err := sleep(request.Context(), wait); err != nil {
			return nil, errors.Join(err, problem)
		}
		if request.GetBody != nil {
			if request.Body, err = request.GetBody(); err != nil {
				return nil, fmt.Errorf("send it again: %w", err)
			}
		} else if request.Body != nil && request.Body != http.NoBody {
			return nil, problem // it was a stream
		}
	}
}

func (s *sender) isConditional(request *http.Request) bool {
	is := request.Method + " " + strings.TrimPrefix(request.URL.EscapedPath(), s.base)
	for _, operation := range conditional {
		if ok, err := path.Match(operation, is); ok && err == nil {
			return true
		}
	}
	return false
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// readError reads an answer that is none of success, and closes it.
func readError(response *http.Response) *Error {
	defer response.Body.Close()
	e := &Error{Status: response.StatusCode, Title: http.StatusText(response.StatusCode), RequestID: response.Header.Get("X-Request-Id")}
	if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 16); err == nil {
		e.RetryAfter = max(time.Duration(seconds)*time.Second, 100*time.Millisecond)
	}
	const longest = 1 << 20
	text, err := io.ReadAll(io.LimitReader(response.Body, longest))
	if err != nil {
		return e // the status is what is known of it
	}
	var problem struct {
		Title, Detail string
		Errors        []FieldError
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(text, &problem) == nil {
		e.Title, e.Detail, e.Fields = problem.Title, problem.Detail, problem.Errors
	} else if line, _, _ := bytes.Cut(text, []byte("\n")); len(line) > 0 && len(line) <= 200 {
		e.Detail = string(line) // of a proxy, say
	}
	return e
}
