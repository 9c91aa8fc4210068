package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// group is a part of the table, whose rows have the same columns.
type group struct {
	key, title string
	note       string
	columns    []column
}

type column struct {
	key, title string
	digits     int // behind the point
}

var (
	late = []column{{"p50", "p50 ms", 1}, {"p99", "p99 ms", 1}, {"max", "max ms", 1}}

	dueAtOnce = &group{
		key: "due", title: "Due at one instant",
		note: "Until when the runs were enqueued: from the instant at which all are due to the commit (the server's commit timestamp) " +
			"of the transaction that inserted the River job. runs/s is all of them by the last one's time. " +
			"riverbeat is one `riverbeat serve` process with the role scheduler; its runs have a line in the ledger with the job's id. " +
			"The bare loop is the limit: claim 1,000 of a narrow table with SKIP LOCKED, move them on, InsertManyTx, commit; no plan, no ledger. " +
			"River's periodic jobs live in the memory of one leader. asynq's scheduler puts tasks into Redis. gocron calls a function that only takes the time: it enqueues nothing. " +
			"Celery Beat is the one with django-celery-beat on PostgreSQL, with persistent connections; its tasks go to Redis. " +
			"pg_cron is one server with its jobs, each of which inserts one River job; it writes a line about each run too.",
		columns: append([]column{{"rate", "runs/s", 0}}, append(late, column{"wal", "WAL bytes/run", 0})...),
	}
	sustained = &group{
		key: "sustained", title: "Sustained",
		note: "Lateness as above, of every run for a minute. On the second: all are due at the same instant of every second. " +
			"Spread: one after the other over the second. CPU is in percent of one core. For Celery Beat only the rate that it reaches is measured.",
		columns: append([]column{{"rate", "runs/s", 0}}, append(late, column{"cpu", "CPU %", 1}, column{"postgres", "PostgreSQL's CPU %", 1})...),
	}
	idle = &group{
		key: "idle", title: "Idle",
		note:    "One `riverbeat serve` process with the role scheduler and Redis, nothing due. Start is from exec to the first 200 of /readyz.",
		columns: []column{{"start", "start ms", 0}, {"cpu", "CPU s/min", 2}, {"rss", "memory MiB", 1}, {"transactions", "transactions/min", 0}},
	}
	worked = &group{
		key: "worked", title: "Enqueued → worked",
		note: "From the return of the insert's commit to the first line of the worker, in another River client. " +
			"Idle: one job every 250 ms. Busy: one every 20 ms. Burst: 1,000 at once.",
		columns: late,
	}
	overHTTP = &group{
		key: "api", title: "API",
		note: "A `riverbeat serve` process with the role api, asked over HTTP, beside the very statements that it sends for the same requests, sent again " +
			"by a program that does nothing else: one connection a client, on a copy of the same database. Read one is GET, edit PATCH of a description, create POST. " +
			"Client, server and PostgreSQL share the machine's cores.",
		columns: []column{{"rate", "requests/s", 0}, {"bare", "its SQL alone/s", 0}, {"share", "%", 0}, {"p50", "p50 ms", 2}, {"p99", "p99 ms", 2}},
	}
	changed = &group{
		key: "changed", title: "Changed → enqueued",
		note: "A schedule that is due at once is written: from the commit (riverbeat), or from the change of what the program reads (the others), " +
			"until its job is enqueued. By default asynq's manager reads every three minutes.",
		columns: late,
	}
)

