//go:build !linux

package main

import (
	"syscall"
	"time"
)

// Elsewhere a program can't be had die with us, and what it uses stays 0 in the
// table.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
func cpuTime(int, bool) time.Duration       { return 0 }
func residentMiB(int) float64               { return 0 }
func memoryMiB() int                        { return 0 }
