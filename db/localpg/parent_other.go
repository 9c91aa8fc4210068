//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package localpg

import "syscall"

// dieWithParent does nothing where the system doesn't tell a child of its parent's
// death: after a kill -9 the next Start names the process that was left.
func dieWithParent(*syscall.SysProcAttr) {}
