package scheduler

import (
	"context"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// reportGap is the least time between two reports, however often it is asked.
const reportGap = 5 * time.Millisecond

// tidyInterval is the time between two clean-ups, however many reports lie between.
const tidyInterval = time.Minute

// reportLoop says what this scheduler is and what it has seen: every few seconds,
// and at once while somebody waits to hear it. Nothing else depends on it, so what
// fails is left to the next time.
func (s *Scheduler) reportLoop(ctx context.Context) {
	wait := time.Duration(0)
	var last, again time.Time // report, and look for who learnt of it late
	for tidy := time.Now(); sleep(ctx, wait, s.asked); {
		wait = db.ReportInterval
		anew, err := s.report(ctx)
		now := time.Now()
		if err == nil {
			// Who didn't know of it may have announced a change by a path that it doesn't
			// hear. So it looks now and, as others learn of it a moment later, once more.
			unknown, late := anew || now.Sub(last) > 2*db.ReportInterval, !again.IsZero() && !now.Before(again)
			switch {
			case unknown:
				again = now.Add(db.ReportInterval)
			case late:
				again = time.Time{}
			}
			if unknown || late {
				s.Notify(schedule.Change{}, schedule.PathPoll)
			}
			last = now
		}
		if err == nil && !now.Before(tidy) {
			tidy = now.Add(tidyInterval)
			err = s.store.TidyReports(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Debug("can't report: trying again", "err", err)
		}
		if !sleep(ctx, reportGap, nil) {
			break
		}
	}
	if err := s.store.Forget(context.WithoutCancel(ctx), s.config.Self.ID); err != nil {
		s.log.Debug("can't take leave", "err", err)
	}
}

// report says that the scheduler was listed anew when nobody knew of it before.
func (s *Scheduler) report(ctx context.Context) (anew bool, err error) {
	asked, err := s.store.Asked(ctx)
	if err != nil {
		return false, err
	}
	self := s.config.Self
	if s.config.Paths != nil {
		self.Paths = s.config.Paths()
	}
	var learnt []db.Learnt
	s.mu.Lock()
	look := s.looked
	for id, changedAt := range asked {
		if l, ok := s.trail.find(id, changedAt); ok {
			learnt = append(learnt, l)
		}
	}
	lookedHere := s.lookedHere
	s.mu.Unlock()
	now, anew, err := s.store.Report(ctx, &self, time.Since(s.started), look, learnt)
	if err == nil && !lookedHere.IsZero() {
		s.checkClock(now.Sub(look.At.Add(time.Since(lookedHere))))
	}
	return anew, err
}

// maxDrift is how far the database's clock may have moved against this process's
// since the last look: more than a report takes.
const maxDrift = 500 * time.Millisecond

// checkClock looks again when one of the clocks has jumped, or this machine was
// suspended: the alarm stands at an instant of the database's clock, and is waited
// for by this process's.
func (s *Scheduler) checkClock(drift time.Duration) {
	if drift.Abs() < maxDrift {
		return
	}
	s.log.Warn("the database's clock has moved against this machine's: looking again", "by", drift)
	signal(s.planned)
}

// checkTriggers looks whether the database still has the triggers that riverbeat
// rests on, and says so when that changes.
func (s *Scheduler) checkTriggers(ctx context.Context) {
	keeping, announcing, err := s.store.Triggers(ctx)
	if err != nil {
		return // the loops say what is wrong
	}
	before := s.missing.Swap(&missingTriggers{keeping, announcing})
	if before == nil {
		before = &missingTriggers{}
	}
	switch {
	case len(keeping) > 0 && len(before.Keeping) == 0:
		s.log.Error("triggers that keep the truth are missing or disabled: what is written meanwhile may never run", "triggers", keeping)
	case len(keeping) == 0 && len(before.Keeping) > 0:
		s.log.Info("the triggers that keep the truth are back: schedules written meanwhile need to be written again")
	}
	switch {
	case len(announcing) > 0 && len(before.Announcing) == 0:
		s.log.Warn("triggers that announce changes are missing or disabled: what SQL writes is found by the poll", "triggers", announcing)
	case len(announcing) == 0 && len(before.Announcing) > 0:
		s.log.Info("the triggers that announce changes are back")
	}
}

// missingTriggers are triggers that should be there.
type missingTriggers struct{ Keeping, Announcing []string }

// MissingTriggers says which of the database's triggers were missing or disabled
// at the last poll: of those that keep the truth, without which schedules may
// never run, and of those that announce changes.
func (s *Scheduler) MissingTriggers() (keeping, announcing []string) {
	if missing := s.missing.Load(); missing != nil {
		return missing.Keeping, missing.Announcing
	}
	return nil, nil
}
