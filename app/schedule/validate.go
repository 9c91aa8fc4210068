package schedule

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a definition. The table has the same as constraints, but for the
// size of args, where it leaves room for what was written before a limit.
const (
	MaxNameLength        = 120
	MaxDescriptionLength = 4096
	MaxPauseReasonLength = 1000
	MaxLabels            = 64
	MaxLabelLength       = 253
	MaxKindLength        = 127 // River's own
	MaxQueueLength       = 64  // River's own
	MaxTags              = 50
	MaxTagLength         = 255 // River's own
	MaxArgsBytes         = 64 << 10
	MaxArgsDepth         = 32
	MaxMisfireLimit      = 10000
	MaxJitter            = 24 * time.Hour
	MinEvery             = time.Second
	MaxEvery             = 3650 * 24 * time.Hour
	MaxExclude           = 8
	MaxMovedTimes        = 24 // times of day that a cron spec whose runs move may have
)

// NameRule says what the names of namespaces and calendars look like. It completes
// a sentence that begins with the field's name.
const NameRule = "must be 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen"

var (
	namespacePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	queuePattern     = regexp.MustCompile(`^[a-z0-9]+([_|\-]?[a-z0-9]+)*$`) // River's own
	tagPattern       = regexp.MustCompile(`^\w[\w-]+\w$`)                   // River's own
)

// ValidNamespace reports whether a namespace may have the name.
func ValidNamespace(name string) bool { return namespacePattern.MatchString(name) }

// Validate checks everything that can be known without a clock or a database.
// The error is an *InvalidError that names every field that is wrong.
func (s *Schedule) Validate() error {
	var f fields
	f.text("name", s.Name, MaxNameLength)
	if s.Name == "" {
		f.add("name", "is missing")
	}
	if !namespacePattern.MatchString(s.Namespace) {
		f.add("namespace", NameRule)
	}
	f.text("description", s.Description, MaxDescriptionLength)
	f.text("pause_reason", s.PauseReason, MaxPauseReasonLength)
	if len(s.Labels) > MaxLabels {
		f.add("labels", fmt.Sprintf("has %d entries: at most %d are allowed", len(s.Labels), MaxLabels))
	}
	for key, value := range s.Labels {
		if key == "" {
			f.add("labels", "has an empty key")
		}
		f.text("labels."+key, key, MaxLabelLength)
		f.text("labels."+key, value, MaxLabelLength)
	}
	s.Spec.validate(&f)
	s.Job.validate(&f)

	switch s.Misfire {
	case MisfireOnce, MisfireAll, MisfireSkip:
	default:
		f.add("misfire", `must be "once", "all" or "skip"`)
	}
	if s.MisfireGrace < 0 || s.MisfireGrace > MaxEvery {
		f.add("misfire_grace", "must be longer than 0s and at most 87600h, or null")
	}
	if s.MisfireLimit < 1 || s.MisfireLimit > MaxMisfireLimit {
		f.add("misfire_limit", fmt.Sprintf("must be from 1 to %d", MaxMisfireLimit))
	}
	switch s.Overlap {
	case OverlapAllow, OverlapSkip, OverlapQueueOne:
	default:
		f.add("overlap", `must be "allow", "skip" or "queue_one"`)
	}
	if s.OverlapStaleAfter < 0 || s.OverlapStaleAfter > MaxEvery {
		f.add("overlap_stale_after", "must be longer than 0s and at most 87600h, or null")
	}
	return f.err()
}

// Validate checks a spec alone. The error is an *InvalidError.
func (s Spec) Validate() error {
	var f fields
	s.validate(&f)
	return f.err()
}

func (s Spec) validate(f *fields) {
	var given []string
	for _, one := range []struct {
		name string
		set  bool
	}{{"cron", s.Cron != ""}, {"every", s.Every != 0}, {"at", !s.At.IsZero()}} {
		if one.set {
			given = append(given, one.name)
		}
	}
	if len(given) != 1 {
		f.add("spec", "must have exactly one of cron, every and at, not "+cmp.Or(strings.Join(given, " and "), "none of them"))
	}
	if s.Every != 0 && (s.Every < MinEvery || s.Every > MaxEvery) {
		f.add("spec.every", "must be from 1s to 87600h (3650 days), not "+FormatDuration(max(s.Every, 0)))
	}
	f.instant("spec.at", s.At)
	f.instant("spec.start_at", s.StartAt)
	f.instant("spec.end_at", s.EndAt)
	if !s.At.IsZero() && (!s.StartAt.IsZero() || !s.EndAt.IsZero()) {
		f.add("spec.at", "is a single instant: it can't be combined with start_at or end_at")
	}
	if !s.StartAt.IsZero() && !s.EndAt.IsZero() && !s.StartAt.Before(s.EndAt) {
		f.add("spec.end_at", "must be after start_at, which is "+s.StartAt.UTC().Format(time.RFC3339Nano))
	}
	if s.Jitter < 0 || s.Jitter > MaxJitter {
		f.add("spec.jitter", "must be from 0s to 24h, not "+FormatDuration(s.Jitter))
	}
	if s.MaxRuns < 0 {
		f.add("spec.max_runs", "must be at least 1, or null")
	}
	if len(s.Exclude) > MaxExclude {
		f.add("spec.exclude", fmt.Sprintf("names %d calendars: at most %d are allowed", len(s.Exclude), MaxExclude))
	}
	for i, name := range s.Exclude[:min(len(s.Exclude), MaxExclude)] {
		if !namespacePattern.MatchString(name) {
			f.add(fmt.Sprintf("spec.exclude.%d", i), NameRule)
		}
		if slices.Contains(s.Exclude[:i], name) {
			f.add(fmt.Sprintf("spec.exclude.%d", i), "is named already")
		}
	}
	if _, err := s.Timing(time.Time{}); err != nil {
		f.addAll(err)
	}
}

