package jobs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// RetryPolicy says when a webhook that failed is sent again, and whether. How often
// is the job's max_attempts. Nil is River's own: the fourth power of the attempts, in
// seconds.
type RetryPolicy struct {
	Base     time.Duration     // after the first attempt; doubled after each further one
	Max      time.Duration     // the longest wait
	Jitter   float64           // the part of a wait by which it is made shorter or longer at random, 0 to 1
	Statuses map[string]string // "404" or "4xx" to statusFinal or statusRetry; a single status wins over its class
}

const (
	statusFinal = "final" // the run has failed: no further attempt
	statusRetry = "retry"

	retryStatusesMax = 50

	// retryAfterMax bounds a Retry-After when the job has no policy of its own.
	retryAfterMax = time.Hour
)

// retryStatus is what a policy may speak of: anything but success.
var retryStatus = regexp.MustCompile(`^[345]([0-9][0-9]|xx)$`)

const retryPath = argsPath + ".retry"

func decodeRetry(raw json.RawMessage) (*RetryPolicy, []schedule.FieldError) {
	p := &RetryPolicy{Base: 10 * time.Second, Max: time.Hour, Jitter: 0.1}
	wrong := decodeObject(raw, retryPath, "isn't a part of a retry policy", map[string]fieldDecoder{
		"base": duration(&p.Base),
		"max":  duration(&p.Max),
		"jitter": func(raw json.RawMessage) string {
			if raw[0] == 'n' || json.Unmarshal(raw, &p.Jitter) != nil {
				return "must be a number"
			}
			return ""
		},
		"statuses": func(raw json.RawMessage) string {
			if json.Unmarshal(raw, &p.Statuses) != nil || p.Statuses == nil {
				return `must be an object such as {"4xx": "final", "429": "retry"}`
			}
			return ""
		},
	})
	return p, wrong
}

func (p *RetryPolicy) validate() (wrong []schedule.FieldError) {
	if p == nil {
		return nil
	}
	refuse := func(field, reason string) {
		wrong = append(wrong, schedule.FieldError{Field: retryPath + "." + field, Reason: reason})
	}
	if p.Base < time.Second || p.Base > 24*time.Hour {
		refuse("base", "must be from 1s to 24h")
	}
	if p.Max < p.Base || p.Max > 7*24*time.Hour {
		refuse("max", "must be from base to 168h")
	}
	if !(p.Jitter >= 0 && p.Jitter <= 1) {
		refuse("jitter", "must be from 0 to 1")
	}
	if len(p.Statuses) > retryStatusesMax {
		refuse("statuses", fmt.Sprintf("must be at most %d", retryStatusesMax))
		return wrong
	}
	for _, status := range slices.Sorted(maps.Keys(p.Statuses)) {
		if !retryStatus.MatchString(status) {
			refuse("statuses", fmt.Sprintf("has the key %.20q: must be a status from 300 to 599, or 3xx, 4xx or 5xx", status))
		} else if then := p.Statuses[status]; then != statusFinal && then != statusRetry {
			refuse("statuses."+status, `must be "final" or "retry"`)
		}
	}
	return wrong
}

// isFinal reports whether an answer with the status ends the run.
func (p *RetryPolicy) isFinal(status int) bool {
	if p == nil || status == 0 {
		return false
	}
	exact, ok := p.Statuses[strconv.Itoa(status)]
	if !ok {
		exact = p.Statuses[fmt.Sprintf("%dxx", status/100)]
	}
	return exact == statusFinal
}

// next is when the job is tried again: by the policy, and not before the receiver's
// Retry-After, which is kept as far as the policy's Max. The zero time leaves it to
// River.
func (p *RetryPolicy) next(now time.Time, job *rivertype.JobRow, rest time.Duration) time.Time {
	if p == nil {
		if rest == 0 {
			return time.Time{}
		}
		own := (&river.DefaultClientRetryPolicy{}).NextRetry(job)
		return later(own, now.Add(min(rest, retryAfterMax)))
	}
	wait := p.Max
	if doublings := max(job.Attempt-1, 0); doublings < 32 { // 1 s, doubled so often, is beyond every Max
		wait = min(p.Base<<doublings, p.Max)
	}
	if spread := time.Duration(float64(wait) * p.Jitter); spread > 0 {
		wait += rand.N(2*spread) - spread
	}
	return later(now.Add(wait), now.Add(min(rest, p.Max)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// wantedRest is how long the receiver wants not to be asked, where its status lets
// it say so (RFC 9110, section 10.2.3; RFC 6585).
func wantedRest(resp *http.Response) time.Duration {
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	wait, _ := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return max(wait, 0)
}
