// Package schedule is the domain of riverbeat: what a schedule is and when it
// runs. It is pure. Nothing here reads a clock, a database or a context; what
// is to be done comes back as a value that the caller carries out.
//
// The words, the same in code, SQL, JSON, logs and documentation:
//
//   - Schedule: what runs, when, and under which policy.
//   - Spec: the when: cron, every or at, in a zone, within a window.
//   - Calendar: days on which schedules that name it don't run.
//   - Job: the template of the River job that each run becomes.
//   - Run: one occurrence and what became of it.
//   - ScheduledFor: the nominal instant that the spec names for a run.
//   - FireAt: when a run is due, which is its nominal instant plus jitter.
//   - Cursor: where a schedule stands: its next run and what it has done.
//   - Misfire: what is owed for runs that were missed while nothing could fire.
//   - Overlap: what happens while the last run's job is still unfinished.
//   - Version: grows with each change of a schedule's definition.
//   - Change: a hint that a schedule changed. The zero Change means "look at
//     everything". Hints make riverbeat fast, never right.
package schedule
