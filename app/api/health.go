package api

import (
	"context"
	"sync"
	"time"
)

// healthAge is how old the answer of /readyz may be: anybody may ask, and each look
// costs queries.
const healthAge = 100 * time.Millisecond

// healthCache is what the last look has found.
type healthCache struct {
	mu     sync.Mutex
	looked time.Time
	found  []Check
}

// checks looks, unless somebody just did. Those who ask meanwhile wait for the look.
func (h *healthCache) checks(ctx context.Context, look func(context.Context) []Check) []Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.looked.IsZero() || time.Since(h.looked) > healthAge {
		h.found, h.looked = look(context.WithoutCancel(ctx)), time.Now() // also for those who wait
	}
	return h.found
}
