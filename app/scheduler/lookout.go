package scheduler

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

const (
	// lookoutEvery is the mean time between two looks for trouble.
	lookoutEvery = 5 * time.Second

	// lookoutLate is how late what a look has passed may come to light: River's workers
	// finish jobs by their own clocks and write it a moment later, and a transaction of
	// ours takes up to 15 s.
	lookoutLate = 30 * time.Second

	// What one look reads at most: failed jobs and lines of the ledger, schedules that are
	// in trouble, and completed jobs, which it mostly passes over. Some 100 ms.
	lookoutBatch     = 1000
	lookoutCompleted = 20_000
)

// Notifier enqueues notices as River jobs within a transaction.
type Notifier interface {
	InsertNotices(ctx context.Context, tx pgx.Tx, notices []schedule.Notice) error
}

// Lookout tells alerts of schedules whose jobs fail, that miss runs, or that are set
// aside, and of those that have recovered: once for each change, in the transaction that
// records it. It looks from outside, at what River and the ledger say, so that neither
// dispatch nor the workers, of whatever program, have to do with it. Any number may run;
// one looks at a time.
type Lookout struct {
	Store    *db.Store
	Notifier Notifier
	Every    time.Duration // between looks, about; 5 s
	Log      *slog.Logger

	batch, completed int // what one look reads at most; zero: the defaults
}

// Run looks until the context ends, and returns nil then.
func (l *Lookout) Run(ctx context.Context) error {
	every := l.Every
	if every == 0 {
		every = lookoutEvery
	}
	var broken bool
	for wait := rand.N(every); sleep(ctx, wait, nil); {
		begun := time.Now()
		more, err := l.Look(context.WithoutCancel(ctx)) // begun, it is finished: deadlines of its own bound it
		wait = every/2 + rand.N(every)
		switch {
		case err != nil && !broken:
			l.Log.Warn("can't look for trouble to tell of: trying again", "err", err)
		case err == nil && broken:
			l.Log.Info("can look for trouble again")
		case more:
			wait = time.Since(begun) // half of the time at rest
		}
		broken = err != nil
	}
	return nil
}

// Look looks once, and reports whether there is more than it could read.
func (l *Lookout) Look(ctx context.Context) (more bool, err error) {
	needed, err := l.Store.NeedsLookout(ctx)
	if err != nil || !needed {
		return false, err
	}
	var told []schedule.Notice
	err = l.Store.InTx(ctx, func(tx *db.Tx) error {
		more, told = false, nil
		at, ok, err := tx.LockLookout(ctx)
		if err != nil || !ok {
			return err
		}
		if at.Since.IsZero() { // nobody wants to know any more
			return tx.ForgetSomeTroubles(ctx, 10*lookoutBatch)
		}
		look := glance{tx: tx, at: at, batch: l.batch, completed: l.completed}
		if look.batch == 0 {
			look.batch = lookoutBatch
		}
		if look.completed == 0 {
			look.completed = lookoutCompleted
		}
		if err := look.run(ctx); err != nil {
			return err
		}
		more, told = look.more, look.notices
		return l.Notifier.InsertNotices(ctx, tx.Tx, told)
	})
	if err != nil {
		return false, err
	}
	for _, n := range told {
		l.Log.Info("an alert is sent", "alert", n.Alert.Name, "namespace", n.Alert.Namespace, "trouble", n.Trouble, "over", n.Over, "schedules", len(n.Of))
	}
	return more, nil
}

// glance is one look for trouble.
type glance struct {
	tx               *db.Tx
	at               db.Lookout
	batch, completed int

	more    bool
	notices []schedule.Notice
}

func (l *glance) run(ctx context.Context) error {
	// What is over comes first: a schedule may be in the same trouble again by now.
	over, gone, err := l.over(ctx)
	if err != nil {
		return err
	}
	if err := l.follow(ctx, over); err != nil {
		return err
	}
	var begun []schedule.Sign
	for _, look := range []func(context.Context) ([]schedule.Sign, error){l.jobs, l.missed, l.invalid} {
		signs, err := look(ctx)
		if err != nil {
			return err
		}
		begun = append(begun, signs...)
	}
	if err := l.follow(ctx, begun); err != nil {
		return err
	}
	settled := l.at.Jobs.At
	if l.at.Missed.At.Before(settled) {
		settled = l.at.Missed.At
	}
	if err := l.tx.ForgetTroubles(ctx, settled, gone); err != nil {
		return err
	}
	return l.tx.SaveLookout(ctx, l.at)
}

