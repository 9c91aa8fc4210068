package jobs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// argsPath is where a job's arguments stand in the JSON of a schedule.
const argsPath = "job.args"

// fieldDecoder reads one field; its answer is the reason why it can't, if any.
type fieldDecoder func(json.RawMessage) (reason string)

// decodeFields reads a JSON object whose fields are all known, by their exact
// names: encoding/json would also take "URL" for "url", and PostgreSQL, which
// sorts the keys of a jsonb, could then change which of the two wins.
func decodeFields(raw json.RawMessage, kind string, known map[string]fieldDecoder) []schedule.FieldError {
	return decodeObject(raw, argsPath, fmt.Sprintf("isn't an argument of %s jobs", kind), known)
}

// decodeObject is decodeFields for the object that stands at the path; unknown is
// what is said of a field that isn't known.
func decodeObject(raw json.RawMessage, path, unknown string, known map[string]fieldDecoder) []schedule.FieldError {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return []schedule.FieldError{{Field: path, Reason: "must be a JSON object"}}
	}
	var wrong []schedule.FieldError
	for _, name := range slices.Sorted(maps.Keys(object)) {
		decode, ok := known[name]
		reason := unknown
		if ok {
			reason = decode(object[name])
		}
		if reason != "" {
			wrong = append(wrong, schedule.FieldError{Field: path + "." + name, Reason: reason})
		}
	}
	return wrong
}

// text decodes a JSON string. Unlike encoding/json it doesn't take null.
func text(into *string) fieldDecoder {
	return func(raw json.RawMessage) string {
		if raw[0] != '"' || json.Unmarshal(raw, into) != nil {
			return "must be a string"
		}
		return ""
	}
}

// number decodes a whole number. Unlike encoding/json it doesn't take null.
func number(into *int) fieldDecoder {
	return func(raw json.RawMessage) string {
		if raw[0] == 'n' || json.Unmarshal(raw, into) != nil {
			return "must be a whole number"
		}
		return ""
	}
}

// duration decodes elapsed time as Go writes it.
func duration(into *time.Duration) fieldDecoder {
	return func(raw json.RawMessage) string {
		var written string
		if text(&written)(raw) != "" {
			return `must be a duration such as "15s"`
		}
		d, err := time.ParseDuration(written)
		if err != nil {
			return `must be a duration such as "15s"`
		}
		*into = d
		return ""
	}
}

// invalid is the error of arguments with these fields wrong, or nil.
func invalid(wrong []schedule.FieldError) error {
	if len(wrong) == 0 {
		return nil
	}
	return &schedule.InvalidError{Fields: wrong}
}
