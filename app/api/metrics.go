package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/riverbeat/riverbeat/app"
)

// metrics are the figures of the HTTP server. Whatever is asked of it, their labels
// have few values: a path is the pattern of its route, never what was sent.
type metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	running   prometheus.Gauge
}

// newMetrics registers them; nil registers them nowhere.
func newMetrics(registerer prometheus.Registerer, tail *app.Tail) *metrics {
	factory := promauto.With(registerer)
	if tail != nil {
		factory.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "riverbeat_event_streams", Help: "Open streams of events.",
		}, func() float64 { return float64(tail.Streams()) })
		factory.NewCounterFunc(prometheus.CounterOpts{
			Name: "riverbeat_event_streams_dropped_total", Help: "Streams of events that were cut off because their reader was too slow.",
		}, func() float64 { return float64(tail.Dropped()) })
	}
	return &metrics{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "riverbeat_http_requests_total", Help: "Requests that were answered, by method, route (its pattern; unmatched: none) and status.",
		}, []string{"method", "route", "status"}),
		durations: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "riverbeat_http_request_duration_seconds", Help: "Time from the head of a request to the end of its answer; streams aren't counted.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"method", "route"}),
		running: factory.NewGauge(prometheus.GaugeOpts{
			Name: "riverbeat_http_requests_running", Help: "Requests that are being answered, streams too.",
		}),
	}
}

func (m *metrics) answered(c *gin.Context, took time.Duration) {
	method, route := methodOf(c.Request), routeOf(c)
	m.requests.WithLabelValues(method, route, strconv.Itoa(c.Writer.Status())).Inc()
	if route != eventsPath {
		m.durations.WithLabelValues(method, route).Observe(took.Seconds())
	}
}

// unmatched is the route of what no route is for.
const unmatched = "unmatched"

// routeOf is the pattern of the request's route.
func routeOf(c *gin.Context) string {
	if route := c.FullPath(); route != "" {
		return route
	}
	return unmatched
}

var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// methodOf is the request's method, or "other": a client may invent any.
func methodOf(r *http.Request) string {
	if slices.Contains(knownMethods, r.Method) {
		return r.Method
	}
	return "other"
}