// over are signs that trouble is over which is known by the cursor alone, and what is
// to be forgotten with it.
func (l *glance) over(ctx context.Context) (signs []schedule.Sign, gone []db.TroubleKey, err error) {
	troubled, upTo, err := l.tx.Troubled(ctx, l.at.Troubled, l.batch)
	if err != nil {
		return nil, nil, err
	}
	l.at.Troubled = upTo
	for _, t := range troubled {
		switch {
		case t.Gone:
			gone = append(gone, db.TroubleKey{Trouble: t.Trouble, ScheduleID: t.ScheduleID})
		case t.Over:
			// The moment after the last one that spoke of trouble, which isn't told twice.
			signs = append(signs, schedule.Sign{
				ScheduleID: t.ScheduleID, Trouble: t.Trouble, Over: true,
				Moment: schedule.Moment{At: t.Seen.At, ID: t.Seen.ID + 1},
			})
		}
	}
	return signs, gone, nil
}

// from is where a look begins when the last one ended there: where nobody wanted to
// know yet, there is nothing to tell.
func (l *glance) from(end time.Time) time.Time {
	if since := l.at.Since.Add(-lookoutLate); end.Before(since) {
		return since
	}
	return end
}

// end is where the next look begins, after one that has read everything.
func (l *glance) end(before time.Time) time.Time {
	if end := l.at.Now.Add(-lookoutLate); end.After(before) {
		return end
	}
	return before
}

// jobs are what River says of the jobs that it has finished.
func (l *glance) jobs(ctx context.Context) ([]schedule.Sign, error) {
	after := l.at.Jobs
	if from := l.from(after.At); from.After(after.At) {
		after = schedule.Moment{At: from}
	}
	signs, upTo, complete, err := l.tx.FailedJobs(ctx, after, l.batch)
	if err != nil {
		return nil, err
	}
	var ids []schedule.ID
	for _, sign := range signs {
		ids = append(ids, sign.ScheduleID)
	}
	completed, completedTo, all, err := l.tx.CompletedJobs(ctx, after, ids, l.completed)
	if err != nil {
		return nil, err
	}
	if !all && (complete || upTo.After(completedTo)) {
		complete, upTo = false, completedTo
	}
	signs = append(signs, completed...)
	if complete {
		l.at.Jobs = schedule.Moment{At: l.end(after.At)}
		if l.at.Jobs.At.Equal(after.At) {
			l.at.Jobs.ID = after.ID
		}
		return signs, nil
	}
	// The order of what speaks for trouble and what against it counts: no kind is
	// followed further than the other.
	l.more, l.at.Jobs = true, upTo
	return slices.DeleteFunc(signs, func(s schedule.Sign) bool { return s.Moment.After(upTo) }), nil
}

// missed are the runs that the ledger says were missed.
func (l *glance) missed(ctx context.Context) ([]schedule.Sign, error) {
	after := l.at.Missed
	if from := l.from(after.At); from.After(after.At) {
		after = db.MissedAt{At: from}
	}
	signs, upTo, complete, err := l.tx.Missed(ctx, after, l.batch)
	if err != nil {
		return nil, err
	}
	if !complete {
		l.more, l.at.Missed = true, upTo
		return signs, nil
	}
	l.at.Missed = db.MissedAt{At: l.end(after.At)}
	if l.at.Missed.At.Equal(after.At) {
		l.at.Missed.ScheduleID = after.ScheduleID
	}
	return signs, nil
}

// invalid are the schedules that are set aside.
func (l *glance) invalid(ctx context.Context) (signs []schedule.Sign, err error) {
	signs, l.at.Invalid, err = l.tx.Invalid(ctx, l.at.Invalid, l.at.Now, l.batch)
	return signs, err
}

