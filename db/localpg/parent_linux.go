package localpg

import "syscall"

// dieWithParent has the child shut down in an orderly way when we die without
// having stopped it, also by kill -9.
func dieWithParent(attributes *syscall.SysProcAttr) { attributes.Pdeathsig = syscall.SIGINT }
