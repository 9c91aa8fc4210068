package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/api"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/jobs"
)

// ask is a request to the API.
type ask struct{ method, path, body string }

// asking is a sort of request: the i-th of them, about one of the schedules.
type asking struct {
	name  string
	count int // how many are measured
	of    func(i int, id, who string) ask
}

var askings = []asking{
	{"read one", 4_000, func(_ int, id, _ string) ask { return ask{"GET", "/v1/schedules/" + id, ""} }},
	{"list 50", 1_000, func(int, string, string) ask { return ask{"GET", "/v1/schedules?page_size=50", ""} }},
	{"edit", 2_000, func(i int, id, who string) ask {
		return ask{"PATCH", "/v1/schedules/" + id, fmt.Sprintf(`{"description": "%s %d"}`, who, i)}
	}},
	{"create", 2_000, func(i int, _, who string) ask {
		return ask{"POST", "/v1/schedules", fmt.Sprintf(`{"name": "%s %d", "spec": {"cron": "0 3 * * *", "timezone": "Asia/Tokyo"}, "job": {"kind": "noop", "args": {"n": %d}}}`, who, i, i)}
	}},
}

// warmUp is how many requests of each client come before those that are measured.
const warmUp = 20

// apiRate measures the API beside the statements that it sends. They are recorded
// from the same requests in this process, and sent again to a database that is as it
// was before them: one connection a client, and nothing but the statements.
func (b *bench) apiRate(ctx context.Context, a asking, n, clients int) (figures, error) {
	count := a.count
	if b.short {
		count = 50
	}
	count += clients * warmUp
	from, err := b.loaded(ctx, n)
	if err != nil {
		return nil, err
	}
	var recorded []sequence
	var ids []string
	_, err = b.cloned(ctx, from, func(pool *pgxpool.Pool, url string) (_ figures, err error) {
		if ids, err = someIDs(ctx, pool, count); err != nil {
			return nil, err
		}
		recorded, err = record(ctx, url, a, ids)
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	return b.cloned(ctx, from, func(pool *pgxpool.Pool, url string) (f figures, err error) {
		if err := settle(ctx, pool); err != nil {
			return nil, err
		}
		bare, _, err := b.replay(ctx, url, recorded, clients)
		if err != nil {
			return nil, fmt.Errorf("send the statements: %w", err)
		}
		s, err := b.serveRoles(ctx, url, "api")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		rate, late, err := askAll(ctx, s.base, a, ids, clients)
		if err != nil {
			return nil, fmt.Errorf("ask the API: %w", err)
		}
		slices.Sort(late)
		ms := func(p float64) float64 { return float64(late[int(p*float64(len(late)-1))].Microseconds()) / 1000 }
		return figures{"rate": rate, "bare": bare, "share": 100 * rate / bare, "p50": ms(0.5), "p99": ms(0.99)}, nil
	})
}

// loaded is a database of n schedules, made once; others are copied from it.
func (b *bench) loaded(ctx context.Context, n int) (name string, err error) {
	name = fmt.Sprintf("bench_loaded_%d", n)
	if b.full[name] {
		return name, nil
	}
	if _, err := b.admin.Exec(ctx, `CREATE DATABASE `+name+` TEMPLATE bench_template`); err != nil {
		return "", fmt.Errorf("make a database: %w", err)
	}
	pool, err := db.OpenPool(ctx, b.postgres.DatabaseURL(name), "bench", 2)
	if err != nil {
		return "", err
	}
	defer pool.Close()
	at, err := now(ctx, pool)
	if err != nil {
		return "", err
	}
	if err := (load{n: n, every: 24 * time.Hour, first: at.Add(12 * time.Hour), spread: time.Hour}).into(ctx, pool); err != nil {
		return "", err
	}
	if err := settle(ctx, pool); err != nil {
		return "", err
	}
	b.full[name] = true
	return name, nil
}

func someIDs(ctx context.Context, pool *pgxpool.Pool, n int) ([]string, error) {
	rows, err := pool.Query(ctx, `SELECT id::text FROM riverbeat.schedules ORDER BY random() LIMIT $1`, n)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for i := 0; err == nil && len(ids) < n; i++ { // the short form has few
		ids = append(ids, ids[i])
	}
	return ids, err
}

// sequence is what one request sends to the database, in order.
type sequence []statement

// statement is one query, or several that are sent at once.
type statement struct {
	sql   string
	args  []any
	batch *pgx.Batch
}

// recorder is a tracer that keeps the statements of a request.
type recorder struct{}

type recording struct{ kept sequence }

type recordingKey struct{}

func (recorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if r, ok := ctx.Value(recordingKey{}).(*recording); ok {
		r.kept = append(r.kept, statement{sql: data.SQL, args: data.Args})
	}
	return ctx
}

func (recorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (recorder) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	if r, ok := ctx.Value(recordingKey{}).(*recording); ok {
		again := &pgx.Batch{}
		for _, q := range data.Batch.QueuedQueries {
			again.Queue(q.SQL, q.Arguments...)
		}
		r.kept = append(r.kept, statement{batch: again})
	}
	return ctx
}

func (recorder) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (recorder) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// record asks the API in this process and keeps what it sends.
func record(ctx context.Context, url string, a asking, ids []string) (list []sequence, err error) {
	config, err := db.ParseURL(url)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.Tracer = recorder{}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	inserter, err := jobs.NewInserter(pool)
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	store := db.NewStore(pool)
	handler := api.New(api.Config{Service: app.NewService(store, inserter, app.Config{}), Door: app.NewDoor(store, true, log), Log: log})
	for i, id := range ids {
		r := &recording{}
		q := a.of(i, id, "recorded")
		request := httptest.NewRequestWithContext(context.WithValue(ctx, recordingKey{}, r), q.method, q.path, strings.NewReader(q.body))
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code >= 300 {
			return nil, fmt.Errorf("record %s %s: %d %s", q.method, q.path, answer.Code, answer.Body)
		}
		list = append(list, r.kept)
	}
	return list, nil
}

// shared has do done for each of n things by so many at once, each of whom gets its
// own do. It is the rate of what comes after the warm-up, and how long each took.
func shared(n, clients int, client func(c int) (do func(i int) error, done func(), err error)) (rate float64, took []time.Duration, err error) {
	var mu sync.Mutex
	var ready, all sync.WaitGroup
	begin := make(chan struct{})
	fail := func(e error) {
		mu.Lock()
		defer mu.Unlock()
		err = errors.Join(err, e)
	}
	ready.Add(clients)
	for c := range clients {
		all.Go(func() {
			do, done, err := client(c)
			if err != nil {
				fail(err)
				ready.Done()
				return
			}
			defer done()
			first := true
			var mine []time.Duration
			for k, i := 0, c; i < n; k, i = k+1, i+clients {
				if k == warmUp {
					ready.Done()
					<-begin
					first = false
				}
				begun := time.Now()
				if err := do(i); err != nil {
					fail(err)
					if first {
						ready.Done()
					}
					return
				}
				if !first {
					mine = append(mine, time.Since(begun))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
		})
	}
	ready.Wait()
	begun := time.Now()
	close(begin)
	all.Wait()
	return float64(len(took)) / time.Since(begun).Seconds(), took, err
}

// replay sends what was recorded, each client on a connection of its own.
func (b *bench) replay(ctx context.Context, url string, recorded []sequence, clients int) (rate float64, took []time.Duration, err error) {
	return shared(len(recorded), clients, func(int) (func(int) error, func(), error) {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, nil, err
		}
		do := func(i int) error {
			for _, s := range recorded[i] {
				if err := s.send(ctx, conn); err != nil {
					return err
				}
			}
			return nil
		}
		return do, func() { _ = conn.Close(ctx) }, nil // the server ends it anyway
	})
}

func (s statement) send(ctx context.Context, conn *pgx.Conn) error {
	if s.batch != nil {
		return conn.SendBatch(ctx, s.batch).Close()
	}
	if len(s.args) == 0 { // may be several statements, as BEGIN with its limits is
		_, err := conn.Exec(ctx, s.sql)
		return err
	}
	rows, err := conn.Query(ctx, s.sql, s.args...)
	if err != nil {
		return err
	}
	rows.Close() // reads them all
	return rows.Err()
}

// askAll asks the server, each client on a connection of its own.
func askAll(ctx context.Context, base string, a asking, ids []string, clients int) (rate float64, took []time.Duration, err error) {
	return shared(len(ids), clients, func(int) (func(int) error, func(), error) {
		transport := &http.Transport{}
		c := &http.Client{Transport: transport}
		do := func(i int) error {
			q := a.of(i, ids[i], "asked")
			request, err := http.NewRequestWithContext(ctx, q.method, base+q.path, strings.NewReader(q.body))
			if err != nil {
				return err
			}
			if q.body != "" {
				request.Header.Set("Content-Type", "application/json")
			}
			answer, err := c.Do(request)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			if err == nil && answer.StatusCode >= 300 {
				err = fmt.Errorf("%s %s: %s %s", q.method, q.path, answer.Status, text)
			}
			return err
		}
		return do, transport.CloseIdleConnections, nil
	})
}
