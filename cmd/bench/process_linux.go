package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// childAttributes has a program die with us, also if we are killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// tick is the unit of times in /proc on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// stat is a process's line in /proc, from the state on: field 3 is its first.
func stat(pid string) []string {
	content, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return nil // it has ended
	}
	_, rest, _ := strings.Cut(string(content), ") ")
	return strings.Fields(rest)
}

func ticks(fields []string, from, to int) (sum time.Duration) {
	for i := from; i <= to && i-3 < len(fields); i++ {
		n, _ := strconv.Atoi(fields[i-3]) // numbers, says the kernel
		sum += time.Duration(n) * tick
	}
	return sum
}

// cpuTime is what a process has used. With its children: also what they have,
// those too that have ended.
func cpuTime(pid int, children bool) time.Duration {
	own := stat(strconv.Itoa(pid))
	if !children {
		return ticks(own, 14, 15)
	}
	sum := ticks(own, 14, 17)
	entries, _ := os.ReadDir("/proc") // without it the sum is smaller
	for _, entry := range entries {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		if f := stat(entry.Name()); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			sum += ticks(f, 14, 17)
		}
	}
	return sum
}

// residentMiB is the memory that a process has in use.
func residentMiB(pid int) float64 {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(content), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64) // a number, says the kernel
	return kib / 1024
}

// memoryMiB is the machine's.
func memoryMiB() int {
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) != nil {
		return 0
	}
	return int(info.Totalram * uint64(info.Unit) >> 20)
}
