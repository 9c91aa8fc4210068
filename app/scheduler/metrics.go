package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// The causes of a look at the database.
const (
	causeChanged = "changed"
	causePolled  = "polled"
)

// Metrics are a scheduler's figures.
type Metrics struct {
	changes   *prometheus.CounterVec
	syncs     *prometheus.HistogramVec
	runs      *prometheus.CounterVec
	lateness  prometheus.Histogram
	batches   prometheus.Histogram
	durations prometheus.Histogram
	failures  *prometheus.CounterVec
	outdated  prometheus.Gauge
	replanned prometheus.Counter
}

// NewMetrics registers a scheduler's figures; nil registers them nowhere.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	factory := promauto.With(registerer)
	return &Metrics{
		changes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_changes_total",
			Help: "Hints that a schedule changed, by what they named (schedule, everything) and whether they were new (fresh, duplicate).",
		}, []string{"scope", "result"}),
		syncs: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riverbeat_sync_duration_seconds", Help: "Time to plan what changed, by cause (changed, polled).",
			Buckets: prometheus.ExponentialBuckets(.0005, 4, 9),
		}, []string{"cause"}),
		runs: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_runs_total", Help: "Runs accounted for, by reason and outcome.",
		}, []string{"reason", "outcome"}),
		lateness: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_dispatch_lateness_seconds", Help: "How long after it was due a run was claimed, by the database's clock.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}),
		batches: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_dispatch_batch_size", Help: "Schedules claimed by one dispatch.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 6),
		}),
		durations: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_dispatch_duration_seconds", Help: "Time that one dispatch took.",
			Buckets: prometheus.ExponentialBuckets(.0005, 2, 14),
		}),
		failures: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_scheduler_failures_total", Help: "Tries that failed and were made again, by what was being done.",
		}, []string{"doing"}),
		outdated: factory.NewGauge(prometheus.GaugeOpts{
			Name: "riverbeat_tzdata_outdated", Help: "1 while another scheduler has used newer time zone data than this one.",
		}),
		replanned: factory.NewCounter(prometheus.CounterOpts{
			Name: "riverbeat_replanned_total", Help: "Next runs that this scheduler moved because newer time zone data say so.",
		}),
	}
}

func (m *Metrics) change(c schedule.Change, fresh bool) {
	scope, result := "everything", "fresh"
	if c.Known() {
		scope = "schedule"
	}
	if !fresh {
		result = "duplicate"
	}
	m.changes.WithLabelValues(scope, result).Inc()
}

func (m *Metrics) synced(cause string, took time.Duration) {
	m.syncs.WithLabelValues(cause).Observe(took.Seconds())
}

func (m *Metrics) dispatched(b batch, took time.Duration) {
	for _, run := range b.runs {
		m.runs.WithLabelValues(string(run.Reason), string(run.Outcome)).Add(float64(max(run.Count, 1)))
	}
	for _, cursor := range b.held {
		m.lateness.Observe(max(b.now.Sub(cursor.FireAt), 0).Seconds())
	}
	m.batches.Observe(float64(len(b.held)))
	m.durations.Observe(took.Seconds())
}