// follow takes the signs into account: what changes by them is recorded, and becomes
// notices.
func (l *glance) follow(ctx context.Context, signs []schedule.Sign) error {
	if len(signs) == 0 {
		return nil
	}
	byKey := map[db.TroubleKey][]schedule.Sign{}
	var ids []schedule.ID
	for _, sign := range signs {
		key := db.TroubleKey{Trouble: sign.Trouble, ScheduleID: sign.ScheduleID}
		byKey[key] = append(byKey[key], sign)
		ids = append(ids, sign.ScheduleID)
	}
	slices.SortFunc(ids, func(a, b schedule.ID) int { return bytes.Compare(a[:], b[:]) })
	ids = slices.Compact(ids)
	known, err := l.tx.Troubles(ctx, ids)
	if err != nil {
		return err
	}
	states := map[db.TroubleKey]schedule.TroubleState{}
	for _, state := range known {
		states[db.TroubleKey{Trouble: state.Trouble, ScheduleID: state.ScheduleID}] = state
	}
	named, alerts, err := l.audience(ctx, ids)
	if err != nil {
		return err
	}
	var changed []schedule.TroubleState
	for _, id := range ids { // in order, so that the same looks the same
		of, ok := named[id]
		if !ok {
			continue // deleted meanwhile
		}
		for _, trouble := range schedule.Troubles {
			key := db.TroubleKey{Trouble: trouble, ScheduleID: id}
			before, isKnown := states[key]
			if !isKnown {
				before = schedule.TroubleState{ScheduleID: id, Trouble: trouble}
				// Of what nobody is to be told nothing is remembered.
				if !slices.ContainsFunc(alerts[of.Namespace], func(a *schedule.Alert) bool { return a.IsAbout(trouble, of.Labels) }) {
					continue
				}
			}
			of := byKey[key]
			slices.SortStableFunc(of, func(a, b schedule.Sign) int {
				if a.Moment.After(b.Moment) {
					return 1
				}
				return -1
			})
			after, turns := before.Follow(of)
			// A schedule that is still set aside isn't news, and seen at each look.
			if after != before && (trouble != schedule.TroubleInvalid || len(turns) > 0) {
				changed = append(changed, after)
			}
			for _, turn := range turns {
				l.notice(alerts[named[id].Namespace], named[id], turn)
			}
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return l.tx.SaveTroubles(ctx, changed)
}

// audience is what the schedules are called, and the alerts of their namespaces.
func (l *glance) audience(ctx context.Context, ids []schedule.ID) (map[schedule.ID]db.Named, map[string][]*schedule.Alert, error) {
	named, err := l.tx.Named(ctx, ids)
	if err != nil {
		return nil, nil, err
	}
	var namespaces []string
	for _, n := range named {
		namespaces = append(namespaces, n.Namespace)
	}
	slices.Sort(namespaces)
	list, err := l.tx.AlertsOf(ctx, slices.Compact(namespaces))
	if err != nil {
		return nil, nil, err
	}
	alerts := map[string][]*schedule.Alert{}
	for _, a := range list {
		alerts[a.Namespace] = append(alerts[a.Namespace], a)
	}
	return named, alerts, nil
}

// notice adds a change to the notices of the alerts that are about it. Many schedules
// that are in the same trouble at once are one notice.
func (l *glance) notice(alerts []*schedule.Alert, of db.Named, turn schedule.TroubleTurn) {
	for _, a := range alerts {
		if !a.IsAbout(turn.Trouble, of.Labels) {
			continue
		}
		// What an alert wasn't told of, since it wasn't there, isn't over for it.
		if turn.Over && a.CreatedAt.After(turn.Since.Add(lookoutLate)) {
			continue
		}
		noticed := schedule.Noticed{
			ScheduleID: turn.ScheduleID, ScheduleName: of.Name, Since: turn.Since,
			ScheduledFor: turn.ScheduledFor, JobID: turn.JobID, Reason: turn.Reason,
		}
		n := slices.IndexFunc(l.notices, func(n schedule.Notice) bool {
			return n.Alert.Namespace == a.Namespace && n.Alert.Name == a.Name && n.Trouble == turn.Trouble && n.Over == turn.Over &&
				len(n.Of) < schedule.MaxNoticed && !slices.ContainsFunc(n.Of, func(of schedule.Noticed) bool { return of.ScheduleID == turn.ScheduleID })
		})
		if n < 0 {
			n = len(l.notices)
			l.notices = append(l.notices, schedule.Notice{Alert: a, Trouble: turn.Trouble, Over: turn.Over, At: l.at.Now})
		}
		l.notices[n].Of = append(l.notices[n].Of, noticed)
	}
}
