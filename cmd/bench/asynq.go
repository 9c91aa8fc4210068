package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// asynqRedis is an empty database of the Redis server, for asynq alone.
func (b *bench) asynqRedis(ctx context.Context) (asynq.RedisClientOpt, error) {
	options, err := redis.ParseURL(b.redisURL)
	if err != nil {
		return asynq.RedisClientOpt{}, err
	}
	options.DB = 1
	client := redis.NewClient(options)
	defer client.Close()
	return asynq.RedisClientOpt{Addr: options.Addr, DB: options.DB}, client.FlushDB(ctx).Err()
}

// firsts takes the time at which each task was first enqueued.
type firsts struct {
	mu   sync.Mutex
	at   map[string]time.Time
	errs []error
	all  chan struct{} // closed when there are so many
	many int
}

func newFirsts(n int) *firsts {
	return &firsts{at: map[string]time.Time{}, all: make(chan struct{}), many: n}
}

func (f *firsts) enqueued(info *asynq.TaskInfo, err error) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.errs = append(f.errs, err)
		return
	}
	payload := string(info.Payload)
	if _, again := f.at[payload]; again {
		return
	}
	f.at[payload] = now
	if len(f.at) == f.many {
		close(f.all)
	}
}

// wait waits until all are there and returns how late each was.
func (f *firsts) wait(ctx context.Context, due func(payload string) time.Time) ([]float64, error) {
	select {
	case <-f.all:
	case <-time.After(tooLong):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.at) < f.many {
		return nil, fmt.Errorf("%d of %d tasks were enqueued; errors: %v", len(f.at), f.many, f.errs)
	}
	var late []float64
	for payload, at := range f.at {
		late = append(late, milliseconds(at.Sub(due(payload))))
	}
	return late, nil
}

func (f *firsts) options() *asynq.SchedulerOpts {
	return &asynq.SchedulerOpts{PostEnqueueFunc: f.enqueued, LogLevel: asynq.FatalLevel}
}

// asynqDue has n entries of asynq's scheduler due at one instant.
func (b *bench) asynqDue(ctx context.Context, n int) (figures, error) {
	redis, err := b.asynqRedis(ctx)
	if err != nil {
		return nil, err
	}
	f := newFirsts(n)
	scheduler := asynq.NewScheduler(redis, f.options())
	wait := b.lead(3*time.Second, n, 50*time.Microsecond).Round(time.Second)
	for i := range n {
		if _, err := scheduler.Register("@every "+wait.String(), asynq.NewTask("noop", []byte(strconv.Itoa(i)))); err != nil {
			return nil, err
		}
	}
	// All are planned when it starts, for a whole second: not at the end of one.
	if err := sleep(ctx, time.Until(time.Now().Truncate(time.Second).Add(1100*time.Millisecond))); err != nil {
		return nil, err
	}
	due := time.Now().Truncate(time.Second).Add(wait)
	if err := scheduler.Start(); err != nil {
		return nil, err
	}
	defer scheduler.Shutdown()
	late, err := f.wait(ctx, func(string) time.Time { return due })
	if err != nil {
		return nil, err
	}
	return withRate(summarize(late), n)
}

// withRate adds how many a second were enqueued until the last one was.
func withRate(f figures, n int) (figures, error) {
	if f["p50"] < 0 {
		return nil, fmt.Errorf("runs came %.0f ms early", -f["p50"])
	}
	f["rate"] = float64(n) / f["max"] * 1000
	return f, nil
}

// provider is what asynq's manager reads at every sync.
type provider struct {
	mu      sync.Mutex
	configs []*asynq.PeriodicTaskConfig
}

func (p *provider) GetConfigs() ([]*asynq.PeriodicTaskConfig, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*asynq.PeriodicTaskConfig(nil), p.configs...), nil
}

// asynqChanged adds to what asynq's manager reads every second, by default every
// three minutes.
func (b *bench) asynqChanged(ctx context.Context, n int) (figures, error) {
	redis, err := b.asynqRedis(ctx)
	if err != nil {
		return nil, err
	}
	f, p := newFirsts(n), &provider{}
	manager, err := asynq.NewPeriodicTaskManager(asynq.PeriodicTaskManagerOpts{
		PeriodicTaskConfigProvider: p, RedisConnOpt: redis, SchedulerOpts: f.options(), SyncInterval: time.Second,
	})
	if err != nil {
		return nil, err
	}
	if err := manager.Start(); err != nil {
		return nil, err
	}
	defer manager.Shutdown()
	added := map[string]time.Time{}
	for i := range n {
		if err := sleep(ctx, between()); err != nil {
			return nil, err
		}
		payload := strconv.Itoa(i)
		added[payload] = time.Now()
		p.mu.Lock()
		p.configs = append(p.configs, &asynq.PeriodicTaskConfig{Cronspec: "@every 1s", Task: asynq.NewTask("noop", []byte(payload))})
		p.mu.Unlock()
	}
	late, err := f.wait(ctx, func(payload string) time.Time { return added[payload] })
	if err != nil {
		return nil, err
	}
	return summarize(late), nil
}
