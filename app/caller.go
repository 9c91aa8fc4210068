package app

import (
	"context"
	"slices"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Scope is what a caller may do.
type Scope string

// The scopes. Each is its own: write doesn't hold read.
const (
	ScopeRead  Scope = "read"
	ScopeWrite Scope = "write"
	ScopeAdmin Scope = "admin"
)

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
func Operator(name string) Caller {
	return Caller{Name: name, Scopes: []Scope{ScopeRead, ScopeWrite, ScopeAdmin}}
}

// May reports whether the caller has the scope.
func (c Caller) May(scope Scope) bool { return slices.Contains(c.Scopes, scope) }

// Sees reports whether the namespace exists for the caller.
func (c Caller) Sees(namespace string) bool {
	return c.Namespaces == nil || slices.Contains(c.Namespaces, namespace)
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
		return Caller{Namespaces: []string{}}
	}
	return c
}