// rows is all that is measured, in the order of the table.
func (b *bench) rows() []row {
	var rows []row
	add := func(g *group, name string, n, times int, do func(context.Context, *bench) (figures, error)) {
		rows = append(rows, row{group: g, name: name, n: n, times: times, do: do})
	}

	sizes := []int{1_000, 10_000, 100_000}
	if b.short {
		sizes = []int{1_000}
	}
	for _, n := range sizes {
		times := b.iterations
		if n == 100_000 {
			times = min(times, 3)
		}
		add(dueAtOnce, "riverbeat", n, times, func(ctx context.Context, b *bench) (figures, error) { return b.riverbeatDue(ctx, n) })
		for _, loops := range []int{1, 2} {
			name := "bare loop"
			if loops > 1 {
				name += ", " + strconv.Itoa(loops) + " at once"
			}
			add(dueAtOnce, name, n, times, func(ctx context.Context, b *bench) (figures, error) { return b.bareLoop(ctx, n, loops) })
		}
		add(dueAtOnce, "River's periodic jobs", n, times, func(ctx context.Context, b *bench) (figures, error) { return b.riverPeriodic(ctx, n) })
		if n < 100_000 {
			add(dueAtOnce, "asynq's scheduler", n, times, func(ctx context.Context, b *bench) (figures, error) { return b.asynqDue(ctx, n) })
			add(dueAtOnce, "gocron", n, times, func(ctx context.Context, b *bench) (figures, error) { return b.gocronDue(ctx, n) })
		}
		if n == 1_000 && !b.short { // they wait for a minute to begin
			add(dueAtOnce, "pg_cron", n, 1, func(ctx context.Context, b *bench) (figures, error) { return b.pgCronDue(ctx, n) })
			add(dueAtOnce, "Celery Beat", n, 1, func(ctx context.Context, b *bench) (figures, error) { return b.celeryDue(ctx, n) })
		}
	}

	rates, length := []int{1_000, 5_000}, time.Minute
	if b.short {
		rates, length = []int{100}, 2*time.Second
	}
	for _, n := range rates {
		for _, spread := range []bool{false, true} {
			name := "riverbeat, on the second"
			if spread {
				name = "riverbeat, spread"
			}
			add(sustained, name, n, 1, func(ctx context.Context, b *bench) (figures, error) {
				return b.riverbeatSustained(ctx, n, spread, length)
			})
		}
		if n <= 1_000 {
			add(sustained, "Celery Beat, every second", n, 1, func(ctx context.Context, b *bench) (figures, error) {
				return b.celerySustained(ctx, n, length)
			})
		}
	}

	sizes, length = []int{1_000, 100_000, 1_000_000}, time.Minute
	if b.short {
		sizes, length = []int{1_000}, time.Second
	}
	for _, n := range sizes {
		add(idle, "riverbeat", n, 1, func(ctx context.Context, b *bench) (figures, error) { return b.riverbeatIdle(ctx, n, length) })
	}

	for _, ours := range []bool{false, true} {
		for _, how := range []jobFlow{{"idle", 250 * time.Millisecond, 40}, {"busy", 20 * time.Millisecond, 500}, {"burst", 0, 1000}} {
			name, count := "River at its default, "+how.name, how.jobs
			if ours {
				name = "as riverbeat sets it, " + how.name
			}
			if b.short {
				if how.name != "busy" {
					continue
				}
				count = 10
			}
			add(worked, name, 0, b.iterations, func(ctx context.Context, b *bench) (figures, error) {
				return b.enqueuedToWorked(ctx, ours, how.gap, count)
			})
		}
	}

	changes := 100
	if b.short {
		changes = 5
	}
	add(changed, "riverbeat", 0, b.iterations, func(ctx context.Context, b *bench) (figures, error) { return b.riverbeatChanged(ctx, changes) })
	add(changed, "River's periodic jobs", 0, b.iterations, func(ctx context.Context, b *bench) (figures, error) { return b.riverChanged(ctx, changes) })
	add(changed, "asynq's manager, which reads every second", 0, b.iterations, func(ctx context.Context, b *bench) (figures, error) { return b.asynqChanged(ctx, changes) })
	if !b.short { // it takes seconds for each
		add(changed, "Celery Beat", 0, 1, func(ctx context.Context, b *bench) (figures, error) { return b.celeryChanged(ctx, 20) })
	}

	n := 1_000_000
	if b.short {
		n = 1_000
	}
	for i, a := range askings {
		for _, clients := range []int{1, 8} {
			if b.short && (clients == 1) != (i%2 == 0) {
				continue
			}
			name := fmt.Sprintf("%s, %d clients", a.name, clients)
			if clients == 1 {
				name = a.name + ", 1 client"
			}
			add(overHTTP, name, n, min(b.iterations, 3), func(ctx context.Context, b *bench) (figures, error) { return b.apiRate(ctx, a, n, clients) })
		}
	}
	return rows
}
