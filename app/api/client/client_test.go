package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// scripted is a server that gives these answers in turn, and what it was asked. It
// stands for what a real one does rarely; the rest is tested with a real one.
func scripted(t *testing.T, answers ...http.HandlerFunc) (*API, *[]*http.Request) {
	t.Helper()
	var asked []*http.Request
	transport := roundTripper(func(r *http.Request) (*http.Response, error) {
		recorder := httptest.NewRecorder()
		text := ""
		if r.Body != nil {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return nil, err
			}
			text = string(body)
		}
		r.Header.Set("Test-Body", text)
		asked = append(asked, r.Clone(context.WithoutCancel(r.Context())))
		answers[min(len(asked), len(answers))-1](recorder, r)
		response := recorder.Result()
		response.Request = r
		return response, nil
	})
	api, err := New("http://127.0.0.1:8080/base/", "rb_secret", Through(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	return api, &asked
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func later(status int, seconds string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", seconds)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"type": "about:blank", "title": "Later", "status": 503, "detail": "Try again."}`) // a recorder takes all
	}
}

func fine(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{"name": "n", "spec": {}, "job": {"kind": "k", "args": {"n": 9007199254740993}}}`) // a recorder takes all
}

func TestAServerThatAsksToTryAgainIsAskedAgainWithTheSameKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, asked := scripted(t, later(503, "2"), later(429, "3"), fine)
		begun := time.Now()
		created, err := api.CreateScheduleWithResponse(t.Context(), nil, Schedule{Name: "n", Spec: Spec{Cron: new("@daily")}, Job: Job{Kind: "k"}})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
		if n := len(*asked); n != 3 {
			t.Fatalf("it asked %d times", n)
		}
		for _, r := range *asked {
			for name, want := range map[string]string{
				"Idempotency-Key": (*asked)[0].Header.Get("Idempotency-Key"), "Test-Body": (*asked)[0].Header.Get("Test-Body"),
				"Authorization": "Bearer rb_secret", "Content-Type": "application/json",
			} {
				if got := r.Header.Get(name); got != want || got == "" {
					t.Errorf("%s is %q, not %q", name, got, want)
				}
			}
			if r.URL.String() != "http://127.0.0.1:8080/base/v1/schedules" {
				t.Errorf("it asked %s", r.URL)
			}
		}
		// Numbers that a float64 can't hold come back as they were.
		if got := string(created.JSON201.Job.Args); got != `{"n": 9007199254740993}` {
			t.Errorf("the arguments are %s", got)
		}
	})
}

func TestPatienceEndsWithTheServersOwnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		api, asked := scripted(t, later(503, "20"))
		_, err := api.LivezWithResponse(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Status != 503 || e.RetryAfter != 20*time.Second {
			t.Errorf("the error is %v", err)
		}
		if n := len(*asked); n != 2 {
			t.Errorf("it asked %d times", n)
		}
		// A context that ends while it waits ends it.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := api.LivezWithResponse(ctx); !errors.Is(err, context.DeadlineExceeded) || !IsStatus(err, 503) {
			t.Errorf("the error is %v", err)
		}
		// What isn't asked for isn't tried again.
		api, asked = scripted(t, later(503, ""))
		if _, err := api.LivezWithResponse(t.Context()); !IsStatus(err, 503) || len(*asked) != 1 {
			t.Errorf("it asked %d times: %v", len(*asked), err)
		}
	})
}

func TestAnEditWithoutAVersionIsNotSent(t *testing.T) {
	t.Parallel()
	api, asked := scripted(t, fine)
	ctx := t.Context()
	for name, edit := range map[string]func() error{
		"patch": func() error {
			_, err := api.PatchScheduleWithResponse(ctx, "name:a/b", &PatchScheduleParams{}, json.RawMessage(`{}`))
			return err
		},
		"replace": func() error { _, err := api.ReplaceScheduleWithResponse(ctx, "x", nil, Schedule{}); return err },
		"delete":  func() error { _, err := api.DeleteScheduleWithResponse(ctx, "x", nil); return err },
		"run":     func() error { _, err := api.RunScheduleWithResponse(ctx, "x", nil, RunNow{}); return err },
		"pause":   func() error { _, err := api.PauseScheduleWithResponse(ctx, "x", nil, Pause{}); return err },
		"calendar": func() error {
			_, err := api.DeleteCalendarWithResponse(ctx, "x", &DeleteCalendarParams{})
			return err
		},
	} {
		if err := edit(); err == nil || !strings.Contains(err.Error(), "names no version") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(*asked) != 0 {
		t.Errorf("%d requests were sent", len(*asked))
	}
	if _, err := api.PatchScheduleWithResponse(ctx, "x", &PatchScheduleParams{IfMatch: AnyVersion}, json.RawMessage(`{}`)); err != nil {
		t.Error(err)
	}
	if _, err := api.PreviewWithResponse(ctx, Preview{}); err != nil { // takes none
		t.Error(err)
	}
}

func TestAnErrorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	answer := func(contentType, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("X-Request-Id", "id-1")
			w.WriteHeader(422)
			_, _ = io.WriteString(w, text) // a recorder takes all
		}
	}
	for text, want := range map[string]*Error{
		`{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"2 fields are wrong.","errors":[{"field":"name","reason":"is missing"},{"field":"spec.cron","reason":"is empty"}]}`: {
			Status: 422, Title: "Unprocessable Entity", Detail: "2 fields are wrong.", RequestID: "id-1",
			Fields: []FieldError{{"name", "is missing"}, {"spec.cron", "is empty"}}},
		`{"title":`: {Status: 422, Title: "Unprocessable Entity", Detail: `{"title":`, RequestID: "id-1"},
		``:          {Status: 422, Title: "Unprocessable Entity", RequestID: "id-1"},
	} {
		api, _ := scripted(t, answer("application/problem+json", text))
		_, err := api.LivezWithResponse(t.Context())
		var got *Error
		if !errors.As(err, &got) {
			t.Fatalf("the error is %v", err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	e := &Error{Status: 422, Title: "t", Detail: "2 fields are wrong.", Fields: []FieldError{{"name", "is missing"}, {"spec.cron", "is empty"}}}
	if got := e.Error(); got != "2 fields are wrong. name is missing; spec.cron is empty (422)" {
		t.Error(got)
	}
}

func TestABaseURLIsCheckedAndNotRepeated(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", "127.0.0.1:8080", "ftp://example.com", "http://", "http://user:secret@example.com", "http://example.com/?a=secret", "http://example.com/%zz-secret", "http://x#secret"} {
		if _, err := New(base, ""); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", base, err)
		}
	}
}

func TestPagesAreFetchedAsTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	var fetched atomic.Int64
	list := Pages(nil, func(token *string) ([]int, string, error) {
		switch n := fetched.Add(1); {
		case token == nil && n == 1:
			return []int{1, 2}, "a", nil
		case *token == "a":
			return []int{}, "b", nil
		case *token == "b":
			return []int{3}, "c", nil
		default:
			return nil, "", errors.New("no more")
		}
	})
	var got []int
	var failed error
	for n, err := range list {
		if got = append(got, n); err != nil {
			failed = err
		}
	}
	if !slices.Equal(got, []int{1, 2, 3, 0}) || failed == nil {
		t.Errorf("%v, %v", got, failed)
	}
	fetched.Store(0)
	for _, err := range list {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("%d pages were fetched", n)
	}
}
