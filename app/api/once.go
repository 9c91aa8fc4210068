package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
)

// idempotencyKey is the header by which a POST that is sent again is known for the same.
const idempotencyKey = "Idempotency-Key"

const maxKeyLength = 255

// replayed is the header of an answer that was given before.
const replayed = "Idempotency-Replayed"

// keptHeaders are those of an answer that are kept; the others are about the request.
var keptHeaders = []string{"Content-Type", "ETag", "Location", "Cache-Control"}

// asked is a POST that is done once.
type asked struct {
	hides bool // the answer holds a secret: it isn't kept
	// after is to be done once it is committed, or not, with the error; nil: nothing.
	// It may find that the answer is another one.
	after func(context.Context, error) *pending
}

type askedKey struct{}

func askedOf(ctx context.Context) *asked {
	a, _ := ctx.Value(askedKey{}).(*asked)
	return a
}

// hideAnswer says that the answer to the request holds a secret.
func hideAnswer(ctx context.Context) {
	if a := askedOf(ctx); a != nil {
		a.hides = true
	}
}

// errNotKept undoes what was done for an answer that isn't a success.
var errNotKept = errors.New("the answer isn't a success")

// once has a POST with an idempotency key done once, and its answer given again to
// whoever sends it again. What the handler does is committed together with the answer,
// which is sent after that.
func (a *api) once(c *gin.Context) {
	values := c.Request.Header.Values(idempotencyKey)
	if len(values) == 0 || c.Request.Method != http.MethodPost || !strings.HasPrefix(c.FullPath(), "/v1/") {
		return
	}
	key := values[0]
	if len(values) > 1 || len(key) < 1 || len(key) > maxKeyLength || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		a.abort(c, invalidProblem([]schedule.FieldError{{Field: idempotencyKey, Reason: "must be given once, and be 1 to 255 visible ASCII characters"}}))
		return
	}
	body, refusal := readWhole(c)
	if refusal != nil {
		a.abort(c, refusal)
		return
	}
	request := sha256.New()
	fmt.Fprintf(request, "%q", []string{c.Request.URL.EscapedPath(), c.Request.URL.Query().Encode(), c.GetHeader("If-Match"), fmt.Sprint(isYAML(c.Request.Context()))})
	request.Write(body)

	outer, how := c.Writer, &asked{}
	buffer := &bufferedWriter{ResponseWriter: outer, status: http.StatusOK}
	ctx := c.Request.Context()
	defer func() { c.Writer = outer }() // also when it panics
	answer, again, err := a.Service.Once(ctx, key, [32]byte(request.Sum(nil)), func(ctx context.Context) (*app.Answer, error) {
		c.Request = c.Request.WithContext(context.WithValue(ctx, askedKey{}, how))
		c.Writer = buffer
		c.Next()
		if buffer.status >= 400 {
			return nil, errNotKept
		}
		kept := &app.Answer{Status: buffer.status, Headers: map[string]string{}}
		for _, name := range keptHeaders {
			if value := outer.Header().Get(name); value != "" {
				kept.Headers[name] = value
			}
		}
		if !how.hides {
			kept.Body = append([]byte{}, buffer.body.Bytes()...) // not nil, though it may be empty
		}
		return kept, nil
	})
	c.Writer = outer
	c.Request = c.Request.WithContext(ctx)
	c.Abort() // what comes next has been
	var later *pending
	if how.after != nil {
		later = how.after(ctx, err)
	}
	switch {
	case err != nil && !errors.Is(err, errNotKept):
		for _, name := range keptHeaders {
			outer.Header().Del(name)
		}
		writeProblem(outer, toProblem(ctx, err, a.Log))
	case again:
		a.replay(c, answer)
	case later != nil:
		text, err := json.Marshal(later)
		if err != nil {
			panic(fmt.Errorf("write the answer: %w", err))
		}
		outer.WriteHeader(later.GetStatus())
		_, _ = outer.Write(text) // as below
	default:
		outer.WriteHeader(buffer.status)
		_, _ = outer.Write(buffer.body.Bytes()) // a client that left needs no answer
	}
}

// replay gives an answer that was given before.
func (a *api) replay(c *gin.Context, answer *app.Answer) {
	c.Header(replayed, "true")
	if answer.Body == nil {
		a.abort(c, &problem{Status: http.StatusConflict, Detail: "The request with this Idempotency-Key was done; its answer held a secret, and isn't kept."})
		return
	}
	for name, value := range answer.Headers {
		c.Header(name, value)
	}
	c.Writer.WriteHeader(answer.Status)
	_, _ = c.Writer.Write(answer.Body) // a client that left needs no answer
}

// readWhole reads the body, which isn't to be waited for within a transaction.
func readWhole(c *gin.Context) ([]byte, *problem) {
	if c.Request.Body == nil || c.Request.ContentLength == 0 {
		return nil, nil
	}
	limit := bodyLimit(c.FullPath())
	_ = huma.SetReadDeadline(c.Writer, time.Now().Add(bodyTime)) // without one, who is slow is only slow
	body, err := io.ReadAll(http.MaxBytesReader(c.Writer, c.Request.Body, limit))
	_ = huma.SetReadDeadline(c.Writer, time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problem{Status: http.StatusRequestTimeout, Detail: "Timed out."}
	case err != nil:
		return nil, &problem{Status: http.StatusBadRequest, Detail: "The body ends too early."}
	}
	c.Request.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// bufferedWriter keeps an answer until it may be sent. Its headers are in place already.
type bufferedWriter struct {
	gin.ResponseWriter
	status int
	body   bytes.Buffer
}

// WriteHeader is http.ResponseWriter.
func (w *bufferedWriter) WriteHeader(status int) { w.status = status }

// WriteHeaderNow and the rest are gin.ResponseWriter.
func (w *bufferedWriter) WriteHeaderNow() {}

func (w *bufferedWriter) Write(text []byte) (int, error) { return w.body.Write(text) }

func (w *bufferedWriter) WriteString(text string) (int, error) { return w.body.WriteString(text) }

func (w *bufferedWriter) Status() int { return w.status }

func (w *bufferedWriter) Size() int { return w.body.Len() }

func (w *bufferedWriter) Written() bool { return w.body.Len() > 0 }

func (w *bufferedWriter) Flush() {}
