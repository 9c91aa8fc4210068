package schedule

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Trouble is what may be wrong with a schedule. Each is a state that begins and ends,
// however many runs it lasts.
type Trouble string

// The troubles.
const (
	TroubleFailed  Trouble = "failed"  // the last of its jobs that River finished has failed
	TroubleMissed  Trouble = "missed"  // a run was missed, and none has been enqueued since
	TroubleInvalid Trouble = "invalid" // it is set aside
)

// Troubles are all there are.
var Troubles = []Trouble{TroubleFailed, TroubleMissed, TroubleInvalid}

// Alert says whom to tell of the troubles of schedules: of those of its namespace that
// have all of its labels.
type Alert struct {
	Namespace string
	Name      string // unique in its namespace
	On        []Trouble
	Labels    map[string]string // empty: all of the namespace
	Webhook   json.RawMessage   // args of a webhook job, without method and body

	// Kept by the database.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// MaxAlerts is how many alerts a namespace may have.
const MaxAlerts = 100

// ErrNoAlert is that of an alert that doesn't exist in the caller's namespace.
var ErrNoAlert = errors.New("no such alert")

// Validate checks all but what a webhook job's args may be. The error is an
// *InvalidError.
func (a *Alert) Validate() error {
	var f fields
	if !ValidNamespace(a.Namespace) {
		f.add("namespace", NameRule)
	}
	if !ValidNamespace(a.Name) { // their names look alike
		f.add("name", NameRule)
	}
	if len(a.On) == 0 {
		f.add("on", "must name at least one trouble")
	}
	for i, trouble := range a.On {
		if !slices.Contains(Troubles, trouble) {
			f.add(fmt.Sprintf("on.%d", i), `must be "failed", "missed" or "invalid"`)
		} else if slices.Contains(a.On[:i], trouble) {
			f.add(fmt.Sprintf("on.%d", i), "is named already")
		}
	}
	if len(a.Labels) > MaxLabels {
		f.add("labels", fmt.Sprintf("has %d entries: at most %d are allowed", len(a.Labels), MaxLabels))
	}
	for key, value := range a.Labels {
		if key == "" {
			f.add("labels", "has an empty key")
		}
		f.text("labels."+key, key, MaxLabelLength)
		f.text("labels."+key, value, MaxLabelLength)
	}
	if err := CheckArgs(a.Webhook); err != nil {
		f.add("webhook", err.Error())
		return f.err()
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(a.Webhook, &members) != nil {
		f.add("webhook", "must be a JSON object")
	}
	for _, name := range []string{"body", "method"} {
		if _, ok := members[name]; ok {
			f.add("webhook."+name, "can't be chosen: the alert is POSTed")
		}
	}
	return f.err()
}

// IsAbout reports whether the alert is to be told of the trouble of a schedule of its
// namespace that has these labels.
func (a *Alert) IsAbout(trouble Trouble, labels map[string]string) bool {
	for key, value := range a.Labels {
		if has, ok := labels[key]; !ok || has != value {
			return false
		}
	}
	return slices.Contains(a.On, trouble)
}

// TroubleState is how a schedule stands with one trouble.
type TroubleState struct {
	ScheduleID ID
	Trouble    Trouble
	Since      time.Time // zero: it isn't in it
	Seen       Moment    // the last sign that was taken into account
}

// Moment orders signs: by time and, at one instant, by number.
type Moment struct {
	At time.Time
	ID int64
}

// After reports whether m comes after n.
func (m Moment) After(n Moment) bool {
	return m.At.After(n.At) || m.At.Equal(n.At) && m.ID > n.ID
}

// Sign is one thing that was seen of a schedule's trouble.
type Sign struct {
	ScheduleID ID
	Trouble    Trouble
	Over       bool // it speaks against it
	Moment     Moment

	ScheduledFor time.Time // of the run; zero: it is about none
	JobID        int64     // zero: it is about none
	Reason       string    // what is known of it
}

// TroubleTurn is a change of a schedule's state that alerts are told of: the trouble has begun
// or is over.
type TroubleTurn struct {
	Sign
	Since time.Time // when the trouble began
}

// Follow takes the signs, in their order, into account, each once: one that isn't
// after the last that was seen changes nothing. It is the state then and the changes
// on the way.
func (s TroubleState) Follow(signs []Sign) (TroubleState, []TroubleTurn) {
	var turns []TroubleTurn
	for _, sign := range signs {
		if !sign.Moment.After(s.Seen) {
			continue
		}
		s.Seen = sign.Moment
		switch {
		case sign.Over && !s.Since.IsZero():
			turns = append(turns, TroubleTurn{Sign: sign, Since: s.Since})
			s.Since = time.Time{}
		case !sign.Over && s.Since.IsZero():
			s.Since = sign.Moment.At
			turns = append(turns, TroubleTurn{Sign: sign, Since: s.Since})
		}
	}
	return s, turns
}

// MaxNoticed is how many schedules one notice names.
const MaxNoticed = 100

// Notice is one message to an alert's webhook: that a trouble has begun, or is over,
// for some schedules.
type Notice struct {
	Alert   *Alert
	Trouble Trouble
	Over    bool
	At      time.Time // when it was noticed
	Of      []Noticed // at most MaxNoticed
}

// Noticed is one schedule that a notice is about.
type Noticed struct {
	ScheduleID   ID
	ScheduleName string
	Since        time.Time // when the trouble began
	ScheduledFor time.Time // of the run that showed it; zero: none did
	JobID        int64     // the same
	Reason       string
}

// MarshalJSON is the body of the webhook: an event as Standard Webhooks has it.
func (n Notice) MarshalJSON() ([]byte, error) {
	type noticed struct {
		ScheduleID   string     `json:"schedule_id"`
		ScheduleName string     `json:"schedule_name"`
		Since        time.Time  `json:"since"`
		RunID        string     `json:"run_id,omitempty"`
		ScheduledFor *time.Time `json:"scheduled_for,omitempty"`
		JobID        string     `json:"job_id,omitempty"`
		Reason       string     `json:"reason,omitempty"`
	}
	event := struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      struct {
			Alert     string    `json:"alert"`
			Namespace string    `json:"namespace"`
			Trouble   Trouble   `json:"trouble"`
			Schedules []noticed `json:"schedules"`
		} `json:"data"`
	}{Type: "schedule." + string(n.Trouble), Timestamp: n.At.UTC()}
	if n.Over {
		event.Type = "schedule.recovered"
	}
	event.Data.Alert, event.Data.Namespace, event.Data.Trouble = n.Alert.Name, n.Alert.Namespace, n.Trouble
	for _, of := range n.Of {
		out := noticed{ScheduleID: of.ScheduleID.String(), ScheduleName: of.ScheduleName, Since: of.Since.UTC(), Reason: of.Reason}
		if !of.ScheduledFor.IsZero() {
			out.RunID, out.ScheduledFor = RunID(of.ScheduleID, of.ScheduledFor).String(), new(of.ScheduledFor.UTC())
		}
		if of.JobID != 0 {
			out.JobID = fmt.Sprint(of.JobID)
		}
		event.Data.Schedules = append(event.Data.Schedules, out)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(event)
	return bytes.TrimSpace(text.Bytes()), err
}
