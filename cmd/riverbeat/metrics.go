package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/riverbeat/riverbeat/db"
)

func registerBuild(registry prometheus.Registerer) {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	}
	promauto.With(registry).NewGauge(prometheus.GaugeOpts{
		Name: "riverbeat_build_info", Help: "1, with the version of the program, the commit it was built from and its Go.",
		ConstLabels: prometheus.Labels{"version": version(), "revision": revision, "go": runtime.Version()},
	}).Set(1)
}

// registerPool has the metrics say how busy a pool of database connections is.
func registerPool(registry prometheus.Registerer, name string, pool *pgxpool.Pool) {
	factory := promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"pool": name}, registry))
	gauge := func(state string, value func(*pgxpool.Stat) int32) {
		factory.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "riverbeat_database_connections", Help: "Connections to PostgreSQL, by pool and state (used, idle, opening).", ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { return float64(value(pool.Stat())) })
	}
	gauge("used", (*pgxpool.Stat).AcquiredConns)
	gauge("idle", (*pgxpool.Stat).IdleConns)
	gauge("opening", (*pgxpool.Stat).ConstructingConns)
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "riverbeat_database_max_connections", Help: "The most connections that the pool opens.",
	}, func() float64 { return float64(pool.Stat().MaxConns()) })
	factory.NewCounterFunc(prometheus.CounterOpts{
		Name: "riverbeat_database_acquires_total", Help: "How often a connection was taken from the pool.",
	}, func() float64 { return float64(pool.Stat().AcquireCount()) })
	factory.NewCounterFunc(prometheus.CounterOpts{
		Name: "riverbeat_database_acquire_wait_seconds_total", Help: "Time spent waiting because no connection of the pool was idle.",
	}, func() float64 { return pool.Stat().EmptyAcquireWaitTime().Seconds() })
}

// registerWork is told of each try of a job. The kinds are the two that are worked
// here.
func registerWork(registry prometheus.Registerer) func(kind, result string, took time.Duration) {
	durations := promauto.With(registry).NewHistogramVec(prometheus.HistogramOpts{
		Name: "riverbeat_job_duration_seconds", Help: "Time that one try of a job took, by kind and result (completed, failed, cancelled, snoozed).",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	}, []string{"kind", "result"})
	return func(kind, result string, took time.Duration) {
		durations.WithLabelValues(kind, result).Observe(took.Seconds())
	}
}

// backlog measures what is due when it is scraped, and no more often than its
// figures are kept, whoever scrapes.
type backlog struct {
	store       *db.Store
	due, oldest *prometheus.Desc

	mu    sync.Mutex
	at    time.Time // of the figures; zero: there are none
	count int
	age   time.Duration
}

const (
	backlogKept  = 5 * time.Second
	backlogLimit = 2 * time.Second // for the query: a scrape waits for it
)

func newBacklog(store *db.Store) *backlog {
	return &backlog{
		store:  store,
		due:    prometheus.NewDesc("riverbeat_due_schedules", "Schedules that are due and not yet claimed, counted up to 10,000; as seen in the whole database.", nil, nil),
		oldest: prometheus.NewDesc("riverbeat_oldest_due_age_seconds", "For how long the first of them has been due; 0: none is.", nil, nil),
	}
}

// Describe is prometheus.Collector.
func (b *backlog) Describe(out chan<- *prometheus.Desc) { out <- b.due; out <- b.oldest }

// Collect is prometheus.Collector. While the database doesn't answer, there are no
// such figures.
func (b *backlog) Collect(out chan<- prometheus.Metric) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() || time.Since(b.at) > backlogKept {
		ctx, cancel := context.WithTimeout(context.Background(), backlogLimit)
		defer cancel()
		count, age, err := b.store.Backlog(ctx)
		if err != nil {
			b.at = time.Time{}
			return
		}
		b.at, b.count, b.age = time.Now(), count, age
	}
	out <- prometheus.MustNewConstMetric(b.due, prometheus.GaugeValue, float64(b.count))
	out <- prometheus.MustNewConstMetric(b.oldest, prometheus.GaugeValue, b.age.Seconds())
}
