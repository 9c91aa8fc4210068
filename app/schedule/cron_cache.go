package schedule

import "sync"

// maxCrons bounds each of the two halves of cronCache: about 1 MB in all.
const maxCrons = 2048

// cronCache keeps expressions that were read lately: a dispatch reads the same few
// over and over, and reading takes 20 times as long as asking for the next run.
// What is asked for moves to the newer half; when that is full, the older one goes.
type cronCache struct {
	mu           sync.Mutex
	newer, older map[string]*Cron
}

var crons cronCache

// parse is ParseCron. Expressions that can't be read aren't kept.
func (c *cronCache) parse(expr string) (*Cron, error) {
	c.mu.Lock()
	cron := c.newer[expr]
	if cron == nil {
		if cron = c.older[expr]; cron != nil {
			c.keep(expr, cron)
		}
	}
	c.mu.Unlock()
	if cron != nil {
		return cron, nil
	}
	cron, err := ParseCron(expr)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.keep(expr, cron)
	c.mu.Unlock()
	return cron, nil
}

func (c *cronCache) keep(expr string, cron *Cron) {
	if c.newer == nil || len(c.newer) >= maxCrons {
		c.newer, c.older = make(map[string]*Cron), c.newer
	}
	c.newer[expr] = cron
}
