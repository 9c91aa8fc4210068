package main

import (
	"context"
	_ "embed" // bench_celery.py
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

//go:embed bench_celery.py
var celeryProgram []byte

// celery is what a measurement of Celery Beat needs.
type celery struct {
	python string
	env    []string
	queue  *redis.Client // its tasks are in the list "celery"
}

// withCelery gives do a database and a queue for Celery Beat. It is skipped on a
// machine whose Python hasn't the packages.
func (b *bench) withCelery(ctx context.Context, do func(*celery) (figures, error)) (figures, error) {
	python := ""
	for _, name := range []string{"python3", "/usr/bin/python3"} { // Debian's packages are for Debian's own
		if exec.CommandContext(ctx, name, "-c", "import celery, django_celery_beat, psycopg2, redis").Run() == nil {
			python = name
			break
		}
	}
	if python == "" {
		return nil, &skippedError{"its packages are missing, see `make bench-peers`"}
	}
	dir := filepath.Join(b.dir, "celery")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench_celery.py"), celeryProgram, 0o600); err != nil {
		return nil, err
	}
	options, err := redis.ParseURL(b.redisURL)
	if err != nil {
		return nil, err
	}
	options.DB = 2
	queue := redis.NewClient(options)
	defer queue.Close()
	if err := queue.FlushDB(ctx).Err(); err != nil {
		return nil, err
	}
	return b.with(ctx, func(_ *pgxpool.Pool, url string) (figures, error) {
		database, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		path := dir
		if inherited := os.Getenv("PYTHONPATH"); inherited != "" {
			path += string(os.PathListSeparator) + inherited
		}
		return do(&celery{python: python, queue: queue, env: []string{
			"PYTHONPATH=" + path, "BENCH_BROKER=redis://" + options.Addr + "/2",
			"BENCH_HOST=" + database.Host, "BENCH_PORT=" + strconv.Itoa(int(database.Port)),
			"BENCH_USER=" + database.User, "BENCH_PASSWORD=" + database.Password, "BENCH_NAME=" + database.Database,
		}})
	})
}

// load makes n schedules.
func (c *celery) load(ctx context.Context, n int, every string) error {
	_, err := c.run(ctx, strconv.Itoa(n), every)
	return err
}

// run runs the program and returns what it printed.
func (c *celery) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.python, append([]string{"-m", "bench_celery"}, args...)...)
	cmd.Env = append(os.Environ(), c.env...)
	var printed, said strings.Builder
	cmd.Stdout, cmd.Stderr = &printed, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("schedules of Celery Beat: %w\n%s", err, said.String())
	}
	return printed.String(), nil
}

// beat starts Celery Beat.
func (c *celery) beat(ctx context.Context) (*child, error) {
	return startChild(ctx, c.env, nil, c.python, "-m", "celery", "-A", "bench_celery", "beat",
		"-S", "django_celery_beat.schedulers:DatabaseScheduler", "-l", "ERROR", "--pidfile=")
}

// celeryDue has n schedules of Celery Beat due on the minute.
func (b *bench) celeryDue(ctx context.Context, n int) (figures, error) {
	return b.withCelery(ctx, func(c *celery) (_ figures, err error) {
		if err := c.load(ctx, n, "minute"); err != nil {
			return nil, err
		}
		// Time to start and to read them.
		due := time.Now().Add(b.lead(10*time.Second, n, time.Millisecond)).Truncate(time.Minute).Add(time.Minute)
		if err := sleep(ctx, time.Until(due)-b.lead(10*time.Second, n, time.Millisecond)); err != nil {
			return nil, err
		}
		beat, err := c.beat(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, beat.stop()) }()
		f := figures{}
		for {
			there, err := c.queue.LLen(ctx, "celery").Result()
			if err != nil {
				return nil, err
			}
			late := milliseconds(time.Since(due))
			for _, part := range []struct {
				key  string
				part float64
			}{{"p50", .5}, {"p99", .99}, {"max", 1}} {
				if _, ok := f[part.key]; !ok && there >= int64(math.Ceil(part.part*float64(n))) {
					f[part.key] = late
				}
			}
			if _, all := f["max"]; all {
				return withRate(f, n)
			}
			if late > 55_000 { // the next minute's would be counted among them
				return nil, &skippedError{fmt.Sprintf("%d of %d were enqueued after 55 s", there, n)}
			}
			select {
			case <-beat.done:
				return nil, fmt.Errorf("celery beat ended: %s", beat.last)
			case <-time.After(2 * time.Millisecond):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
	})
}

// celerySustained has n schedules of Celery Beat due every second.
func (b *bench) celerySustained(ctx context.Context, n int, length time.Duration) (figures, error) {
	return b.withCelery(ctx, func(c *celery) (_ figures, err error) {
		if err := c.load(ctx, n, "second"); err != nil {
			return nil, err
		}
		beat, err := c.beat(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, beat.stop()) }()
		var there int64
		if err := beat.waitUntil(ctx, func() bool {
			there, err = c.queue.LLen(ctx, "celery").Result()
			return err != nil || there > 0
		}); err != nil {
			return nil, err
		}
		if err := sleep(ctx, 2*time.Second); err != nil {
			return nil, err
		}
		before, err := c.queue.LLen(ctx, "celery").Result()
		if err != nil {
			return nil, err
		}
		began, own, server := time.Now(), cpuTime(beat.pid, false), cpuTime(b.postgres.PID(), true)
		if err := sleep(ctx, length); err != nil {
			return nil, err
		}
		after, err := c.queue.LLen(ctx, "celery").Result()
		lasted := time.Since(began).Seconds()
		return figures{
			"rate": float64(after-before) / lasted,
			"cpu":  (cpuTime(beat.pid, false) - own).Seconds() / lasted * 100, "postgres": (cpuTime(b.postgres.PID(), true) - server).Seconds() / lasted * 100,
		}, err
	})
}

// celeryChanged writes schedules of Celery Beat that are due at once. It looks for
// changes at every tick of its loop, which are up to five seconds apart.
func (b *bench) celeryChanged(ctx context.Context, n int) (figures, error) {
	return b.withCelery(ctx, func(c *celery) (_ figures, err error) {
		if err := c.load(ctx, 0, "minute"); err != nil {
			return nil, err
		}
		beat, err := c.beat(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, beat.stop()) }()
		printed, err := c.run(ctx, "change", strconv.Itoa(n+1))
		if err != nil {
			return nil, err
		}
		var late []float64
		for _, line := range strings.Fields(printed)[1:] { // the first waited for Beat to start
			ms, err := strconv.ParseFloat(line, 64)
			if err != nil {
				return nil, err
			}
			late = append(late, ms)
		}
		return summarize(late), nil
	})
}
