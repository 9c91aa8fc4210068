package api

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// body is a request's body, left unread until its handler decodes it, and
// documented as a T.
type body[T any] struct{ raw []byte }

// Schema is huma.SchemaProvider.
func (body[T]) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(typeOf[T](), true, "")
}

func (b *body[T]) take(raw []byte) { b.raw = append([]byte(nil), raw...) }

// decode reads the body into v, whose fields that the body doesn't mention stay
// as they are.
func (b *body[T]) decode(v *T) error { return decodeStrict(b.raw, v) }

// strict refuses what a caller can't have meant: unknown members, names given
// twice, and text that isn't UTF-8.
var strict = json.JoinOptions(json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(false), jsontext.AllowInvalidUTF8(false),
	json.WithUnmarshalers(json.UnmarshalFromFunc(passOverNull)))

// passOverNull makes a null the same as leaving the field out, as it is in a
// merge patch: many clients write null for what they don't set.
func passOverNull(in *jsontext.Decoder, _ any) error {
	if in.PeekKind() != 'n' || in.StackDepth() == 0 {
		return json.SkipFunc
	}
	if strings.HasPrefix(string(in.StackPointer()), "/labels/") {
		return errors.New("must be a string")
	}
	return in.SkipValue()
}

// decodeStrict reads a JSON object. What isn't one is a 400; what is, but isn't
// what was asked for, is a *schedule.InvalidError that names the field.
func decodeStrict(raw []byte, v any) error {
	err := json.Unmarshal(raw, v, strict)
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		return &problem{Status: http.StatusBadRequest, Detail: notJSON(syntax)}
	case jsontext.Value(raw).Kind() != '{':
		return errNotObject
	case errors.As(err, &semantic) && semantic.JSONPointer != "":
		return schedule.Invalid(fieldOf(semantic.JSONPointer), reasonOf(semantic, raw))
	case err != nil:
		return &problem{Status: http.StatusBadRequest, Detail: "The body can't be read."}
	}
	return nil
}

var errNotObject = &problem{Status: http.StatusBadRequest, Detail: "The body must be a JSON object."}

func notJSON(err *jsontext.SyntacticError) string {
	reason := strings.TrimPrefix(fmt.Sprint(err.Err), "jsontext: ")
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		reason = "it ends too early"
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = "a name is there twice"
	}
	if field := fieldOf(err.JSONPointer); field != "" {
		return fmt.Sprintf("The body isn't JSON: %s, at byte %d, in %s.", short(reason), err.ByteOffset, short(field))
	}
	return fmt.Sprintf("The body isn't JSON: %s, at byte %d.", short(reason), err.ByteOffset)
}

func reasonOf(err *json.SemanticError, raw []byte) string {
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return "isn't a field that is known here"
	case err.Err != nil && strings.HasPrefix(err.Err.Error(), "must "):
		return err.Err.Error()
	case err.GoType != nil:
		return "must be " + kindOf(err.GoType) + insteadOf(err, raw)
	default:
		return "can't be read"
	}
}

// insteadOf repeats what was read where a time was wanted, which is no secret.
func insteadOf(err *json.SemanticError, raw []byte) string {
	if t := err.GoType; t != typeOf[time.Time]() && t != typeOf[date]() && t != typeOf[duration]() {
		return ""
	}
	value, err2 := jsontext.NewDecoder(bytes.NewReader(bytes.TrimLeft(raw[err.ByteOffset:], " \t\r\n:,"))).ReadValue()
	if err2 != nil {
		return ""
	}
	const longest = 40
	if len(value) > longest {
		return ", not " + strings.ToValidUTF8(string(value[:longest]), "") + "…"
	}
	return ", not " + string(value)
}

// fieldOf is a JSON pointer as the path that errors name: "spec.cron".
func fieldOf(pointer jsontext.Pointer) string {
	return strings.Join(slices.Collect(pointer.Tokens()), ".")
}

// mergePatch applies a JSON merge patch (RFC 7396), which must be an object, to
// a document. Numbers stay as they were written.
func mergePatch(document, patch []byte) ([]byte, error) {
	var members map[string]jsontext.Value
	if err := decodeStrict(patch, &members); err != nil {
		return nil, err
	}
	target, err := tree(document)
	if err != nil {
		return nil, fmt.Errorf("read the document to patch: %w", err)
	}
	changes, err := tree(patch)
	if err != nil {
		return nil, fmt.Errorf("read the patch: %w", err)
	}
	return stdjson.Marshal(merge(target, changes))
}

// merge is the function of RFC 7396, section 2.
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, change := range changes {
		if change == nil {
			delete(object, name)
		} else {
			object[name] = merge(object[name], change)
		}
	}
	return object
}

// tree is JSON in maps, slices and, for numbers, the text that was written.
func tree(raw []byte) (root any, err error) {
	decoder := stdjson.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err = decoder.Decode(&root)
	return root, err
}
