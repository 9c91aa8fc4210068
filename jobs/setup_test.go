package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

// loopback is what a webhook of these tests must be allowed to reach.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// aSchedule is a new schedule of this kind whose jobs are tried once only.
func aSchedule(kind, args string) *schedule.Schedule {
	s := schedule.New()
	s.ID = schedule.ID(uuid.Must(uuid.NewV7()))
	s.Name = "nightly"
	s.Version = 3
	s.Job.Kind = kind
	s.Job.Args = json.RawMessage(args)
	s.Job.MaxAttempts = 1
	return &s
}

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// insert enqueues one run and commits.
func insert(t *testing.T, pool *pgxpool.Pool, s *schedule.Schedule) (jobID int64) {
	t.Helper()
	inserter, err := NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		ids, err := inserter.Insert(t.Context(), tx, []schedule.Enqueue{{Schedule: s, ScheduledFor: noon, Reason: schedule.ReasonSchedule}})
		if err == nil {
			jobID = ids[0]
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return jobID
}

// working is a started client that tells what becomes of its jobs.
type working struct {
	*river.Client[pgx.Tx]
	events <-chan *river.Event
}

// work starts a client, which stops with the test.
func work(t *testing.T, pool *pgxpool.Pool, c ClientConfig) *working {
	t.Helper()
	c.Logger = dbtest.Log(t)
	client, err := NewClient(pool, c)
	if err != nil {
		t.Fatal(err)
	}
	events, unsubscribe := client.Subscribe(
		river.EventKindJobCompleted, river.EventKindJobCancelled, river.EventKindJobFailed,
		river.EventKindJobInterrupted, river.EventKindJobSnoozed)
	if err := client.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unsubscribe()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := client.StopAndCancel(ctx); err != nil {
			t.Error("stop the River client: ", err)
		}
	})
	return &working{Client: client, events: events}
}

// next waits for the end of this job's attempt and is the job after it.
func (w *working) next(t *testing.T, jobID int64) *rivertype.JobRow {
	t.Helper()
	timeout := time.After(30 * time.Second)
	for {
		select {
		case event := <-w.events:
			if event.Job.ID == jobID {
				return w.job(t, jobID)
			}
		case <-timeout:
			t.Fatalf("nothing became of job %d: %+v", jobID, w.job(t, jobID))
		}
	}
}

func (w *working) job(t *testing.T, jobID int64) *rivertype.JobRow {
	t.Helper()
	job, err := w.JobGet(context.WithoutCancel(t.Context()), jobID)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

// lastError is what River kept of the job's last failure, or nothing.
func lastError(job *rivertype.JobRow) string {
	if len(job.Errors) == 0 {
		return ""
	}
	return job.Errors[len(job.Errors)-1].Error
}

// output is the job's recorded output.
func output[T any](t *testing.T, job *rivertype.JobRow) (out T) {
	t.Helper()
	if err := json.Unmarshal(job.Output(), &out); err != nil {
		t.Fatalf("read the output of job %d: %v\n%s", job.ID, err, job.Metadata)
	}
	return out
}

// fields are the errors as one string a field.
func fields(wrong []schedule.FieldError) []string {
	var s []string
	for _, w := range wrong {
		s = append(s, fmt.Sprint(&w))
	}
	return s
}
