package scheduler

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// The causes of a look at the database.
const (
	causeChanged    = "changed"    // messages that name schedules
	causeEverything = "everything" // messages that name none
	causePolled     = "polled"
	causeRetried    = "retried" // what another scheduler held, or a fault kept from being done
)

func causeOf(hints Look) string {
	switch {
	case hints.All:
		return causeEverything
	case hints.Empty():
		return causeRetried
	}
	return causeChanged
}

// Metrics are a scheduler's figures.
type Metrics struct {
	changes     *prometheus.CounterVec
	syncs       *prometheus.HistogramVec
	propagation prometheus.Histogram
	runs        *prometheus.CounterVec
	lateness    prometheus.Histogram
	batches     prometheus.Histogram
	durations   prometheus.Histogram
	failures    *prometheus.CounterVec
	outdated    prometheus.Gauge
	replanned   prometheus.Counter
	removed     *prometheus.CounterVec
}

// NewMetrics registers a scheduler's figures; nil registers them nowhere.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	factory := promauto.With(registerer)
	m := &Metrics{
		changes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_changes_total",
			Help: "Hints that a schedule changed, by path (notify, redis, local), what they named (schedule, everything) and what became of them: fresh, duplicate, or merged into a look that was to come.",
		}, []string{"path", "scope", "result"}),
		syncs: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riverbeat_sync_duration_seconds", Help: "Time to plan what changed, by cause: changed (messages named schedules), everything (they named none), polled, retried.",
			Buckets: prometheus.ExponentialBuckets(.0005, 4, 9),
		}, []string{"cause"}),
		propagation: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_propagation_seconds", Help: "Time from the writing of a change to the look of this scheduler that put it in force.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}),
		runs: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_runs_total", Help: "Runs accounted for, by reason and outcome.",
		}, []string{"reason", "outcome"}),
		lateness: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_dispatch_lateness_seconds", Help: "How long after it was due a run was claimed, by the database's clock.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60},
		}),
		batches: factory.NewHistogram(prometheus.HistogramOpts{
			Name: "riverbeat_dispatch_batch_schedules", Help: "Schedules claimed by one dispatch.",
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
		removed: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_housekeeping_removed_total", Help: "What was removed past its retention: runs (lines of the ledger), schedules (finished ones of a single instant), revisions and idempotency_keys.",
		}, []string{"what"}),
	}
	// What happens for the first time is an increase only where there was a zero.
	for _, reason := range []schedule.Reason{schedule.ReasonSchedule, schedule.ReasonCatchUp} {
		for _, outcome := range []schedule.Outcome{schedule.OutcomeEnqueued, schedule.OutcomeSkipped, schedule.OutcomeMissed} {
			m.runs.WithLabelValues(string(reason), string(outcome))
		}
	}
	for _, doing := range []string{doingPlan, doingFire, doingReplan} {
		m.failures.WithLabelValues(doing)
	}
	return m
}

// What a scheduler may fail to do.
const (
	doingPlan   = "plan changed schedules"
	doingFire   = "fire what is due"
	doingReplan = "plan anew by newer time zone data"
)

func (m *Metrics) change(c schedule.Change, by schedule.Path, verdict Verdict) {
	scope := "everything"
	if c.Known() {
		scope = "schedule"
	}
	m.changes.WithLabelValues(string(by), scope, string(verdict)).Inc()
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
