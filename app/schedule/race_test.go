//go:build race

package schedule

// raceFactor is how much longer the race detector lets things take.
const raceFactor = 15
