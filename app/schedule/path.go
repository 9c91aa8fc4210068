package schedule

import "time"

// Path is how a scheduler learns of a change.
type Path string

// The paths.
const (
	PathNotify Path = "notify" // PostgreSQL's NOTIFY
	PathRedis  Path = "redis"
	PathLocal  Path = "local" // the change was written by the same process
	PathPoll   Path = "poll"  // nobody said anything
)

// PathState is how one path of messages is, as a scheduler sees it.
type PathState struct {
	Path         Path
	State        string        // "up", "unproven" or "down"
	For          time.Duration // how long it has been so
	HeartbeatAge time.Duration // since a message last went all the way; zero: never
}
