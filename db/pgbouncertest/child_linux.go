package pgbouncertest

import "syscall"

// childAttributes has PgBouncer die with the test, also if that is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
