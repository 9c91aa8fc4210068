package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// MaxApplied is how many schedules may be applied at once.
const MaxApplied = 10_000

// Application is what there is to be.
type Application struct {
	Schedules []Wanted
	// Prune has those schedules of the namespace deleted that it selects and that aren't
	// among Schedules, all of which it has to select too; nil deletes nothing.
	Prune     schedule.Selector
	Namespace string // of Prune
	DryRun    bool   // only say what would change
}

// Wanted is a schedule that is to be there, by namespace and name.
type Wanted struct {
	schedule.Schedule
	KeepsPause bool // whether it is paused, and why, stays as it is
}

// Applied is a schedule that Apply has changed.
type Applied struct {
	Before *schedule.Schedule // nil: it is new
	After  *schedule.Schedule // nil: it is gone
}

// Apply makes, changes and deletes schedules so that there is what is wanted, all of it
// or nothing, in one transaction. What is as it is to be stays untouched; if all of it is,
// nothing is written and nothing announced. The schedulers plan the next runs. Beside the
// scope write it takes read: it says what has changed, in the order of the names, and how
// many were as they are. The error may be a *schedule.InvalidError, whose fields begin
// with schedules.N., ErrNoNamespace or ErrNameTaken.
func (s *Service) Apply(ctx context.Context, a Application) (changes []Applied, unchanged int, err error) {
	keys, err := s.checkApplication(ctx, &a)
	if err != nil {
		return nil, 0, err
	}
	var also *Selection
	if a.Prune != nil {
		also = &Selection{Namespaces: []string{a.Namespace}, Selector: a.Prune}
	}
	for tries := 1; ; tries++ {
		changes, unchanged, err = s.apply(ctx, &a, keys, also)
		// Somebody has made one meanwhile that was to be made.
		if !errors.Is(err, schedule.ErrNameTaken) || tries == 5 {
			return changes, unchanged, err
		}
	}
}

func (s *Service) apply(ctx context.Context, a *Application, keys []Key, also *Selection) (changes []Applied, unchanged int, err error) {
	// One message tells of all of it, instead of one for each statement.
	err = s.writeAs(ctx, db.Writing{How: db.HowApply, Quiet: true, Bulk: true}, func(tx *db.Tx) (*schedule.Change, error) {
		if !a.DryRun {
			if err := tx.ApplyAlone(ctx, keys, also); err != nil {
				return nil, err
			}
		}
		there, err := tx.ForApply(ctx, keys, also, !a.DryRun)
		if err != nil {
			return nil, err
		}
		plan, err := s.planApplication(ctx, tx, a, there)
		if err != nil {
			return nil, err
		}
		changes, unchanged = plan.changes(), len(a.Schedules)-len(plan.insert)-len(plan.update)
		if a.DryRun || len(changes) == 0 {
			return nil, nil
		}
		if err := plan.write(ctx, tx); err != nil {
			return nil, err
		}
		return &schedule.Change{}, tx.AnnounceMany(ctx)
	})
	if err != nil {
		return nil, 0, err
	}
	return changes, unchanged, nil
}

// InSchedule renames the fields of an *schedule.InvalidError to those of the i-th
// schedule.
func InSchedule(i int, err error) error {
	var invalid *schedule.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	wrong := slices.Clone(invalid.Fields)
	for j, f := range wrong {
		wrong[j].Field = strings.TrimSuffix(fmt.Sprintf("schedules.%d.%s", i, f.Field), ".")
	}
	return &schedule.InvalidError{Fields: wrong}
}

// checkApplication is everything that can be known before the transaction.
func (s *Service) checkApplication(ctx context.Context, a *Application) (keys []Key, err error) {
	if !CallerOf(ctx).May(ScopeRead) { // it tells what there is
		return nil, &ForbiddenError{Scope: ScopeRead}
	}
	if len(a.Schedules) > MaxApplied {
		return nil, schedule.Invalid("schedules", fmt.Sprintf("must be at most %d", MaxApplied))
	}
	if a.Prune != nil {
		if err := may(ctx, ScopeWrite, a.Namespace); err != nil {
			return nil, err
		}
	}
	var wrong error
	first := map[Key]int{}
	for i := range a.Schedules {
		w := &a.Schedules[i]
		if err := may(ctx, ScopeWrite, w.Namespace); err != nil {
			return nil, err
		}
		key := Key{Namespace: w.Namespace, Name: w.Name}
		keys = append(keys, key)
		fields := s.check(ctx, &w.Schedule)
		if j, twice := first[key]; twice {
			fields = schedule.AddFields(fields, []schedule.FieldError{{Field: "name", Reason: fmt.Sprintf("is that of schedules.%d too", j)}})
		}
		first[key] = i
		if a.Prune != nil && (w.Namespace != a.Namespace || !a.Prune.Matches(w.Labels)) {
			fields = schedule.AddFields(fields, []schedule.FieldError{{Field: "labels", Reason: "must be such that prune selects it, in its namespace: else nothing would ever delete it"}})
		}
		var invalid *schedule.InvalidError
		if err := InSchedule(i, fields); errors.As(err, &invalid) {
			wrong = schedule.AddFields(wrong, invalid.Fields)
		} else if err != nil {
			return nil, err
		}
	}
	return keys, wrong
}

