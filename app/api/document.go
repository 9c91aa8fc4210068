package api

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// scheduleDocument is a schedule in JSON. What the server keeps is marked
// readOnly: a request may carry it, as when a document that was read is put
// back, and it is ignored there.
type scheduleDocument struct {
	ID          string            `json:"id" required:"false" readOnly:"true" format:"uuid" doc:"Given by the server."`
	Namespace   string            `json:"namespace" required:"false" default:"default" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" doc:"A namespace exists by being used. It never changes."`
	Name        string            `json:"name" minLength:"1" maxLength:"120" example:"nightly-report" doc:"Unique in its namespace."`
	Description string            `json:"description" required:"false" maxLength:"4096"`
	Labels      map[string]string `json:"labels" required:"false" doc:"At most 64, with keys and values of at most 253 characters."`
	Spec        specDocument      `json:"spec"`
	Job         jobDocument       `json:"job"`

	Misfire           string    `json:"misfire" required:"false" enum:"once,all,skip" default:"once" doc:"What is owed for runs that were missed: the latest, the newest misfire_limit, or none."`
	MisfireGrace      *duration `json:"misfire_grace" required:"false" doc:"Runs missed longer ago than this are not made up for; null: however long ago."`
	MisfireLimit      int       `json:"misfire_limit" required:"false" minimum:"1" maximum:"10000" default:"100"`
	Overlap           string    `json:"overlap" required:"false" enum:"allow,skip,queue_one" default:"allow" doc:"What happens to a run while the job of the one before it is unfinished: it runs beside it, it is skipped, or one run waits for that job and later ones are skipped meanwhile."`
	OverlapStaleAfter *duration `json:"overlap_stale_after" required:"false" doc:"A job older than this keeps no run back, though it isn't finished; null: every unfinished job does."`

	Paused      bool   `json:"paused" required:"false"`
	PauseReason string `json:"pause_reason" required:"false" maxLength:"1000"`

	Version     int64      `json:"version" required:"false" readOnly:"true" doc:"Grows with each change of the definition."`
	State       string     `json:"state" required:"false" readOnly:"true" enum:"active,paused,completed,invalid"`
	StateReason string     `json:"state_reason" required:"false" readOnly:"true"`
	NextRunAt   *time.Time `json:"next_run_at" required:"false" readOnly:"true"`
	LastRunAt   *time.Time `json:"last_run_at" required:"false" readOnly:"true" doc:"When the last run of the spec was enqueued."`
	LastJobID   *string    `json:"last_job_id" required:"false" readOnly:"true"`
	RunCount    int64      `json:"run_count" required:"false" readOnly:"true" doc:"Enqueued runs of the spec: what max_runs limits."`
	CreatedAt   *time.Time `json:"created_at" required:"false" readOnly:"true"`
	UpdatedAt   *time.Time `json:"updated_at" required:"false" readOnly:"true"`
}

// TransformSchema is huma.SchemaTransformer.
func (scheduleDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["misfire_grace"].Nullable, s.Properties["overlap_stale_after"].Nullable = true, true
	describeLabels(s.Properties["labels"])
	s.Examples = []any{json.RawMessage(`{
		"name": "nightly-report",
		"labels": {"team": "growth"},
		"spec": {"cron": "0 3 * * 1-5", "timezone": "Asia/Tokyo"},
		"job": {"kind": "webhook", "args": {"url": "https://example.com/hook", "body": {"report": "nightly"}}}
	}`)}
	return s
}

// describeLabels adds the limits that a tag of a field can't hold.
func describeLabels(s *huma.Schema) {
	longest := schedule.MaxLabelLength
	s.MaxProperties = new(schedule.MaxLabels)
	s.AdditionalProperties = &huma.Schema{Type: huma.TypeString, MaxLength: &longest}
	s.Extensions = map[string]any{"propertyNames": map[string]any{"minLength": 1, "maxLength": longest}}
}

