package db_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

func TestTheDatabaseSelectsWhatASelectorMatches(t *testing.T) {
	t.Parallel()
	_, pool := setup(t)
	label := rapid.SampledFrom([]string{"a", "b", "'", `"`, "%s", "$1", "", "é"})
	rapid.Check(t, func(rt *rapid.T) {
		labels := rapid.MapOf(label, label).Draw(rt, "labels")
		sel := schedule.Selector(rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) schedule.Term {
			term := schedule.Term{Key: label.Draw(rt, "key"), Op: rapid.SampledFrom([]schedule.TermOp{
				schedule.TermIn, schedule.TermNotIn, schedule.TermExists, schedule.TermAbsent,
			}).Draw(rt, "op")}
			if term.Op == schedule.TermIn || term.Op == schedule.TermNotIn {
				term.Values = rapid.SliceOfN(label, 1, 3).Draw(rt, "values")
			}
			return term
		}), 0, 3).Draw(rt, "selector"))
		condition, args := db.Selected(sel, 1)
		var got bool
		err := pool.QueryRow(t.Context(), "SELECT "+condition+" FROM (VALUES ($1::jsonb)) AS s (labels)",
			append([]any{labels}, args...)...).Scan(&got)
		if err != nil {
			rt.Fatal(err)
		}
		if want := sel.Matches(labels); got != want {
			rt.Errorf("%v: %v, want %v", labels, got, want)
		}
	})
}
