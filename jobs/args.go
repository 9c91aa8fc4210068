package jobs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

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
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return []schedule.FieldError{{Field: argsPath, Reason: "must be a JSON object"}}
	}
	var wrong []schedule.FieldError
	for _, name := range slices.Sorted(maps.Keys(object)) {
		decode, ok := known[name]
		reason := fmt.Sprintf("isn't an argument of %s jobs", kind)
		if ok {
			reason = decode(object[name])
		}
		if reason != "" {
			wrong = append(wrong, schedule.FieldError{Field: argsPath + "." + name, Reason: reason})
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

// invalid is the error of arguments with these fields wrong, or nil.
func invalid(wrong []schedule.FieldError) error {
	if len(wrong) == 0 {
		return nil
	}
	return &schedule.InvalidError{Fields: wrong}
}
