//go:build darwin || freebsd || netbsd || openbsd || dragonfly

package redistest

import "syscall"

// childAttributes can't have the server die with the test here.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
