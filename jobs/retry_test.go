package jobs

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestARetryWaitsAsItsPolicySays(t *testing.T) {
	t.Parallel()
	minute := &RetryPolicy{Base: time.Minute, Max: 10 * time.Minute}
	jittered := &RetryPolicy{Base: time.Minute, Max: 10 * time.Minute, Jitter: 0.5}
	for _, test := range []struct {
		policy      *RetryPolicy
		attempt     int
		rest        time.Duration
		least, most time.Duration
	}{
		{minute, 1, 0, time.Minute, time.Minute},
		{minute, 2, 0, 2 * time.Minute, 2 * time.Minute},
		{minute, 4, 0, 8 * time.Minute, 8 * time.Minute},
		{minute, 5, 0, 10 * time.Minute, 10 * time.Minute},
		{minute, 32767, 0, 10 * time.Minute, 10 * time.Minute},
		{&RetryPolicy{Base: 24 * time.Hour, Max: 168 * time.Hour}, 32, 0, 168 * time.Hour, 168 * time.Hour},
		{jittered, 1, 0, 30 * time.Second, 90 * time.Second},
		{minute, 1, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute}, // Retry-After
		{minute, 4, time.Minute, 8 * time.Minute, 8 * time.Minute},
		{minute, 1, 24 * time.Hour, 10 * time.Minute, 10 * time.Minute},
		{nil, 1, 30 * time.Minute, 30 * time.Minute, 30 * time.Minute},
		{nil, 1, 24 * time.Hour, time.Hour, time.Hour},
	} {
		now := time.Now() // River's own policy asks the clock
		got := test.policy.next(now, &rivertype.JobRow{Attempt: test.attempt}, test.rest).Sub(now)
		if got < test.least || got > test.most {
			t.Errorf("%+v after attempt %d, rest %v: %v, want %v to %v", test.policy, test.attempt, test.rest, got, test.least, test.most)
		}
	}
	var none *RetryPolicy
	if next := none.next(noon, &rivertype.JobRow{Attempt: 1}, 0); !next.IsZero() {
		t.Errorf("without a policy: %v", next)
	}
}

func TestAStatusIsFinalOrNotAsThePolicySays(t *testing.T) {
	t.Parallel()
	p := &RetryPolicy{Statuses: map[string]string{"4xx": "final", "429": "retry", "503": "final"}}
	var final []int
	for _, status := range []int{0, 302, 400, 404, 429, 500, 503} {
		if p.isFinal(status) {
			final = append(final, status)
		}
	}
	if !slices.Equal(final, []int{400, 404, 503}) {
		t.Errorf("final are %v", final)
	}
}

func TestWhatTheReceiverAnswersDecidesTheNextTry(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	answer := func(status int, after string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(status)
		}
	}
	url, _ := receiver(t, map[string]http.HandlerFunc{
		"/404": answer(404, ""), "/429": answer(429, "1200"), "/500": answer(500, "1200"), "/503": answer(503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)),
	})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, NeverLead: true})
	const policy = `"retry": {"base": "60s", "max": "30m", "jitter": 0, "statuses": {"4xx": "final", "429": "retry"}}`
	for path, want := range map[string]time.Duration{"/404": -1, "/429": 20 * time.Minute, "/500": time.Minute, "/503": 30 * time.Minute} {
		s := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s%s", %s}`, url, path, policy))
		s.Job.MaxAttempts = 5
		job := client.next(t, insert(t, pool, s))
		if want < 0 {
			if job.State != rivertype.JobStateCancelled || !strings.HasPrefix(lastError(job), "JobCancelError: the webhook was answered with 404") {
				t.Errorf("%s: the job is %s: %s", path, job.State, lastError(job))
			}
			continue
		}
		wait := job.ScheduledAt.Sub(*job.AttemptedAt)
		if job.State != rivertype.JobStateRetryable || wait < want || wait > want+10*time.Second {
			t.Errorf("%s: the job is %s, to be tried after %v, want %v: %s", path, job.State, wait, want, lastError(job))
		}
	}
}

func TestNoMoreThanTheLimitAreUnderWayToOneHost(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	var now, most atomic.Int64
	url, _ := receiver(t, map[string]http.HandlerFunc{"/": func(http.ResponseWriter, *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
	}})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, WebhooksPerHost: 3})
	left := map[int64]bool{}
	for range 40 {
		left[insert(t, pool, aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/"}`, url)))] = true
	}
	timeout := time.After(time.Minute)
	for len(left) > 0 {
		select {
		case event := <-client.events:
			if event.Kind == river.EventKindJobCompleted {
				delete(left, event.Job.ID)
			} else if event.Kind != river.EventKindJobSnoozed {
				t.Fatalf("%s: %+v", event.Kind, event.Job)
			}
		case <-timeout:
			t.Fatalf("%d are left", len(left))
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d were under way at once", most.Load())
	}
}

func TestABusyHostIsWaitedForThenMadeWayFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHostLimit(1)
		release, ok := l.acquire(t.Context(), "a.example", time.Second)
		if !ok {
			t.Fatal("the first has to wait")
		}
		if other, ok := l.acquire(t.Context(), "b.example", 0); ok {
			other()
		} else {
			t.Error("another host has to wait")
		}
		begun := time.Now()
		if _, ok := l.acquire(t.Context(), "a.example", time.Second); ok || time.Since(begun) != time.Second {
			t.Errorf("the second: %v after %v", ok, time.Since(begun))
		}
		time.AfterFunc(300*time.Millisecond, release)
		begun = time.Now()
		release, ok = l.acquire(t.Context(), "a.example", time.Second)
		if !ok || time.Since(begun) != 300*time.Millisecond {
			t.Errorf("the third: %v after %v", ok, time.Since(begun))
		}
		release()
		if len(l.hosts) != 0 {
			t.Errorf("left over: %v", l.hosts)
		}
	})
	for snoozes, most := range map[string]time.Duration{`{}`: time.Second, `{"snoozes": 3}`: 8 * time.Second, `{"snoozes": 1000}`: 30 * time.Second, `[]`: time.Second} {
		if d := untilNextTurn([]byte(snoozes)); d < most/2 || d > most {
			t.Errorf("%s: %v", snoozes, d)
		}
	}
}
