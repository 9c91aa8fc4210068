//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package localpg

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
)

// account is empty here: the server can't be run at all.
type account struct{}

func accountFor(string) (*account, error) {
	return nil, fmt.Errorf("run PostgreSQL as a child process on %s: %w; set DATABASE_URL to a server of yours", runtime.GOOS, errors.ErrUnsupported)
}

func (*account) mayEnter(string) error                           { return nil }
func (*account) own(string) error                                { return nil }
func (*account) suffix() string                                  { return "" }
func childAttributes(*account) *syscall.SysProcAttr              { return nil }
func lockDir(context.Context, string) (unlock func(), err error) { return nil, errors.ErrUnsupported }
func syncDir(string) error                                       { return nil }
