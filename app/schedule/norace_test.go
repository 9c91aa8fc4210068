//go:build !race

package schedule

const raceFactor = 1
