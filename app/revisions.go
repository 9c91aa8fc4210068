package app

import (
	"context"
	"errors"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Revision is a change of a schedule; see db.Revision.
type Revision = db.Revision

// Revisions reads what changed a schedule, newest first, also one that is gone, by its
// id: at most limit, behind the place, 0 for the first page. next is the place of the
// next page; 0: this is the last. The error may be schedule.ErrNotFound.
func (s *Service) Revisions(ctx context.Context, key Key, place int64, limit int) (page []Revision, next int64, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		id, gone, err := s.scheduleOf(ctx, tx, key)
		if err != nil {
			return err
		}
		page, next, err = tx.Revisions(ctx, id, place, limit)
		if err == nil && gone && (len(page) == 0 && place == 0 || !isOf(page, key)) {
			page, next, err = nil, 0, schedule.ErrNotFound
		}
		return err
	})
	return page, next, err
}

// isOf reports whether the revisions are of the namespace that the key names, if it
// names one.
func isOf(page []Revision, key Key) bool {
	return len(page) == 0 || key.Namespace == "" || page[0].Namespace == key.Namespace
}

// Revision reads the change that made the version. The error may be
// schedule.ErrNotFound or schedule.ErrNoRevision.
func (s *Service) Revision(ctx context.Context, key Key, version int64) (r *Revision, err error) {
	err = s.read(ctx, func(tx *db.Tx) error {
		r, err = s.revision(ctx, tx, key, version)
		return err
	})
	return r, err
}

func (s *Service) revision(ctx context.Context, tx *db.Tx, key Key, version int64) (*Revision, error) {
	id, gone, err := s.scheduleOf(ctx, tx, key)
	if err != nil {
		return nil, err
	}
	r, err := tx.Revision(ctx, id, version)
	if gone && (errors.Is(err, schedule.ErrNoRevision) || err == nil && !isOf([]Revision{*r}, key)) {
		return nil, schedule.ErrNotFound
	}
	return r, err
}

// Restore gives a schedule the definition that a revision has left. One that is gone is
// made anew, with another id. seen is the version that the caller has seen, or
// AnyVersion. The error may be one of Revision's, of Edit's or of Create's, or a
// *schedule.InvalidError where the revision has left nothing.
func (s *Service) Restore(ctx context.Context, key Key, version, seen int64) (status *schedule.Status, created bool, err error) {
	var r *Revision
	var now time.Time
	err = s.act(ctx, func(tx *db.Tx) error {
		if r, err = s.revision(ctx, tx, key, version); err != nil {
			return err
		}
		now, err = tx.Now(ctx)
		return err
	})
	switch {
	case err != nil:
		return nil, false, err
	case r.After == nil:
		return nil, false, schedule.Invalid("version", "is that of a deletion: restore one before it")
	}
	status, err = s.Edit(ctx, Key{ID: r.ScheduleID}, seen, func(definition *schedule.Schedule) error {
		*definition = clone(r.After)
		return nil
	})
	if !errors.Is(err, schedule.ErrNotFound) {
		return status, false, err
	}
	switch at := r.After.Spec.At; {
	case seen != AnyVersion:
		return nil, false, schedule.ErrStale
	case !at.IsZero() && !at.After(now): // what is made anew would run at once, perhaps once more
		return nil, false, schedule.Invalid("version", "is of a single instant that has passed")
	}
	status, err = s.Create(ctx, clone(r.After))
	return status, err == nil, err
}
