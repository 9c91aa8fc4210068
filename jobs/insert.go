package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Inserter enqueues runs as River jobs, through an insert-only client of its own.
type Inserter struct{ client *river.Client[pgx.Tx] }

// NewInserter is an Inserter for the database of the pool. It opens no
// connection and has nothing to close.
func NewInserter(pool *pgxpool.Pool) (*Inserter, error) {
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		// River announces a queue at most once per FetchCooldown and counts the
		// insert, not the commit. With the usual 100 ms, the jobs after a
		// transaction that rolled back would wait for the workers' next poll.
		FetchCooldown: time.Millisecond,
		Logger:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("set up the River client that inserts: %w", err)
	}
	return &Inserter{client: client}, nil
}

// Client is the one that inserts, for River's own pages. It can't be started.
func (i *Inserter) Client() *river.Client[pgx.Tx] { return i.client }

// Insert inserts one job a run, in order, in tx, and returns their ids in the
// same order. The jobs are available to workers once tx has committed. One job
// that River or PostgreSQL refuses fails them all: River's refusal is an
// *schedule.InvalidError, PostgreSQL's also ends tx, unless it stands on a savepoint.
func (i *Inserter) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	params := make([]river.InsertManyParams, len(runs))
	from := traceOf(ctx)
	for n, run := range runs {
		params[n] = insertParams(run, from)
	}
	results, err := i.client.InsertManyTx(ctx, tx, params)
	if err != nil {
		return nil, insertError(ctx, tx, len(runs), err)
	}
	ids := make([]int64, len(results))
	for n, result := range results {
		ids[n] = result.Job.ID
	}
	return ids, nil
}

// insertError tells what River refuses before it asks the database, which is an
// *schedule.InvalidError, from what the database says and from its loss.
func insertError(ctx context.Context, tx pgx.Tx, n int, err error) error {
	var pgErr *pgconn.PgError
	if ctx.Err() == nil && !tx.Conn().IsClosed() && !errors.As(err, &pgErr) {
		return schedule.Invalid("job", "is refused by River: "+err.Error())
	}
	return fmt.Errorf("insert %d River jobs: %w", n, err)
}

// insertParams is the job of a run. It has no ScheduledAt, not even one in the
// past: River parks jobs that have one until its leader next looks, which is up
// to 5 s later.
func insertParams(run schedule.Enqueue, from traceMetadata) river.InsertManyParams {
	s := run.Schedule
	id := s.ID.String()
	metadata := RunMetadata{
		RunID:        schedule.RunID(s.ID, run.ScheduledFor).String(),
		ScheduleID:   id,
		ScheduleName: s.Name,
		Namespace:    s.Namespace,
		ScheduledFor: run.ScheduledFor.UTC(),
		Reason:       run.Reason,
		Version:      s.Version,
	}.encode(from)
	return river.InsertManyParams{
		Args: templateArgs{kind: s.Job.Kind, args: s.Job.Args},
		InsertOpts: &river.InsertOpts{
			Queue:       s.Job.Queue,
			Priority:    s.Job.Priority,
			MaxAttempts: s.Job.MaxAttempts,
			Tags:        append(slices.Clone(s.Job.Tags), scheduleTag+id),
			Metadata:    metadata,
		},
	}
}

// ScheduleTag is the tag that every job of a schedule carries, by which River's
// own pages can list them.
func ScheduleTag(id schedule.ID) string { return scheduleTag + id.String() }

const scheduleTag = "schedule_"

// templateArgs carries a schedule's kind and arguments to River as they are.
type templateArgs struct {
	kind string
	args json.RawMessage
}

func (a templateArgs) Kind() string { return a.kind }

func (a templateArgs) MarshalJSON() ([]byte, error) {
	if len(a.args) == 0 {
		return []byte("{}"), nil
	}
	return a.args, nil
}

// Cancel cancels jobs in tx. One that is running is told to stop; one that is
// finished or gone is left as it is.
func (i *Inserter) Cancel(ctx context.Context, tx pgx.Tx, jobs []int64) error {
	for _, id := range jobs {
		if _, err := i.client.JobCancelTx(ctx, tx, id); err != nil && !errors.Is(err, river.ErrNotFound) {
			return fmt.Errorf("cancel River job %d: %w", id, err)
		}
	}
	return nil
}

// Retry makes a job available in tx, at once and for one attempt at least. One that
// is running is left as it is.
func (i *Inserter) Retry(ctx context.Context, tx pgx.Tx, job int64) error {
	if _, err := i.client.JobRetryTx(ctx, tx, job); err != nil {
		return fmt.Errorf("retry River job %d: %w", job, err)
	}
	return nil
}

// CheckArgs says what is wrong with the arguments of a kind that NewClient works;
// nothing for any other kind.
func (i *Inserter) CheckArgs(kind string, args json.RawMessage) []schedule.FieldError {
	switch kind {
	case KindWebhook:
		_, wrong := DecodeWebhookArgs(args)
		return wrong
	case KindListedInfo:
		_, wrong := DecodeListedInfoArgs(args)
		return wrong
	}
	return nil
}

// Secrets are those that the arguments of a kind that NewClient works name.
func (i *Inserter) Secrets(kind string, args json.RawMessage) []schedule.SecretUse {
	if kind != KindWebhook {
		return nil
	}
	if a, wrong := DecodeWebhookArgs(args); len(wrong) == 0 {
		return a.secrets()
	}
	return nil
}
