package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

const eventsPath = "/v1/events"

// How a stream of events is written.
const (
	eventHeartbeat = 15 * time.Second
	// eventWrite is how long a reader may take over what is sent at once. What the
	// system and the ring of the tail hold besides is all that waits for it.
	eventWrite = 10 * time.Second
)

func (a *api) eventRoutes() {
	if a.Events == nil {
		return
	}
	documents := a.huma.OpenAPI().Components.Schemas
	handle(a, huma.Operation{
		OperationID: "follow-events", Method: http.MethodGet, Path: eventsPath, Tags: []string{"events"},
		Summary: "Follow what happens, as it happens",
		Description: "A stream of server-sent events (text/event-stream): `schedule.created`, `schedule.updated`, `schedule.deleted`, `run.enqueued`, " +
			"`run.skipped`, `run.missed`, `run.finished` and `reset`. Each is told once, after its commit, in the order of the transactions, within a second or so; " +
			"up to 5 s late while other transactions write for so long. Changes of one schedule that follow one another closely may be told as one.\n\n" +
			"Whoever connects again with `Last-Event-ID` goes on where they were, on any process. When that is longer ago than is known (5 minutes, or 50,000 events), " +
			"or too much happened at once, `reset` comes instead: read the lists anew. A reader that is too slow is cut off, and may go on like that. " +
			"Every 15 s comes a comment, with the id from which to go on. A stream ends when the server stops or the token's rights do.",
		Errors: []int{403, 422, 429, 503},
		Responses: map[string]*huma.Response{"200": {
			Description: "Events until either side ends it",
			Content: map[string]*huma.MediaType{"text/event-stream": {
				Schema: &huma.Schema{
					Type: huma.TypeString, Description: "Each event's data are an event document, those of reset an empty object.",
					Extensions: map[string]any{"x-event": map[string]any{"$ref": documents.Schema(typeOf[eventDocument](), true, "event").Ref}},
				},
				Example: "id: AaDGqOK_\nevent: run.enqueued\ndata: {\"schedule_id\":\"0190b6a4-7a3e-7a5c-9d3f-0a3b5c7d9e1f\",\"schedule_name\":\"nightly-report\",\"namespace\":\"default\",\"at\":\"2026-11-24T03:00:00.004Z\"}\n\n",
			}},
		}},
	}, a.follow)
}

// eventDocument is the data of an event in JSON: ids and states, never arguments.
type eventDocument struct {
	ScheduleID   string    `json:"schedule_id" format:"uuid"`
	ScheduleName string    `json:"schedule_name"`
	Namespace    string    `json:"namespace"`
	At           time.Time `json:"at" doc:"When it happened; of a run that finished, by the worker's clock."`

	Version *int64 `json:"version,omitempty" doc:"Of a schedule."`

	RunID        *string    `json:"run_id,omitempty" format:"uuid"`
	ScheduledFor *time.Time `json:"scheduled_for,omitempty"`
	Reason       string     `json:"reason,omitempty" enum:"schedule,catch_up,manual,backfill" doc:"Why there is the run."`
	Why          string     `json:"why,omitempty" doc:"Why it was skipped or missed."`
	JobID        *string    `json:"job_id,omitempty"`
	Until        *time.Time `json:"until,omitempty" doc:"The end of a stretch of occurrences that were skipped or missed together."`
	Count        *int64     `json:"count,omitempty" doc:"How many occurrences these are."`
	State        string     `json:"state,omitempty" enum:"cancelled,completed,discarded" doc:"Of the job of a run that finished."`
	Attempt      *int       `json:"attempt,omitempty" doc:"The last one."`
	MaxAttempts  *int       `json:"max_attempts,omitempty"`
}

// renderEvent is what is sent of an event behind its id.
func renderEvent(e *app.Event) []byte {
	var data any = struct{}{}
	if e.Kind != app.EventReset {
		d := eventDocument{
			ScheduleID: e.ScheduleID.String(), ScheduleName: e.ScheduleName, Namespace: e.Namespace, At: e.At, Version: optional(e.Version),
		}
		if r := e.Run; !r.ScheduledFor.IsZero() {
			d.RunID, d.ScheduledFor = optional(schedule.RunID(e.ScheduleID, r.ScheduledFor).String()), &r.ScheduledFor
			d.Reason, d.Why, d.JobID, d.Until, d.Count = string(r.Reason), r.Why, jobID(r.JobID), optionalTime(r.Until), optional(r.Count)
			d.State, d.Attempt, d.MaxAttempts = e.State, optional(e.Attempt), optional(e.MaxAttempts)
		}
		data = d
	}
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("{}") // texts and numbers can always be written
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", e.Kind, text)
}

type followInput struct {
	Namespace   string `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"All that the caller sees when it is left out."`
	Schedule    string `query:"schedule" maxLength:"520" doc:"The id of a schedule, or name: and its name." example:"name:nightly-report"`
	LastEventID string `header:"Last-Event-ID" maxLength:"1000" doc:"The id of the last event that was received."`
}

func (a *api) follow(ctx context.Context, in *followInput) (*huma.StreamResponse, error) {
	filter := app.EventFilter{Namespace: in.Namespace}
	if in.Schedule != "" {
		key, err := scheduleKey("schedule", in.Schedule, "")
		if err != nil {
			return nil, schedule.Invalid("schedule", "must be a UUID, or name: and a name")
		}
		filter.Schedule = key
	}
	stream, err := a.Events.Open(ctx, filter, in.LastEventID)
	switch {
	case errors.Is(err, app.ErrTooManyStreams):
		return nil, &problem{Status: http.StatusTooManyRequests, Detail: "There are as many streams of this caller as there may be.", retryAfter: "10"}
	case errors.Is(err, app.ErrStreamEnded):
		return nil, &problem{Status: http.StatusServiceUnavailable, Detail: "The server is about to stop.", retryAfter: "1"}
	case err != nil:
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) { //nolint:contextcheck // Huma's context is the request's
		defer stream.Close()
		c.SetHeader("Content-Type", "text/event-stream")
		c.SetHeader("Cache-Control", "no-store")
		c.SetHeader("X-Accel-Buffering", "no") // proxies that keep what comes would keep it for good
		tell(c.Context(), humagin.Unwrap(c).Writer, stream)
	}}, nil
}

// tell writes what the stream says until one of its ends does.
func tell(ctx context.Context, w http.ResponseWriter, stream *app.Stream) {
	control := http.NewResponseController(w)
	// The request is read: its deadline would otherwise end the stream.
	_ = control.SetReadDeadline(time.Time{})
	write := func(text []byte) bool {
		_ = control.SetWriteDeadline(time.Now().Add(eventWrite))
		_, err := w.Write(text)
		if err == nil {
			err = control.Flush()
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			stream.Slow()
		}
		return err == nil
	}
	// All who are cut off at once don't come back at once.
	hello := fmt.Appendf(nil, "retry: %d\n", 1000+rand.IntN(2000))
	if id := stream.ID(); id != "" {
		hello = fmt.Appendf(hello, "id: %s\n", id)
	}
	if !write(append(hello, '\n')) {
		return
	}
	for {
		events, err := stream.Next(ctx, eventHeartbeat)
		if err != nil {
			return
		}
		var text bytes.Buffer
		for _, e := range events {
			fmt.Fprintf(&text, "id: %s\n", e.ID)
			text.Write(e.Text(renderEvent))
		}
		if len(events) == 0 {
			fmt.Fprintf(&text, ": heartbeat\nid: %s\n\n", stream.ID())
		}
		if !write(text.Bytes()) {
			return
		}
	}
}