// application is what Apply does.
type application struct {
	insert, update []*schedule.Schedule
	places         map[schedule.ID]int // in what was wanted
	before         map[schedule.ID]*schedule.Schedule
	remove         []*schedule.Schedule
}

// planApplication decides what to do about the schedules that are there, which the
// transaction holds.
func (s *Service) planApplication(ctx context.Context, tx *db.Tx, a *Application, there []*schedule.Schedule) (*application, error) {
	p := &application{places: map[schedule.ID]int{}, before: map[schedule.ID]*schedule.Schedule{}}
	byKey := make(map[Key]*schedule.Schedule, len(there))
	for _, t := range there {
		byKey[Key{Namespace: t.Namespace, Name: t.Name}] = t
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	for i := range a.Schedules {
		w, key := &a.Schedules[i], Key{Namespace: a.Schedules[i].Namespace, Name: a.Schedules[i].Name}
		before := byKey[key]
		delete(byKey, key)
		after := clone(&w.Schedule)
		if before == nil {
			id, err := uuid.NewV7()
			if err != nil {
				return nil, err
			}
			after.ID, after.Version, after.CreatedAt, after.UpdatedAt = schedule.ID(id), 1, now, now
			p.insert = append(p.insert, &after)
		} else {
			after.ID, after.Version, after.CreatedAt, after.UpdatedAt = before.ID, before.Version, before.CreatedAt, before.UpdatedAt
			if w.KeepsPause {
				after.Paused, after.PauseReason = before.Paused, before.PauseReason
			}
			if same(before, &after) {
				continue
			}
			after.Version++
			p.update = append(p.update, &after)
			p.before[after.ID] = before
		}
		p.places[after.ID] = i
		if err := s.checkChange(ctx, tx, before, &after, now); err != nil {
			return nil, InSchedule(i, err)
		}
	}
	if a.Prune != nil {
		for _, t := range there {
			// Asked of what is locked: it may have been another when it was found.
			if byKey[Key{Namespace: t.Namespace, Name: t.Name}] == t && t.Namespace == a.Namespace && a.Prune.Matches(t.Labels) {
				p.remove = append(p.remove, t)
			}
		}
	}
	// Always in the same order: of two applications at once one waits for the other.
	slices.SortFunc(p.insert, byName)
	slices.SortFunc(p.update, func(x, y *schedule.Schedule) int { return slices.Compare(x.ID[:], y.ID[:]) })
	return p, nil
}

// checkChange is what Create and Edit check within the transaction; before is nil for a
// new schedule.
func (s *Service) checkChange(ctx context.Context, tx *db.Tx, before, after *schedule.Schedule, now time.Time) error {
	if before == nil || !sameSpec(&before.Spec, &after.Spec) {
		if err := checkCalendars(ctx, tx, after); err != nil {
			return err
		}
		if err := mustFire(&schedule.Status{Schedule: *after, Cursor: schedule.Cursor{ChangedAt: now}}); err != nil {
			return err
		}
	}
	if before == nil || !sameJob(&before.Job, &after.Job) {
		return s.checkJobSecrets(ctx, tx, after)
	}
	return nil
}

// changes are in the order of namespaces and names.
func (p *application) changes() []Applied {
	var list []Applied
	for _, after := range slices.Concat(p.insert, p.update) {
		list = append(list, Applied{Before: p.before[after.ID], After: after})
	}
	for _, gone := range p.remove {
		list = append(list, Applied{Before: gone})
	}
	slices.SortFunc(list, func(x, y Applied) int { return byName(x.Schedule(), y.Schedule()) })
	return list
}

func byName(a, b *schedule.Schedule) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Schedule is what there is after the change; of a deletion, what there was before.
func (a *Applied) Schedule() *schedule.Schedule {
	if a.After == nil {
		return a.Before
	}
	return a.After
}

func (p *application) write(ctx context.Context, tx *db.Tx) error {
	// What is deleted makes room for names.
	if len(p.remove) > 0 {
		ids := make([]schedule.ID, len(p.remove))
		for i, gone := range p.remove {
			ids[i] = gone.ID
		}
		if err := tx.DeleteSchedules(ctx, ids); err != nil {
			return err
		}
	}
	for _, part := range []struct {
		list  []*schedule.Schedule
		write func(context.Context, []*schedule.Schedule) (int, error)
	}{{p.insert, tx.InsertSchedules}, {p.update, tx.UpdateSchedules}} {
		if len(part.list) == 0 {
			continue
		}
		if failed, err := part.write(ctx, part.list); err != nil {
			return InSchedule(p.places[part.list[failed].ID], err)
		}
	}
	return nil
}
