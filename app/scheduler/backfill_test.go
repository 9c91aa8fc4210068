package scheduler_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
)

// A schedule of each second is fired, paused, resumed and backfilled at the same time.
func TestBackfillsBesideASchedulerRunEachInstantOnce(t *testing.T) {
	b := setup(t)
	b.insert(1, "cron", "'* * * * * *'")
	id := schedule.ID(one[[16]byte](b, `SELECT id FROM riverbeat.schedules`))
	service := app.NewService(db.NewStore(b.pool), b.inserter(), app.Config{Zones: "2026f"})
	for range 2 {
		b.start(func(c *scheduler.Config) {
			c.MinSyncInterval, c.PollInterval = 50*time.Millisecond, 100*time.Millisecond
		}, nil)
	}
	ctx := app.WithCaller(t.Context(), app.Operator("test"))
	begun := one[time.Time](b, `SELECT date_trunc('second', created_at) + interval '1 second' FROM riverbeat.schedules`)
	ctx, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	enqueued := 0
	backfill := func() {
		done, err := service.Backfill(ctx, app.Key{ID: id}, app.Backfill{Start: begun, End: begun.Add(time.Hour), Limit: 100})
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && !app.IsUnavailable(err) {
			t.Error(err)
		}
		enqueued += done.Enqueued
	}
	for i := 0; ctx.Err() == nil; i++ {
		pause := service.Pause
		if i%2 == 1 {
			pause = func(ctx context.Context, key app.Key, version int64, _ string) (*schedule.Status, error) {
				return service.Resume(ctx, key, version)
			}
		}
		if _, err := pause(ctx, app.Key{ID: id}, app.AnyVersion, ""); err != nil && !app.IsUnavailable(err) && ctx.Err() == nil {
			t.Error(err)
		}
		for range 5 {
			backfill()
		}
	}
	ctx = app.WithCaller(t.Context(), app.Operator("test"))
	if _, err := service.Pause(ctx, app.Key{ID: id}, app.AnyVersion, ""); err != nil {
		t.Fatal(err)
	}
	backfill()
	if enqueued == 0 {
		t.Error("nothing was there to backfill")
	}
	b.equals("instants that aren't on exactly one line, of a run", 0, `
		SELECT count(*)
		FROM generate_series($1::timestamptz, (SELECT max(scheduled_for) FROM riverbeat.runs), '1 second') at
		WHERE (SELECT count(*) FROM riverbeat.runs WHERE at BETWEEN scheduled_for AND coalesce(until, scheduled_for) AND outcome = 'enqueued') <> 1
		   OR EXISTS (SELECT FROM riverbeat.runs WHERE at BETWEEN scheduled_for AND coalesce(until, scheduled_for) AND outcome <> 'enqueued')
		   OR (SELECT count(*) FROM river_job WHERE substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)')::timestamptz = at) <> 1`, begun)
}