// specDocument is a spec in JSON.
type specDocument struct {
	Cron     *string    `json:"cron,omitempty" required:"false" maxLength:"256" example:"0 3 * * 1-5" doc:"5 fields, or 6 with leading seconds, or a nickname such as @daily."`
	Every    *duration  `json:"every,omitempty" required:"false" doc:"Elapsed time, from 1s, counted from start_at, else from the creation."`
	At       *time.Time `json:"at,omitempty" required:"false" doc:"A single instant. One that has passed is due at once."`
	Timezone string     `json:"timezone" required:"false" minLength:"1" default:"UTC" example:"Asia/Tokyo" doc:"The IANA zone that cron is read in."`
	StartAt  *time.Time `json:"start_at" required:"false" doc:"Inclusive."`
	EndAt    *time.Time `json:"end_at" required:"false" doc:"Exclusive."`
	Jitter   duration   `json:"jitter" required:"false" doc:"The most by which each run is delayed: for one run always by the same."`
	MaxRuns  *int64     `json:"max_runs" required:"false" minimum:"1"`

	Exclude    []string `json:"exclude" required:"false" nullable:"false" maxItems:"8" doc:"Calendars of the namespace on whose days nothing runs." example:"[\"jp-holidays\"]"`
	OnExcluded string   `json:"on_excluded" required:"false" enum:"skip,next_day,previous_day" default:"skip" doc:"What becomes of a run on such a day: nothing, or it runs at its time of day on the next or previous day that isn't excluded."`

	Description string `json:"description" required:"false" readOnly:"true" doc:"When it runs, in words, in the language of Accept-Language (en, ja)." example:"At 03:00 on weekdays, Asia/Tokyo"`
}

// jobDocument is the template of a River job in JSON.
type jobDocument struct {
	Kind        string          `json:"kind" minLength:"1" maxLength:"127" example:"webhook" doc:"Any kind of River job, also one that other programs work."`
	Args        json.RawMessage `json:"args" required:"false" doc:"A JSON object, at most 64 KiB."`
	Queue       string          `json:"queue" required:"false" minLength:"1" maxLength:"64" pattern:"^[a-z0-9]+([_|\\-]?[a-z0-9]+)*$" default:"default"`
	Priority    int             `json:"priority" required:"false" minimum:"1" maximum:"4" default:"1" doc:"1 is the most urgent."`
	MaxAttempts int             `json:"max_attempts" required:"false" minimum:"1" maximum:"32767" default:"25"`
	Tags        []string        `json:"tags" required:"false" nullable:"false" maxItems:"50" doc:"Of the River job, each of 3 to 255 characters."`
}

// TransformSchema is huma.SchemaTransformer.
func (jobDocument) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	s.Properties["args"].Type, s.Properties["args"].AdditionalProperties = huma.TypeObject, true
	longest := schedule.MaxTagLength
	s.Properties["tags"].Items = &huma.Schema{Type: huma.TypeString, MaxLength: &longest, Pattern: `^\w[\w-]+\w$`, Examples: []any{"nightly"}}
	return s
}

// duration is elapsed time in JSON: "90s", "15m", "24h", "7d".
type duration time.Duration

// MarshalText is encoding.TextMarshaler.
func (d duration) MarshalText() ([]byte, error) {
	return []byte(schedule.FormatDuration(time.Duration(d))), nil
}

// UnmarshalText is encoding.TextUnmarshaler.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := schedule.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

// Schema is huma.SchemaProvider.
func (duration) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		Type:        huma.TypeString,
		Description: `Elapsed time in d (24 hours), h, m and s.`,
		Examples:    []any{"90s", "15m", "24h"},
	}
}

// newDocument has every default set: reading a request into it leaves those that
// the request doesn't mention.
func newDocument() scheduleDocument { return definitionDocument(new(schedule.New())) }

