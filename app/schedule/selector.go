package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of a selector.
const (
	MaxSelectorTerms  = 10
	MaxSelectorValues = 50 // of one term
	MaxSelectorLength = 4096
)

// TermOp is how a term compares.
type TermOp string

// The operators.
const (
	TermIn     TermOp = "in"     // the label is one of the values
	TermNotIn  TermOp = "notin"  // it is none of them, or isn't there
	TermExists TermOp = "exists" // it is there
	TermAbsent TermOp = "absent" // it isn't
)

// Term is one condition on a label.
type Term struct {
	Key    string
	Op     TermOp
	Values []string // of TermIn and TermNotIn: at least one
}

// Selector chooses schedules by their labels: those for which all terms hold. One
// that ParseSelector has read has at least one term.
type Selector []Term

// ParseSelector reads the form that Kubernetes has:
// "team=growth,env!=dev,tier in (a,b),area notin (x),critical,!retired". The error
// completes a sentence that begins with the name of the field.
func ParseSelector(text string) (Selector, error) {
	if len(text) > MaxSelectorLength {
		return nil, fmt.Errorf("must be at most %d bytes long", MaxSelectorLength)
	}
	var sel Selector
	var f fields
	if f.text("", text, MaxSelectorLength); len(f.wrong) > 0 {
		return nil, errors.New(f.wrong[0].Reason)
	}
	for rest := text; ; {
		term, after, err := parseTerm(rest)
		if err != nil {
			return nil, err
		}
		if sel = append(sel, term); len(sel) > MaxSelectorTerms {
			return nil, fmt.Errorf("has more than %d terms", MaxSelectorTerms)
		}
		if after == "" {
			return sel, nil
		}
		if after[0] != ',' {
			return nil, fmt.Errorf("can't be read at %q: terms are separated by commas", start(after))
		}
		rest = after[1:]
	}
}

// parseTerm reads one term and says what stands behind it.
func parseTerm(text string) (t Term, rest string, err error) {
	text = trim(text)
	if after, negated := strings.CutPrefix(text, "!"); negated && !strings.HasPrefix(after, "=") {
		t.Op = TermAbsent
		t.Key, rest, err = word(after, "the name of a label")
		return t, trim(rest), err
	}
	if t.Key, rest, err = word(text, "the name of a label"); err != nil {
		return t, rest, err
	}
	rest = trim(rest)
	for _, sign := range []struct {
		text string
		op   TermOp
	}{{"!=", TermNotIn}, {"==", TermIn}, {"=", TermIn}} {
		if after, ok := strings.CutPrefix(rest, sign.text); ok {
			t.Op = sign.op
			value, rest := cut(trim(after)) // it may be empty, as labels may
			t.Values = []string{value}
			return t, trim(rest), nil
		}
	}
	op, after := cut(rest)
	switch op {
	case "":
		t.Op = TermExists
		return t, rest, nil
	case "in", "notin":
		t.Op = TermOp(op)
	default:
		return t, rest, fmt.Errorf("can't be read at %q: a label's name is followed by =, !=, in or notin", start(rest))
	}
	rest = trim(after)
	if !strings.HasPrefix(rest, "(") {
		return t, rest, fmt.Errorf("must have values in parentheses behind %s", op)
	}
	for {
		var value string
		value, rest = cut(trim(rest[1:]))
		rest = trim(rest)
		if !slices.Contains(t.Values, value) {
			t.Values = append(t.Values, value)
		}
		switch {
		case len(t.Values) > MaxSelectorValues:
			return t, rest, fmt.Errorf("has more than %d values behind one name", MaxSelectorValues)
		case strings.HasPrefix(rest, ","):
		case strings.HasPrefix(rest, ")"):
			return t, trim(rest[1:]), nil
		default:
			return t, rest, errors.New("has a parenthesis that isn't closed")
		}
	}
}

const (
	selectorSpace = " "
	selectorSigns = ",()=!" // and space: what ends a word
)

func trim(text string) string { return strings.TrimLeft(text, selectorSpace) }

// cut takes the word at the beginning, which may be empty.
func cut(text string) (word, rest string) {
	end := strings.IndexAny(text, selectorSigns+selectorSpace)
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
}

// word is cut for a name, which can't be empty.
func word(text, what string) (name, rest string, err error) {
	if name, rest = cut(trim(text)); name == "" {
		if rest == "" {
			return "", "", fmt.Errorf("must have %s at its end", what)
		}
		return "", "", fmt.Errorf("must have %s at %q", what, start(rest))
	}
	return name, rest, nil
}

// start is what an error repeats of a text.
func start(text string) string {
	const longest = 20
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}

// Matches reports whether the selector chooses what has these labels.
func (sel Selector) Matches(labels map[string]string) bool {
	for _, t := range sel {
		value, there := labels[t.Key]
		holds := there
		switch t.Op {
		case TermIn:
			holds = there && slices.Contains(t.Values, value)
		case TermNotIn:
			holds = !there || !slices.Contains(t.Values, value)
		case TermAbsent:
			holds = !there
		case TermExists:
		}
		if !holds {
			return false
		}
	}
	return true
}

// String is the selector as ParseSelector reads it.
func (sel Selector) String() string {
	terms := make([]string, len(sel))
	for i, t := range sel {
		switch {
		case t.Op == TermExists:
			terms[i] = t.Key
		case t.Op == TermAbsent:
			terms[i] = "!" + t.Key
		case len(t.Values) == 1 && t.Op == TermIn:
			terms[i] = t.Key + "=" + t.Values[0]
		case len(t.Values) == 1:
			terms[i] = t.Key + "!=" + t.Values[0]
		default:
			terms[i] = fmt.Sprintf("%s %s (%s)", t.Key, t.Op, strings.Join(t.Values, ","))
		}
	}
	return strings.Join(terms, ",")
}
