package schedule

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// jitterFraction is a number in [0, 1) that depends on nothing but the schedule
// and the nominal time.
func jitterFraction(id ID, occurrence time.Time) float64 {
	hash := fnv.New64a()
	hash.Write(id[:])
	var seconds [8]byte
	binary.BigEndian.PutUint64(seconds[:], uint64(occurrence.UnixMicro()))
	hash.Write(seconds[:])
	// FNV's high bits mix poorly over short input: fold them once more.
	mixed := hash.Sum64()
	mixed ^= mixed >> 33
	mixed *= 0xff51afd7ed558ccd
	mixed ^= mixed >> 33
	return float64(mixed>>11) / (1 << 53)
}
