package app

import (
	"context"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Filter says which schedules to list; see db.ListFilter.
type Filter = db.ListFilter

// ListPlace is a place in a list of schedules; see db.ListPlace.
type ListPlace = db.ListPlace

// ListOrder is what a list of schedules is ordered by; see db.ListOrder.
type ListOrder = db.ListOrder

// List is a part of a list of schedules.
type List struct {
	Schedules []*schedule.Status
	Next      *ListPlace // where the next page begins; nil: this is the last
	Total     int64      // how many there are on all pages; zero unless it was asked for
	Estimated bool       // Total is an estimate
}

// List reads a part of the schedules that the caller sees and the filter lets
// through; with count it says how many these are. A page may be short, or empty, and
// have a Next all the same. The error may be a *schedule.InvalidError, when the filter
// and the order don't go together.
func (s *Service) List(ctx context.Context, filter Filter, count bool) (list List, err error) {
	filter.Limited = CallerOf(ctx).Namespaces != nil
	if filter.Namespaces, err = visible(ctx, filter.Namespaces); err != nil {
		return list, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		page, err := tx.ListSchedules(ctx, filter)
		list = List{Schedules: page.Schedules, Next: page.Next}
		if err != nil || !count {
			return err
		}
		list.Total = int64(len(page.Schedules))
		if filter.After != nil || page.Next != nil {
			list.Total, list.Estimated, err = tx.CountSchedules(ctx, filter)
		}
		return err
	})
	return list, err
}
