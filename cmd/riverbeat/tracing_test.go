package main

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// spanReceiver takes spans by OTLP over HTTP.
type spanReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*spans.Span
	services map[string]bool
}

func newSpanReceiver(t *testing.T) *spanReceiver {
	r := &spanReceiver{services: map[string]bool{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &export)
		}
		if err != nil || request.URL.Path != "/v1/traces" {
			http.Error(w, "not spans", http.StatusBadRequest)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range export.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				if a.Key == "service.name" {
					r.services[a.Value.GetStringValue()] = true
				}
			}
			for _, scope := range resource.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

// find waits for a span.
func (r *spanReceiver) find(t *testing.T, what string, is func(*spans.Span) bool) (found *spans.Span) {
	t.Helper()
	eventually(t, "there is a span of "+what, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, span := range r.spans {
			if is(span) {
				found = span
			}
		}
		return found != nil
	})
	return found
}

// called is what a webhook was sent with.
func called(t *testing.T) (url string, headers chan http.Header) {
	headers = make(chan http.Header, 100)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header }))
	t.Cleanup(server.Close)
	return server.URL, headers
}

const (
	callersTrace  = "0af7651916cd43dd8448eb211c80319c"
	callersParent = "00-" + callersTrace + "-b7ad6b7169203331-01"
)

// runTraced asks for a run within the caller's trace.
func (p *process) runTraced(t *testing.T, id string) {
	t.Helper()
	request, err := http.NewRequest("POST", p.base+"/v1/schedules/"+id+"/run", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Traceparent", callersParent)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		t.Fatalf("run now: %s", response.Status)
	}
}

func TestATraceLeadsFromTheRequestOverTheRunToTheWebhook(t *testing.T) {
	t.Parallel()
	h, receiver := newHouse(t), newSpanReceiver(t)
	url, headers := called(t)
	p := h.start(allowLoopback, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50", "OTEL_SERVICE_NAME=beat")
	once := p.ask("POST", "/v1/schedules", webhookTo("manual", url, map[string]any{"at": in(time.Hour)}), 201)
	p.runTraced(t, once["id"].(string))
	sent := <-headers

	request := receiver.find(t, "the request", func(s *spans.Span) bool { return s.Name == "POST /v1/schedules/:id/run" })
	if got := hex.EncodeToString(request.TraceId); got != callersTrace || hex.EncodeToString(request.ParentSpanId) != "b7ad6b7169203331" {
		t.Errorf("the request is in the trace %s", got)
	}
	work := receiver.find(t, "the work", func(s *spans.Span) bool {
		return s.Name == "work webhook" && strings.Contains(sent.Get("Traceparent"), hex.EncodeToString(s.SpanId))
	})
	if hex.EncodeToString(work.TraceId) == callersTrace || len(work.ParentSpanId) != 0 {
		t.Error("the work is part of the request's trace")
	}
	if len(work.Links) != 1 || hex.EncodeToString(work.Links[0].TraceId) != callersTrace || string(work.Links[0].SpanId) != string(request.SpanId) {
		t.Errorf("the work is linked to %v", work.Links)
	}
	if parent := value[string](h, `SELECT metadata ->> 'traceparent' FROM river_job`); !strings.HasPrefix(parent, "00-"+callersTrace+"-"+hex.EncodeToString(request.SpanId)) {
		t.Errorf("the job's metadata say %q", parent)
	}
	p.said(`"msg":"request"`, `"route":"/v1/schedules/:id/run"`, `"trace_id":"`+callersTrace+`"`)

	// A run of the spec comes from a dispatch.
	p.ask("POST", "/v1/schedules", webhookTo("scheduled", url, map[string]any{"at": in(0)}), 201)
	sent = <-headers
	work = receiver.find(t, "the work", func(s *spans.Span) bool {
		return s.Name == "work webhook" && strings.Contains(sent.Get("Traceparent"), hex.EncodeToString(s.SpanId))
	})
	if len(work.Links) != 1 {
		t.Fatalf("the work is linked to %v", work.Links)
	}
	receiver.find(t, "the dispatch", func(s *spans.Span) bool {
		return s.Name == "dispatch" && string(s.SpanId) == string(work.Links[0].SpanId)
	})
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if !receiver.services["beat"] {
		t.Errorf("the services are %v", receiver.services)
	}
}

func TestWithoutTracingTheCallersTraceStillReachesTheWebhookAndNothingIsSent(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]string{"unset": nil, "disabled": {"OTEL_SDK_DISABLED=true"}, "none": {"OTEL_TRACES_EXPORTER=none"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, receiver := newHouse(t), newSpanReceiver(t)
			url, headers := called(t)
			if name != "unset" {
				settings = append(settings, "OTEL_EXPORTER_OTLP_ENDPOINT="+receiver.URL, "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")
			}
			p := h.start(append(settings, allowLoopback)...)
			once := p.ask("POST", "/v1/schedules", webhookTo("manual", url, map[string]any{"at": in(time.Hour)}), 201)
			p.runTraced(t, once["id"].(string))
			if got := (<-headers).Get("Traceparent"); got != callersParent {
				t.Errorf("the webhook is sent with %q", got)
			}
			p.ask("POST", "/v1/schedules", webhookTo("scheduled", url, map[string]any{"at": in(0)}), 201)
			if got := (<-headers).Get("Traceparent"); got != "" {
				t.Errorf("the webhook of a scheduled run is sent with %q", got)
			}
			h.equals("jobs with a trace", 1, `SELECT count(*) FROM river_job WHERE metadata ? 'traceparent'`)
			if code := p.stop(); code != 0 {
				t.Errorf("it exited with %d", code)
			}
			if len(receiver.spans) > 0 {
				t.Errorf("%d spans were sent", len(receiver.spans))
			}
		})
	}
}

func TestACollectorThatIsAwayStopsNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	url, headers := called(t)
	p := h.start(allowLoopback, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf", "OTEL_BSP_SCHEDULE_DELAY=50")
	p.ask("POST", "/v1/schedules", webhookTo("scheduled", url, map[string]any{"at": in(0)}), 201)
	<-headers
	p.said("traces can't be sent")
	if code := p.stop(); code != 0 {
		t.Errorf("it exited with %d", code)
	}
	if n := p.times("traces can't be sent"); n != 1 {
		t.Errorf("that is said %d times", n)
	}
}