// definitionDocument is the part of a schedule that users write.
func definitionDocument(s *schedule.Schedule) scheduleDocument {
	return scheduleDocument{
		Namespace: s.Namespace, Name: s.Name, Description: s.Description, Labels: s.Labels,
		Spec: specDocument{
			Cron: optional(s.Spec.Cron), Every: optional(duration(s.Spec.Every)), At: optionalTime(s.Spec.At), Timezone: s.Spec.Timezone,
			StartAt: optionalTime(s.Spec.StartAt), EndAt: optionalTime(s.Spec.EndAt),
			Jitter: duration(s.Spec.Jitter), MaxRuns: optional(s.Spec.MaxRuns),
			Exclude: s.Spec.Exclude, OnExcluded: string(s.Spec.OnExcluded),
		},
		Job: jobDocument{
			Kind: s.Job.Kind, Args: s.Job.Args, Queue: s.Job.Queue, Priority: s.Job.Priority,
			MaxAttempts: s.Job.MaxAttempts, Tags: s.Job.Tags,
		},
		Misfire: string(s.Misfire), MisfireGrace: optional(duration(s.MisfireGrace)), MisfireLimit: s.MisfireLimit,
		Overlap: string(s.Overlap), OverlapStaleAfter: optional(duration(s.OverlapStaleAfter)),
		Paused: s.Paused, PauseReason: s.PauseReason,
	}
}

// statusDocument is a whole schedule, as it is read.
func statusDocument(status *schedule.Status, language schedule.Language) scheduleDocument {
	s, c := &status.Schedule, &status.Cursor
	d := definitionDocument(s)
	d.ID, d.Version = s.ID.String(), s.Version
	d.Spec.Description = schedule.Describe(s.Spec, language)
	d.State, d.StateReason = string(status.State()), c.StateReason
	d.NextRunAt, d.LastRunAt = optionalTime(c.NextRunAt), optionalTime(c.LastRunAt)
	d.LastJobID, d.RunCount = jobID(c.LastJobID), c.RunCount
	d.CreatedAt, d.UpdatedAt = optionalTime(s.CreatedAt), optionalTime(s.UpdatedAt)
	return d
}

// definition is the document as the domain has it.
func (d *scheduleDocument) definition() schedule.Schedule {
	s := schedule.Schedule{
		Namespace: d.Namespace, Name: d.Name, Description: d.Description, Labels: d.Labels,
		Spec: d.Spec.spec(),
		Job: schedule.Job{
			Kind: d.Job.Kind, Args: d.Job.Args, Queue: d.Job.Queue, Priority: d.Job.Priority,
			MaxAttempts: d.Job.MaxAttempts, Tags: d.Job.Tags,
		},
		Misfire: schedule.Misfire(d.Misfire), MisfireGrace: time.Duration(given(d.MisfireGrace)), MisfireLimit: d.MisfireLimit,
		Overlap: schedule.Overlap(d.Overlap), OverlapStaleAfter: time.Duration(given(d.OverlapStaleAfter)),
		Paused: d.Paused, PauseReason: d.PauseReason,
	}
	if s.Labels == nil {
		s.Labels = map[string]string{}
	}
	if s.Job.Tags == nil {
		s.Job.Tags = []string{}
	}
	return s
}

func (d *specDocument) spec() schedule.Spec {
	cron := ""
	switch {
	case d.Cron == nil:
	case *d.Cron == "" && d.Every == nil && d.At == nil:
		cron = " " // so that the refusal is about the cron that somebody wrote
	default:
		cron = *d.Cron
	}
	return schedule.Spec{
		Cron: cron, Every: time.Duration(given(d.Every)), At: micros(d.At), Timezone: d.Timezone,
		StartAt: micros(d.StartAt), EndAt: micros(d.EndAt),
		Jitter: time.Duration(d.Jitter), MaxRuns: given(d.MaxRuns),
		Exclude: d.Exclude, OnExcluded: schedule.OnExcluded(d.OnExcluded),
	}
}
