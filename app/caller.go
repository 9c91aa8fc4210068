package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Scope is what a caller may do.
type Scope string

// The scopes. Each is its own: write doesn't hold read.
const (
	ScopeRead  Scope = "read"
	ScopeWrite Scope = "write"
	ScopeAdmin Scope = "admin"
)

// AllScopes are all there are.
var AllScopes = []Scope{ScopeRead, ScopeWrite, ScopeAdmin}

// Caller is on whose behalf the service acts, and what they may do.
type Caller struct {
	TokenID    schedule.ID // of the API token; zero: none was asked for
	Name       string      // what revisions call them
	Scopes     []Scope
	Namespaces []string // nil: all; outside of them there is nothing for this caller
	Kinds      []string // of jobs that its schedules may have; nil: any
	Queues     []string // where its jobs may go; nil: any
}

// Operator is who runs the program itself: they may do everything.
func Operator(name string) Caller { return Caller{Name: name, Scopes: AllScopes} }

// May reports whether the caller has the scope.
func (c Caller) May(scope Scope) bool { return slices.Contains(c.Scopes, scope) }

// Sees reports whether the namespace exists for the caller.
func (c Caller) Sees(namespace string) bool {
	return c.Namespaces == nil || slices.Contains(c.Namespaces, namespace)
}

// SeesAll reports whether the caller isn't limited to namespaces.
func (c Caller) SeesAll() bool { return c.Namespaces == nil }

// MayEverything reports whether the caller has the scope admin and no limits: who may
// make tokens, and see River UI, which shows and changes the jobs of everybody.
func (c Caller) MayEverything() bool {
	return c.May(ScopeAdmin) && c.Namespaces == nil && c.Kinds == nil && c.Queues == nil
}

// Home is the namespace that the caller means where none is named: its only one, else
// the default one.
func (c Caller) Home() string { return db.Home(c.Namespaces) }

// CheckJob refuses a job that the caller may not have enqueued: an
// *schedule.InvalidError that names job.kind or job.queue. It is to be asked of every
// definition that is written, lets run or resumed on the caller's behalf.
func (c Caller) CheckJob(job *schedule.Job) error {
	var wrong []schedule.FieldError
	if c.Kinds != nil && !slices.Contains(c.Kinds, job.Kind) {
		wrong = append(wrong, schedule.FieldError{Field: "job.kind", Reason: "isn't one that the token may use"})
	}
	if c.Queues != nil && !slices.Contains(c.Queues, job.Queue) {
		wrong = append(wrong, schedule.FieldError{Field: "job.queue", Reason: "isn't one that the token may use"})
	}
	return schedule.AddFields(nil, wrong)
}

// CheckKind refuses what has jobs of a kind enqueued, in queues of riverbeat's own, that
// the caller may not have enqueued: an *schedule.InvalidError that names the field.
func (c Caller) CheckKind(field, kind string) error {
	if c.Kinds == nil || slices.Contains(c.Kinds, kind) {
		return nil
	}
	return schedule.Invalid(field, "enqueues jobs of the kind "+kind+", which isn't one that the token may use")
}

// ForbiddenError refuses what the caller's scopes don't hold.
type ForbiddenError struct {
	Scope Scope // that is missing
	All   bool  // it is needed without limits
}

func (e *ForbiddenError) Error() string {
	if e.All {
		return fmt.Sprintf("the scope %s is needed, without limits", e.Scope)
	}
	return fmt.Sprintf("the scope %s is needed", e.Scope)
}

type callerKey struct{}

// WithCaller is a context that says on whose behalf what is done with it is done.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is the caller that WithCaller has named; without one, nobody: a Caller
// that may do nothing and sees no namespace.
func CallerOf(ctx context.Context) Caller {
	c, ok := ctx.Value(callerKey{}).(Caller)
	if !ok {
		return Caller{Namespaces: []string{}, Kinds: []string{}, Queues: []string{}}
	}
	return c
}

// as is the database as the caller may see it, who must have the scope: the way of
// everything that is done on somebody's behalf. The error is a *ForbiddenError.
func (s *Service) as(ctx context.Context, scope Scope) (*db.Store, error) {
	caller := CallerOf(ctx)
	if !caller.May(scope) {
		return nil, &ForbiddenError{Scope: scope}
	}
	return s.database.Within(caller.Namespaces), nil
}

// read runs do in one transaction, for a caller with the scope read.
func (s *Service) read(ctx context.Context, do func(*db.Tx) error) error {
	store, err := s.as(ctx, ScopeRead)
	if err != nil {
		return err
	}
	return store.InTx(ctx, do)
}

// act is read for a caller with the scope write, who changes no schedule.
func (s *Service) act(ctx context.Context, do func(*db.Tx) error) error {
	store, err := s.as(ctx, ScopeWrite)
	if err != nil {
		return err
	}
	return store.InTx(ctx, do)
}

// may refuses who lacks the scope, or doesn't see the namespace: a *ForbiddenError or
// schedule.ErrNoNamespace.
func may(ctx context.Context, scope Scope, namespace string) error {
	caller := CallerOf(ctx)
	if !caller.May(scope) {
		return &ForbiddenError{Scope: scope}
	}
	if !caller.Sees(namespace) {
		return schedule.ErrNoNamespace
	}
	return nil
}

// mayEverything refuses who may not do everything.
func mayEverything(ctx context.Context) error {
	if !CallerOf(ctx).MayEverything() {
		return &ForbiddenError{Scope: ScopeAdmin, All: true}
	}
	return nil
}
