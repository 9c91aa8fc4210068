package jobs

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

// A job for this port of loopback is refused at once, which ends its only attempt.
const nobody = `{"url": "http://127.0.0.1:1/"}`

func TestJobsOfOtherKindsAreLeftToOthers(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	foreign := insert(t, pool, aSchedule("python_report", `{}`))
	own := insert(t, pool, aSchedule(KindWebhook, nobody))
	client := work(t, pool, ClientConfig{})
	client.next(t, own)
	if job := client.job(t, foreign); job.State != rivertype.JobStateAvailable || job.Attempt != 0 {
		t.Errorf("the other program's job is %s, attempt %d", job.State, job.Attempt)
	}
}

// lostJob is a job whose process died an age ago.
func lostJob(t *testing.T, pool *pgxpool.Pool, kind, args string) (id int64) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `
INSERT INTO river_job (kind, args, state, attempt, max_attempts, attempted_at, attempted_by)
VALUES ($1, $2, 'running', 1, 5, now() - interval '30 days', '{gone}') RETURNING id`, kind, args).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOnlyOurOwnStuckJobsAreRescued(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	foreign := lostJob(t, pool, "python_report", `{}`)
	own := lostJob(t, pool, KindWebhook, nobody)
	alsoForeign := lostJob(t, pool, "ruby_report", `{}`)
	client := work(t, pool, ClientConfig{}) // leads, alone as it is
	job := client.next(t, own)
	if len(job.Errors) == 0 || !strings.Contains(job.Errors[0].Error, "rescued") {
		t.Errorf("our job wasn't rescued: %+v", job)
	}
	for _, id := range []int64{foreign, alsoForeign} {
		if job := client.job(t, id); job.State != rivertype.JobStateRunning || len(job.Errors) != 0 {
			t.Errorf("another program's job of kind %s is %s: %v", job.Kind, job.State, job.Errors)
		}
	}
}

func TestForeignStuckJobsDontHideOurs(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	for range 25 {
		lostJob(t, pool, "python_report", `{}`)
	}
	var want []int64
	for range 5 {
		want = append(want, lostJob(t, pool, KindListedInfo, `{}`))
	}
	d := newDriver(pool, dbtest.Log(t))
	params := stuckParams()
	got, err := d.pilot.JobGetStuck(t.Context(), d.GetExecutor(), &params)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].ID != want[0] || got[2].ID != want[2] {
		t.Errorf("the first page has %d jobs, want 3 of %v", len(got), want)
	}
	params.AfterID = got[2].ID
	got, err = d.pilot.JobGetStuck(t.Context(), d.GetExecutor(), &params)
	if err != nil || len(got) != 2 || got[1].ID != want[4] {
		t.Errorf("the second page has %d jobs, want 2 of %v; %v", len(got), want, err)
	}
}

func TestAForeignStuckKindIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	lostJob(t, pool, "python_report", `{}`)
	lostJob(t, pool, "python_report", `{}`)
	var log lockedBuffer
	d := newDriver(pool, slog.New(slog.NewTextHandler(&log, nil)))
	for range 2 {
		params := stuckParams()
		if _, err := d.pilot.JobGetStuck(t.Context(), d.GetExecutor(), &params); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(log.String(), "job_kind=python_report"); n != 1 {
		t.Errorf("warned %d times:\n%s", n, log.String())
	}
}

func TestWithoutListenJobsAreFoundByPolling(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	client := work(t, pool, ClientConfig{PollOnly: true, NeverLead: true, Queues: map[string]int{"reports": 2}})
	s := aSchedule(KindWebhook, nobody)
	s.Job.Queue = "reports"
	if job := client.next(t, insert(t, pool, s)); job.State != rivertype.JobStateDiscarded && job.State != rivertype.JobStateCancelled {
		t.Errorf("the job is %s", job.State)
	}
}

func TestAnAPIAddressThatIsNoURLIsRefused(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"jquants", "ftp://a", "https://", "https://a/?x=1", "http://a/%zz"} {
		_, err := NewClient(nil, ClientConfig{ListedInfo: ListedInfoConfig{BaseURL: base, Token: "secret"}, WebhookAllow: []netip.Prefix{}})
		if err == nil || !strings.Contains(err.Error(), "RIVERBEAT_JQUANTS_URL") {
			t.Errorf("%s: got %v", base, err)
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// stuckParams asks for stuck jobs three at a time.
func stuckParams() riverdriver.JobGetStuckParams {
	return riverdriver.JobGetStuckParams{Max: 3, StuckHorizon: time.Now().Add(-time.Hour)}
}
