//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package pgbouncertest

import "syscall"

// childAttributes can't have PgBouncer die with the test here.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
