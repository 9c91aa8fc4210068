package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// problem is an error answer: RFC 9457 problem details.
type problem struct {
	Type   string         `json:"type" doc:"about:blank: the status says what kind of problem it is."`
	Title  string         `json:"title" example:"Unprocessable Entity"`
	Status int            `json:"status" example:"422"`
	Detail string         `json:"detail,omitempty" example:"One field is wrong."`
	Errors []fieldProblem `json:"errors,omitempty" doc:"The fields that are wrong, when there are any."`

	retryAfter string
	challenge  string // what WWW-Authenticate says
}

// fieldProblem is one field that is wrong. The value isn't repeated: it may be a
// secret.
type fieldProblem struct {
	Field  string `json:"field" example:"spec.cron"`
	Reason string `json:"reason" example:"must have 5 fields, or 6 with leading seconds"`
}

func (p *problem) Error() string { return p.Detail }

// GetStatus is huma.StatusError.
func (p *problem) GetStatus() int { return p.Status }

// GetHeaders is huma.HeadersError.
func (p *problem) GetHeaders() http.Header {
	headers := http.Header{}
	if p.retryAfter != "" {
		headers.Set("Retry-After", p.retryAfter)
	}
	if p.challenge != "" {
		headers.Set("WWW-Authenticate", p.challenge)
	}
	return headers
}

// ContentType is huma.ContentTypeFilter.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// MarshalJSON fills in what follows from the status.
func (p *problem) MarshalJSON() ([]byte, error) {
	type plain problem
	out := plain(*p)
	if out.Type == "" {
		out.Type = "about:blank"
	}
	if out.Title == "" {
		out.Title = http.StatusText(out.Status)
	}
	return json.Marshal(out)
}

// toProblem is the one place where errors become status codes. What nobody
// foresaw is a 500, a line in the log, and no detail.
func toProblem(ctx context.Context, err error, log *slog.Logger) *problem {
	var known *problem
	var invalid *schedule.InvalidError
	var used *schedule.CalendarUsedError
	var blocked *schedule.BlockedError
	var lacking *app.ForbiddenError
	var jobState *schedule.JobStateError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &invalid):
		return invalidProblem(invalid.Fields)
	case errors.As(err, &lacking):
		return forbidden(lacking)
	case errors.Is(err, schedule.ErrNoNamespace):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such namespace for this token."}
	case errors.Is(err, app.ErrNoToken):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such token, or it is revoked already."}
	case errors.Is(err, app.ErrTooManyTokens):
		return &problem{Status: http.StatusConflict, Detail: sentence(err.Error())}
	case errors.Is(err, schedule.ErrNotFound):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such schedule."}
	case errors.Is(err, schedule.ErrNoRun):
		return &problem{Status: http.StatusNotFound, Detail: "The schedule's ledger has no such run."}
	case errors.Is(err, schedule.ErrNoRevision):
		return &problem{Status: http.StatusNotFound, Detail: "The schedule has no such revision, or has it no longer."}
	case errors.Is(err, app.ErrKeyReused):
		return &problem{
			Status: http.StatusUnprocessableEntity, Detail: "One field is wrong.",
			Errors: []fieldProblem{{Field: idempotencyKey, Reason: "was used for another request"}},
		}
	case errors.Is(err, app.ErrKeyInUse):
		return &problem{Status: http.StatusConflict, Detail: "A request with this Idempotency-Key is being answered.", retryAfter: "1"}
	case errors.As(err, &jobState) && jobState.State == "":
		return &problem{Status: http.StatusConflict, Detail: "The run has no job, or River has removed it."}
	case errors.As(err, &jobState):
		return &problem{Status: http.StatusConflict, Detail: fmt.Sprintf("The run's job is %s.", jobState.State)}
	case errors.Is(err, schedule.ErrNameTaken):
		return &problem{
			Status: http.StatusConflict, Detail: "Another schedule of the namespace has this name.",
			Errors: []fieldProblem{{Field: "name", Reason: "is taken in this namespace"}},
		}
	case errors.Is(err, schedule.ErrNoCalendar):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such calendar."}
	case errors.Is(err, schedule.ErrCalendarTaken):
		return &problem{
			Status: http.StatusConflict, Detail: "Another calendar of the namespace has this name.",
			Errors: []fieldProblem{{Field: "name", Reason: "is taken in this namespace"}},
		}
	case errors.Is(err, schedule.ErrNoAlert):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such alert."}
	case errors.Is(err, schedule.ErrNoSecret):
		return &problem{Status: http.StatusNotFound, Detail: "There is no such secret."}
	case errors.Is(err, schedule.ErrNoEncryptionKeys):
		return &problem{Status: http.StatusServiceUnavailable, Detail: "Secrets are kept encrypted, and this server has no key for it: set RIVERBEAT_ENCRYPTION_KEYS."}
	case errors.As(err, &used):
		return &problem{Status: http.StatusConflict, Detail: short("The calendar is in use by the schedule " + used.Schedule + ".")}
	case errors.As(err, &blocked):
		return &problem{Status: http.StatusConflict, Detail: fmt.Sprintf("The job of the last run, %d, isn't finished, and the schedule's overlap policy lets no run beside it.", blocked.JobID)}
	case errors.Is(err, schedule.ErrInvalidState):
		return &problem{Status: http.StatusConflict, Detail: "The schedule is set aside as invalid: its state_reason says why. Edit it first."}
	case errors.Is(err, schedule.ErrStale):
		return &problem{Status: http.StatusPreconditionFailed, Detail: "It has changed since it was read: read it again."}
	case errors.Is(ctx.Err(), context.Canceled):
		return &problem{Status: statusClientGone, Title: "Client Closed Request"} // nobody reads it
	case app.IsUnavailable(err):
		log.WarnContext(ctx, "a request could not be served", "err", err, "request_id", ctx.Value(requestIDKey{}))
		return &problem{Status: http.StatusServiceUnavailable, Detail: "The database can't be reached or is busy. Try again.", retryAfter: "1"}
	default:
		log.ErrorContext(ctx, "a request failed", "err", err, "request_id", ctx.Value(requestIDKey{}))
		return &problem{Status: http.StatusInternalServerError}
	}
}

