package schedule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestATroubleIsToldOnceForEachChange(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name  string
		looks []string // f: failed, c: completed, each a second after the one before; . : the one before once more
		want  []string // what each look tells
	}{
		{"nothing but success", []string{"c", "ccc"}, []string{"", ""}},
		{"many failures are one", []string{"f", "fff", "ff"}, []string{"f", "", ""}},
		{"recovery is one", []string{"f", "ccc"}, []string{"f", "c"}},
		{"and again", []string{"ff", "cc", "ff"}, []string{"f", "c", "f"}},
		{"all in one look", []string{"ffccffcc"}, []string{"fcfc"}},
		{"what was seen isn't seen again", []string{"f", ".", ".c", ".."}, []string{"f", "", "c", ""}},
		{"what was over isn't seen again", []string{"fc", "..", "f"}, []string{"fc", "", "f"}},
	} {
		var state TroubleState
		var all []Sign
		for i, look := range test.looks {
			var signs []Sign
			for _, r := range look {
				switch r {
				case '.':
					signs = append(signs, all[len(all)-strings.Count(look, "."):]...)
				default:
					sign := Sign{Over: r == 'c', Moment: Moment{At: noon.Add(time.Duration(len(all)) * time.Second)}}
					all, signs = append(all, sign), append(signs, sign)
				}
			}
			var turns []TroubleTurn
			state, turns = state.Follow(signs)
			told := ""
			for _, turn := range turns {
				told += map[bool]string{false: "f", true: "c"}[turn.Over]
			}
			if told != test.want[i] {
				t.Errorf("%s: look %d tells %q, want %q", test.name, i, told, test.want[i])
			}
		}
	}
}

func TestSignsOfOneInstantAreOrderedByNumber(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	state, turns := TroubleState{}.Follow([]Sign{{Moment: Moment{At: at, ID: 1}}, {Over: true, Moment: Moment{At: at, ID: 2}}, {Moment: Moment{At: at, ID: 1}}})
	if len(turns) != 2 || !state.Since.IsZero() {
		t.Errorf("got %+v, %+v", state, turns)
	}
}

func TestAnAlertIsChecked(t *testing.T) {
	t.Parallel()
	good := func() Alert {
		return Alert{Namespace: "default", Name: "on-call", On: Troubles, Webhook: json.RawMessage(`{"url": "https://example.com"}`)}
	}
	for _, test := range []struct {
		change func(*Alert)
		want   []string
	}{
		{func(*Alert) {}, nil},
		{func(a *Alert) { a.Namespace, a.Name = "", "On Call" }, []string{"namespace", "name"}},
		{func(a *Alert) { a.On = nil }, []string{"on"}},
		{func(a *Alert) { a.On = []Trouble{"failed", "late", "failed"} }, []string{"on.1", "on.2"}},
		{func(a *Alert) { a.Labels = map[string]string{"": "x"} }, []string{"labels"}},
		{func(a *Alert) { a.Webhook = nil }, []string{"webhook"}},
		{func(a *Alert) { a.Webhook = json.RawMessage(`[]`) }, []string{"webhook"}},
		{func(a *Alert) { a.Webhook = json.RawMessage(`{"body": 1, "method": "PUT"}`) }, []string{"webhook.body", "webhook.method"}},
	} {
		a := good()
		test.change(&a)
		var got []string
		if err := a.Validate(); err != nil {
			for _, f := range err.(*InvalidError).Fields { //nolint:errorlint // it is that one
				got = append(got, f.Field)
			}
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", a, diff)
		}
	}
	a := good()
	a.Labels = map[string]string{"team": "growth"}
	for labels, want := range map[string]bool{"growth": true, "other": false, "": false} {
		if got := a.IsAbout(TroubleFailed, map[string]string{"team": labels, "x": "y"}); got != want {
			t.Errorf("about team %s: %v", labels, got)
		}
	}
	if a.On = []Trouble{TroubleMissed}; a.IsAbout(TroubleFailed, map[string]string{"team": "growth"}) {
		t.Error("it is about a trouble that it doesn't name")
	}
}
