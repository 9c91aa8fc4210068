// Package jobs is River's side of riverbeat: how a run looks as a River insert
// (Inserter), the client that works jobs (NewClient), and the two kinds of job
// that come built in (webhook and listed_info).
//
// A schedule may name any other kind: whichever River client knows it works it,
// in whatever program and language.
package jobs