// statusClientGone is what the log shows of a request whose client left.
const statusClientGone = 499

// The most that an answer repeats of a request.
const (
	maxFieldProblems = 50
	maxQuoted        = 300 // bytes
)

func invalidProblem(wrong []schedule.FieldError) *problem {
	p := &problem{Status: http.StatusUnprocessableEntity}
	for _, f := range wrong {
		p.Errors = append(p.Errors, fieldProblem{Field: f.Field, Reason: f.Reason})
	}
	return p.bounded()
}

// bounded orders the fields and keeps the answer short, whatever was sent.
func (p *problem) bounded() *problem {
	slices.SortFunc(p.Errors, func(a, b fieldProblem) int {
		return cmp.Or(strings.Compare(a.Field, b.Field), strings.Compare(a.Reason, b.Reason))
	})
	p.Errors = slices.Compact(p.Errors)
	n := len(p.Errors)
	p.Errors = p.Errors[:min(n, maxFieldProblems)]
	for i, f := range p.Errors {
		p.Errors[i] = fieldProblem{Field: short(f.Field), Reason: short(f.Reason)}
	}
	switch {
	case n == 1:
		p.Detail = "One field is wrong."
	case n > maxFieldProblems:
		p.Detail = fmt.Sprintf("%d fields are wrong: these are %d of them.", n, maxFieldProblems)
	case n > 1:
		p.Detail = fmt.Sprintf("%d fields are wrong.", n)
	}
	return p
}

// short cuts what a caller wrote.
func short(text string) string {
	if len(text) <= maxQuoted {
		return text
	}
	return strings.ToValidUTF8(text[:maxQuoted], "") + "…"
}

// Huma makes an error of its own for what it finds wrong with parameters and
// bodies: it becomes a problem too, whose reasons read like ours.
func init() {
	huma.NewError = func(status int, detail string, errs ...error) huma.StatusError {
		p := &problem{Status: status, Detail: sentence(detail)}
		for _, err := range errs {
			var located huma.ErrorDetailer
			if errors.As(err, &located) {
				d := located.ErrorDetail()
				_, field, _ := strings.Cut(d.Location, ".") // without "query." and the like
				reason, ok := humaReasons[d.Message]
				if !ok {
					reason = d.Message
				}
				p.Errors = append(p.Errors, fieldProblem{Field: field, Reason: reason})
			}
		}
		switch status {
		case http.StatusRequestEntityTooLarge:
			p.Detail = fmt.Sprintf("The body must be smaller than %d bytes.", maxBodyBytes)
		case http.StatusBadRequest:
			p.Detail = "The body is missing."
		case http.StatusInternalServerError: // the one that huma makes is for a body that ended early
			p.Status, p.Detail = http.StatusBadRequest, "The body ends too early."
		}
		return p.bounded()
	}
	validation.MsgExpectedMinimumNumber = "must be at least %v"
	validation.MsgExpectedMaximumNumber = "must be at most %v"
	validation.MsgExpectedMaxLength = "must be at most %d characters long"
	validation.MsgExpectedMaxItems = "must be given at most %d times"
	validation.MsgExpectedBePattern = "must be %s"
	validation.MsgExpectedOneOf = `must be one of "%s"`
}

// humaReasons are those that huma doesn't let one set.
var humaReasons = map[string]string{
	"unknown query parameter":            "isn't a parameter that is known here",
	"invalid integer":                    "must be a whole number",
	"invalid boolean":                    "must be true or false",
	"required path parameter is missing": "is missing",
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// kindOf names what a field must be for a reader.
func kindOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case typeOf[time.Time]():
		return `an instant in RFC 3339, such as "2026-11-24T03:00:00Z"`
	case typeOf[date]():
		return `a date such as "2026-12-25"`
	case typeOf[duration]():
		return `a duration such as "90s", "15m", "24h" or "7d"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}
