package jobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traceMetadata is the W3C trace context of whoever enqueued a job, in its metadata.
type traceMetadata struct {
	Traceparent string `json:"traceparent,omitempty"`
	Tracestate  string `json:"tracestate,omitempty"`
}

// Get and the next two are propagation.TextMapCarrier.
func (m *traceMetadata) Get(key string) string {
	switch key {
	case "traceparent":
		return m.Traceparent
	case "tracestate":
		return m.Tracestate
	}
	return ""
}

// Set is propagation.TextMapCarrier.
func (m *traceMetadata) Set(key, value string) {
	switch key {
	case "traceparent":
		m.Traceparent = value
	case "tracestate":
		m.Tracestate = value
	}
}

// Keys is propagation.TextMapCarrier.
func (m *traceMetadata) Keys() []string { return []string{"traceparent", "tracestate"} }

// traceOf is what the metadata of jobs say that are enqueued within the context;
// without a trace, nothing.
func traceOf(ctx context.Context) (m traceMetadata) {
	if trace.SpanContextFromContext(ctx).IsValid() {
		propagation.TraceContext{}.Inject(ctx, &m)
	}
	return m
}

// worked is called with the end of each try of a job: completed, failed, cancelled or
// snoozed.
type worked func(kind, result string, took time.Duration)

// watchWork makes a span of each try of a job. It belongs to a trace of its own, since
// a job may be tried days later, and is linked to the one that enqueued it. Where
// nobody records spans, what the job calls is told that one.
func watchWork(ended worked) rivertype.WorkerMiddleware {
	tracer := otel.Tracer("github.com/riverbeat/riverbeat/jobs")
	return river.WorkerMiddlewareFunc(func(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
		begun := time.Now()
		var from traceMetadata
		if bytes.Contains(job.Metadata, []byte(`"traceparent"`)) && json.Unmarshal(job.Metadata, &from) != nil {
			from = traceMetadata{} // somebody's own
		}
		cause := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, &from))
		options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer)}
		if cause.IsValid() {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: cause}))
		}
		ctx, span := tracer.Start(ctx, "work "+job.Kind, options...)
		defer span.End()
		if span.IsRecording() {
			run := runOf(job.ID, job.Metadata)
			span.SetAttributes(attribute.String("messaging.system", "river"), attribute.String("messaging.destination.name", job.Queue),
				attribute.Int64("messaging.message.id", job.ID), attribute.Int("riverbeat.attempt", job.Attempt),
				attribute.String("riverbeat.run_id", run.RunID), attribute.String("riverbeat.schedule_id", run.ScheduleID))
		} else if cause.IsValid() && !span.SpanContext().IsValid() {
			ctx = trace.ContextWithRemoteSpanContext(ctx, cause)
		}
		err := work(ctx)
		result := resultOf(err)
		if result == "failed" {
			span.SetStatus(codes.Error, "") // what went wrong is with the job: it may name hosts
		}
		span.SetAttributes(attribute.String("riverbeat.result", result))
		if ended != nil {
			ended(job.Kind, result, time.Since(begun))
		}
		return err
	})
}

func resultOf(err error) string {
	var cancelled *river.JobCancelError
	var snoozed *river.JobSnoozeError
	switch {
	case err == nil:
		return "completed"
	case errors.As(err, &cancelled):
		return "cancelled"
	case errors.As(err, &snoozed):
		return "snoozed"
	}
	return "failed"
}