func (j Job) validate(f *fields) {
	if err := CheckArgs(j.Args); err != nil {
		f.add("job.args", err.Error())
	}
	j.validateForRiver(f)
}

// validateForRiver leaves out the args: read back from the database they are
// longer than they were written, and River takes any.
func (j Job) validateForRiver(f *fields) {
	f.text("job.kind", j.Kind, MaxKindLength)
	if j.Kind == "" {
		f.add("job.kind", "is missing")
	}
	if !ValidQueue(j.Queue) {
		f.add("job.queue", "must be 1 to 64 lower-case letters and digits, in groups joined by _ or -")
	}
	if j.Priority < 1 || j.Priority > 4 {
		f.add("job.priority", "must be from 1, the most urgent, to 4")
	}
	if j.MaxAttempts < 1 || j.MaxAttempts > 32767 {
		f.add("job.max_attempts", "must be from 1 to 32767")
	}
	if len(j.Tags) > MaxTags {
		f.add("job.tags", fmt.Sprintf("has %d entries: at most %d are allowed", len(j.Tags), MaxTags))
	}
	for i, tag := range j.Tags {
		if len(tag) > MaxTagLength || !tagPattern.MatchString(tag) {
			f.add(fmt.Sprintf("job.tags.%d", i), "must be 3 to 255 letters, digits, _ and -, with a letter, digit or _ at both ends")
		}
	}
}

// ValidQueue reports whether River takes the name for a queue.
func ValidQueue(name string) bool {
	return len(name) <= MaxQueueLength && queuePattern.MatchString(name)
}

// ValidateForRiver checks a stored job for what River would refuse, and a whole
// batch with it. The error is an *InvalidError.
func (j Job) ValidateForRiver() error {
	var f fields
	j.validateForRiver(&f)
	return f.err()
}

// CheckArgs accepts a JSON object that jsonb can hold, and no larger one than a job's
// arguments may be. The error completes a sentence that begins with the field's name.
func CheckArgs(args json.RawMessage) error {
	if len(args) > MaxArgsBytes {
		return fmt.Errorf("takes %d bytes: at most %d are allowed", len(args), MaxArgsBytes)
	}
	if !utf8.Valid(args) {
		return errors.New("must be valid UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimSpace(args), []byte("{")) {
		return errors.New("must be a JSON object")
	}
	decoder := json.NewDecoder(bytes.NewReader(args))
	decoder.UseNumber()
	depth := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("must be JSON: %w", err)
		}
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				depth++
			} else {
				depth--
			}
			if depth > MaxArgsDepth {
				return fmt.Errorf("is nested deeper than %d levels", MaxArgsDepth)
			}
		case string:
			if strings.ContainsRune(token, 0) {
				return errors.New(`contains a NUL character (\u0000), which PostgreSQL can't store`)
			}
		case json.Number:
			if err := checkNumber(token.String()); err != nil {
				return err
			}
		}
	}
}

// checkNumber refuses what jsonb's numeric can't hold, with room to spare.
func checkNumber(number string) error {
	_, exponent, scientific := strings.Cut(strings.ToLower(number), "e")
	if len(number) > 1000 || scientific && len(strings.TrimLeft(exponent, "+-0")) > 3 {
		return errors.New("contains a number that is too long for PostgreSQL")
	}
	return nil
}

// fields gathers what is wrong with a definition.
type fields struct{ wrong []FieldError }

func (f *fields) add(field, reason string) {
	f.wrong = append(f.wrong, FieldError{Field: field, Reason: reason})
}

func (f *fields) addAll(err error) {
	var invalid *InvalidError
	if errors.As(err, &invalid) {
		f.wrong = append(f.wrong, invalid.Fields...)
	}
}

// text accepts what a line of text may hold, newlines and tabs only in
// descriptions and reasons.
func (f *fields) text(field, value string, limit int) {
	if !utf8.ValidString(value) {
		f.add(field, "must be valid UTF-8")
		return
	}
	if utf8.RuneCountInString(value) > limit {
		f.add(field, fmt.Sprintf("must be at most %d characters long", limit))
	}
	prose := field == "description" || field == "pause_reason"
	for _, r := range value {
		if unicode.IsControl(r) && !(prose && (r == '\n' || r == '\t' || r == '\r')) {
			f.add(field, "must not contain control characters")
			return
		}
	}
}

// instant accepts what both PostgreSQL and RFC 3339 can show.
func (f *fields) instant(field string, t time.Time) {
	if !t.IsZero() && (t.Unix() < 0 || t.UTC().Year() >= 9999) {
		f.add(field, "must be between the years 1970 and 9998")
	}
}

func (f *fields) err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return &InvalidError{Fields: f.wrong}
}
