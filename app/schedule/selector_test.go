package schedule

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestSelectorsAreReadAsKubernetesReadsThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Selector{
		"team=growth":      {{"team", TermIn, []string{"growth"}}},
		"team==growth":     {{"team", TermIn, []string{"growth"}}},
		" team = growth ":  {{"team", TermIn, []string{"growth"}}},
		"team!=growth":     {{"team", TermNotIn, []string{"growth"}}},
		"team=":            {{"team", TermIn, []string{""}}},
		"tier in (a, b,a)": {{"tier", TermIn, []string{"a", "b"}}},
		"tier notin(a)":    {{"tier", TermNotIn, []string{"a"}}},
		"tier in ()":       {{"tier", TermIn, []string{""}}},
		"critical":         {{"critical", TermExists, nil}},
		"! critical":       {{"critical", TermAbsent, nil}},
		"in in (in)":       {{"in", TermIn, []string{"in"}}},
		"example.com/part=x/y": {
			{"example.com/part", TermIn, []string{"x/y"}},
		},
		"team=growth,env!=dev,tier in (a,b),!old,チーム": {
			{"team", TermIn, []string{"growth"}}, {"env", TermNotIn, []string{"dev"}},
			{"tier", TermIn, []string{"a", "b"}}, {"old", TermAbsent, nil}, {"チーム", TermExists, nil},
		},
	} {
		got, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestWhatIsNoSelectorIsRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"":                              "must have the name of a label at its end",
		" ":                             "must have the name of a label at its end",
		"a=b,":                          "must have the name of a label at its end",
		",a=b":                          `must have the name of a label at ",a=b"`,
		"=b":                            `must have the name of a label at "=b"`,
		"!":                             "must have the name of a label at its end",
		"!=b":                           `must have the name of a label at "!=b"`,
		"a b":                           `can't be read at "b": a label's name is followed by =, !=, in or notin`,
		"a=b c":                         `can't be read at "c": terms are separated by commas`,
		"a in b":                        "must have values in parentheses behind in",
		"a in (b":                       "has a parenthesis that isn't closed",
		"a in (b c)":                    "has a parenthesis that isn't closed",
		"a=b)":                          `can't be read at ")": terms are separated by commas`,
		"a\x00=b":                       "must not contain control characters",
		"a=b\x00":                       "must not contain control characters",
		"a\xff=b":                       "must be valid UTF-8",
		strings.Repeat("a,", 10) + "a":  "has more than 10 terms",
		"a in (" + manyValues(51) + ")": "has more than 50 values behind one name",
		strings.Repeat("a", 4097):       "must be at most 4096 bytes long",
	} {
		if _, err := ParseSelector(text); err == nil || err.Error() != reason {
			t.Errorf("%.40q: %v, want %s", text, err, reason)
		}
	}
}

func manyValues(n int) string {
	values := make([]string, n)
	for i := range values {
		values[i] = strings.Repeat("v", i+1)
	}
	return strings.Join(values, ",")
}

func TestASelectorChoosesWhatHasTheLabels(t *testing.T) {
	t.Parallel()
	labels := map[string]string{"team": "growth", "tier": "a", "empty": ""}
	for text, want := range map[string]bool{
		"team=growth": true, "team=other": false, "none=x": false, "team": true, "none": false,
		"team!=growth": false, "team!=other": true, "none!=x": true, // as in Kubernetes: what isn't there differs
		"tier in (a,b)": true, "tier in (b,c)": false, "tier notin (a,b)": false, "tier notin (b,c)": true, "none notin (a)": true,
		"!none": true, "!team": false, "empty=": true, "none=": false, "empty": true,
		"team=growth,tier=a": true, "team=growth,tier=b": false,
	} {
		sel, err := ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := sel.Matches(labels); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func TestASelectorReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sel, err := ParseSelector(rapid.StringMatching(`!?[a-c/.]{1,3}( ?(=|==|!=) ?[x-z]{0,2}| (in|notin) \([x-z]{0,2}(, ?[x-z]){0,3}\))?(,!?[a-c]( ?(=|!=)[x-z])?){0,3}`).Draw(t, "text"))
		if err != nil {
			return // such as !a=b
		}
		again, err := ParseSelector(sel.String())
		if err != nil {
			t.Fatalf("%q: %v", sel.String(), err)
		}
		if diff := cmp.Diff(sel, again); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", sel.String(), diff)
		}
	})
}

func FuzzParseSelector(f *testing.F) {
	f.Add("team=growth,env!=dev,tier in (a,b),!old")
	f.Fuzz(func(t *testing.T, text string) {
		sel, err := ParseSelector(text)
		if (err == nil) != (len(sel) > 0) {
			t.Fatalf("%q: %d terms, %v", text, len(sel), err)
		}
		sel.Matches(map[string]string{"team": "growth"})
	})
}
