package app

import (
	"context"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Selection names schedules by what they have in common; see db.Selection.
type Selection = db.Selection

// Bulk is what became of many schedules at once.
type Bulk struct {
	Matched int64 // schedules of the selection
	Changed int64 // of those; in a dry run, that would be
}

// PauseAll pauses all schedules of a selection that the caller sees, in one
// statement, as Pause does one by one. With dryRun it only counts.
func (s *Service) PauseAll(ctx context.Context, sel Selection, reason string, dryRun bool) (Bulk, error) {
	definition := schedule.New()
	definition.PauseReason = reason
	if err := checkReason(definition); err != nil {
		return Bulk{}, err
	}
	return s.setPaused(ctx, sel, true, reason, dryRun)
}

// ResumeAll lets all schedules of a selection that the caller sees go on from now,
// those whose jobs the caller may have enqueued. The schedulers plan their next runs.
func (s *Service) ResumeAll(ctx context.Context, sel Selection, dryRun bool) (Bulk, error) {
	caller := CallerOf(ctx)
	sel.Kinds, sel.Queues = caller.Kinds, caller.Queues
	return s.setPaused(ctx, sel, false, "", dryRun)
}

func (s *Service) setPaused(ctx context.Context, sel Selection, paused bool, reason string, dryRun bool) (b Bulk, err error) {
	if sel.Namespaces, err = visible(ctx, sel.Namespaces); err != nil {
		return b, err
	}
	err = s.writeAs(ctx, db.Writing{How: db.HowAPI, Bulk: true}, func(tx *db.Tx) (*schedule.Change, error) {
		b.Matched, b.Changed, err = tx.SetPaused(ctx, sel, paused, reason, dryRun)
		if err != nil || dryRun || b.Changed == 0 {
			return nil, err
		}
		return &schedule.Change{}, nil
	})
	if err != nil {
		return Bulk{}, err
	}
	return b, nil
}
