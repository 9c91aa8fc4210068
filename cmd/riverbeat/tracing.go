package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
)

// tracingStop is how long a stop waits for the last spans to be sent.
const tracingStop = 3 * time.Second

// tracing sends spans as the standard OTEL_ variables say, which OpenTelemetry's own
// library reads; nothing is sent unless one of them names where to. It is to be
// stopped.
func (p *program) tracing(ctx context.Context) (on bool, stop func(), err error) {
	if !tracingIsAsked(p.environ) {
		return false, func() {}, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return false, nil, &configError{fmt.Errorf("set up tracing by the OTEL_ variables: %w", err)}
	}
	self, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "riverbeat"), attribute.String("service.version", version())),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithFromEnv())
	if err != nil && !errors.Is(err, resource.ErrPartialResource) {
		return false, nil, &configError{fmt.Errorf("set up tracing by the OTEL_ variables: %w", err)}
	}
	log := newQuiet(p.log.Handler())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		if !log.said.again("tracing", time.Now()) {
			p.log.Warn("traces can't be sent", "err", err)
		}
	}))
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(self))
	otel.SetTracerProvider(provider)
	return true, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tracingStop)
		defer cancel()
		_ = provider.Shutdown(ctx) // the error handler has said what is wrong
	}, nil
}

// tracingIsAsked reports whether the variables say where traces go. OpenTelemetry's
// default would be this machine.
func tracingIsAsked(environ []string) bool {
	value := func(name string) string {
		n := slices.IndexFunc(environ, func(entry string) bool { return strings.HasPrefix(entry, name+"=") })
		if n < 0 {
			return ""
		}
		return environ[n][len(name)+1:]
	}
	if strings.EqualFold(value("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := value("OTEL_TRACES_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return value("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

// tracedInserter makes a span of what a dispatch enqueues, to which the workers' spans
// are linked.
type tracedInserter struct {
	scheduler.Inserter
	tracer trace.Tracer
}

func (i *tracedInserter) Insert(ctx context.Context, tx pgx.Tx, runs []schedule.Enqueue) ([]int64, error) {
	if len(runs) == 0 {
		return i.Inserter.Insert(ctx, tx, runs)
	}
	ctx, span := i.tracer.Start(ctx, "dispatch", trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		attribute.String("messaging.system", "river"), attribute.Int("messaging.batch.message_count", len(runs))))
	defer span.End()
	ids, err := i.Inserter.Insert(ctx, tx, runs)
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	return ids, err
}
