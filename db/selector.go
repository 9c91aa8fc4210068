package db

import (
	"fmt"
	"strings"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// selected is the condition that the labels of the schedules s fulfil a selector; its
// parameters stand behind the n-th. Equality is containment, which an index on labels
// can answer.
func selected(sel schedule.Selector, n int) (condition string, args []any) {
	terms := make([]string, len(sel))
	parameter := func(value any) string {
		args = append(args, value)
		return fmt.Sprintf("$%d", n+len(args))
	}
	for i, t := range sel {
		switch t.Op {
		case schedule.TermExists:
			terms[i] = "s.labels ? " + parameter(t.Key)
		case schedule.TermAbsent:
			terms[i] = "NOT s.labels ? " + parameter(t.Key)
		default:
			either := make([]string, len(t.Values))
			for j, value := range t.Values {
				either[j] = "s.labels @> " + parameter(map[string]string{t.Key: value}) + "::jsonb"
			}
			terms[i] = "(" + strings.Join(either, " OR ") + ")"
			if t.Op == schedule.TermNotIn {
				terms[i] = "NOT " + terms[i]
			}
		}
	}
	if len(terms) == 0 {
		return "true", nil
	}
	return strings.Join(terms, " AND "), args
}
