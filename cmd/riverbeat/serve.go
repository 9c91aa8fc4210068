package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"github.com/riverqueue/river"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"golang.org/x/sync/errgroup"
	"riverqueue.com/riverui"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/api"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/app/wake"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/jobs"
)

// How long a stop may take, in parts that run side by side: together they fit
// the 30 s that orchestrators usually grant.
const (
	httpStop = 10 * time.Second
	jobsStop = 20 * time.Second
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve the API, schedule and work jobs, as the roles say",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.config.DatabaseURL == "" {
				return errNoDatabase
			}
			return p.serve(cmd.Context(), nil)
		},
	}
}

// closeLimit ends the wait for connections to say good-bye. One whose other end is
// gone without a word would take 15 s over it.
const closeLimit = 2 * time.Second

func closePool(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeLimit):
	}
}

// server is one running process.
type server struct {
	*program
	pool          *pgxpool.Pool
	schedulerPool *pgxpool.Pool
	workerPool    *pgxpool.Pool // nil without the role
	store         *db.Store
	redis         *redis.Client // nil without Redis
	registry      *prometheus.Registry
	scheduler     *scheduler.Scheduler // nil without the role
	housekeeper   *scheduler.Housekeeper
	lookout       *scheduler.Lookout
	listener      *wake.Listener
	publisher     *wake.Publisher  // nil without Redis
	sub           *wake.Subscriber // nil without Redis
	door          *app.Door
	service       *app.Service   // nil without the role api
	tail          *app.Tail      // the same
	redisIsHeard  atomic.Bool    // by every live scheduler
	anew          sync.WaitGroup // announcements that are made anew
	inserter      *jobs.Inserter
	pages         *riverui.Handler // nil without the role api
	secrets       *app.Secrets
	traced        bool // spans are sent
	worked        func(kind, result string, took time.Duration)
}

// serve runs until the context ends. wrap, if set, dresses the handler of the HTTP
// server.
func (p *program) serve(ctx context.Context, wrap func(http.Handler) http.Handler) (err error) {
	s := &server{program: p, registry: prometheus.NewRegistry()}
	traced, flush, err := p.tracing(ctx)
	if err != nil {
		return err
	}
	defer flush()
	s.traced = traced
	if s.pool, err = db.OpenPool(ctx, p.config.DatabaseURL, "riverbeat", 20); err != nil {
		return &configError{fmt.Errorf("DATABASE_URL: %w", err)}
	}
	defer closePool(s.pool)
	// A few connections that no request can take from it.
	if s.schedulerPool, err = db.OpenPool(ctx, p.config.DatabaseURL, "riverbeat-scheduler", 6); err != nil {
		return &configError{fmt.Errorf("DATABASE_URL: %w", err)}
	}
	defer closePool(s.schedulerPool)
	defer s.anew.Wait() // a stop, too, may find Redis lost
	// The same for River, whose client LISTENs besides.
	if p.config.has(roleWorker) {
		if s.workerPool, err = db.OpenPool(ctx, p.config.listenURL(), "riverbeat-worker", 10); err != nil {
			return &configError{fmt.Errorf("%s: %w", p.config.listenVariable(), err)}
		}
		defer closePool(s.workerPool)
	}
	s.store = db.NewStore(s.pool)
	s.secrets = app.NewSecrets(s.store, p.config.EncryptionKeys)
	if p.config.RedisURL != "" && p.config.RedisSyncEnabled {
		if s.redis, err = wake.NewRedisClient(p.config.RedisURL); err != nil {
			return &configError{fmt.Errorf("REDIS_URL: %w", err)}
		}
		defer func() { err = errors.Join(err, s.redis.Close()) }()
	}
	open := p.config.Auth == authLoopbackOpen && p.config.isLocal()
	s.door = app.NewDoor(s.store, open, p.log)
	if _, err := s.checkTokens(ctx); err != nil {
		return err
	}
	if err := s.build(); err != nil {
		return err
	}
	handler, err := s.handler(ctx)
	if err != nil {
		return err
	}
	if wrap != nil {
		handler = wrap(handler)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.config.Addr)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	if addr, ok := listener.Addr().(*net.TCPAddr); open && (!ok || !addr.IP.IsLoopback()) { // localhost may be anything
		return errors.Join(&configError{fmt.Errorf("%s: is %s, which isn't a loopback address", variable("addr"), listener.Addr())}, listener.Close())
	}
	admin, err := p.listenAdmin(ctx)
	if err != nil {
		_ = listener.Close()
		return err
	}
	p.log.Info("riverbeat starts", "version", version(), "addr", listener.Addr().String(), "roles", p.config.Roles, "redis", s.redis != nil)
	logZones(p.log, p.zones, time.Now())

	context.AfterFunc(ctx, func() {
		p.log.Info("riverbeat stops: no more requests and claims; running jobs get their time; a second signal ends it at once", "jobs_get", jobsStop)
	})
	group, ctx := errgroup.WithContext(ctx)
	// The publisher outlives the HTTP server, whose last requests it announces.
	published, lastRequest := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		defer lastRequest()
		return serveHTTP(ctx, listener, handler, p.log)
	})
	group.Go(func() error { return s.publisherRun(published) })
	if admin != nil {
		group.Go(func() error { return p.serveAdmin(ctx, admin, adminHandler(s.metrics())) })
	}
	group.Go(func() error {
		// Everything else needs the schema.
		if !s.waitForSchema(ctx) {
			return nil
		}
		some, err := s.checkTokens(ctx)
		if err != nil {
			return err
		}
		if !some && !open {
			p.log.Warn("there is no API token, so nobody is let in: make one with `riverbeat token create`")
		}
		p.log.Info("riverbeat is ready", "open_to_this_machine", open && !some)
		return s.runRoles(ctx)
	})
	err = group.Wait()
	p.log.Info("riverbeat has stopped")
	return err
}

// checkTokens refuses to be reached by others while nobody could be let in. Where the
// database can't say, it is asked again when it can; until then nobody is let in.
func (s *server) checkTokens(ctx context.Context) (some bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	some, err = s.store.HaveTokens(ctx)
	switch {
	case err != nil:
		s.log.Debug("can't ask whether there is an API token", "err", err)
		return false, nil
	case some:
		return true, nil
	case s.config.isLocal():
		return false, nil
	}
	return false, &configError{fmt.Errorf("%s: is %s, where others than this machine reach it, and there is no API token by which to let anybody in: "+
		"make one with `riverbeat token create --name me --scopes read,write,admin`, or listen on 127.0.0.1", variable("addr"), s.config.Addr)}
}

// build makes the parts; none of them does anything yet.
func (s *server) build() (err error) {
	s.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	messages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "riverbeat_wake_messages_total", Help: "Messages about changes, by path (notify, redis) and kind.",
	}, []string{"path", "kind"})
	s.registry.MustRegister(messages)
	registerZones(s.registry, s.zones)
	registerBuild(s.registry)
	registerPool(s.registry, "api", s.pool)
	count := func(path string) func(wake.Kind) {
		return func(kind wake.Kind) { messages.WithLabelValues(path, string(kind)).Inc() }
	}
	if s.inserter, err = jobs.NewInserter(s.pool); err != nil {
		return err
	}
	if s.redis != nil {
		s.publisher = wake.NewPublisher(s.redis, s.config.RedisChannel, s.log)
		s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "riverbeat_announcements_dropped_total", Help: "Changes that were not announced on Redis, because it was away for too long.",
		}, func() float64 { return float64(s.publisher.Dropped()) }))
	}
	if s.config.has(roleScheduler) {
		inserter, err := jobs.NewInserter(s.schedulerPool)
		if err != nil {
			return err
		}
		metrics := scheduler.NewMetrics(s.registry)
		registerPool(s.registry, "scheduler", s.schedulerPool)
		s.registry.MustRegister(newBacklog(s.store))
		s.scheduler = scheduler.New(db.NewStore(s.schedulerPool), s.trace(inserter), scheduler.Config{
			PollInterval: s.config.PollInterval, MinSyncInterval: s.config.MinSyncInterval,
			Rules: s.config.rules(), Zones: s.zones.Version(),
			Self: self(), Paths: s.paths, Metrics: metrics, Log: s.log,
		})
		// Not on the scheduler's own few connections.
		s.housekeeper = &scheduler.Housekeeper{
			Store: s.store, Metrics: metrics, Log: s.log,
			RunRetention: s.config.RunRetention, CompletedRetention: s.config.CompletedRetention,
			RevisionRetention: s.config.RevisionRetention, KeyRetention: s.config.KeyRetention,
		}
		s.lookout = &scheduler.Lookout{Store: s.store, Notifier: s.inserter, Log: s.log}
		config, err := db.ParseURL(s.config.listenURL())
		if err != nil {
			return &configError{fmt.Errorf("%s: %w", variable("listen-database-url"), err)}
		}
		s.listener = &wake.Listener{
			Config: config.ConnConfig, Send: db.NewStore(s.schedulerPool).Notify, Heartbeat: s.config.HeartbeatInterval,
			OnChange: s.hears(schedule.PathNotify), OnMessage: count("notify"), Log: s.log,
			Hint: fmt.Sprintf("set %s to this database without a pooler that shares sessions", variable("listen-database-url")),
		}
		s.measure("notify", s.listener.Status)
	}
	if s.workerPool != nil {
		registerPool(s.registry, "worker", s.workerPool)
		s.worked = registerWork(s.registry)
	}
	if s.redis != nil && (s.scheduler != nil || s.config.APINotify == notifyFallback) {
		s.sub = &wake.Subscriber{
			Client: s.redis, Channel: s.config.RedisChannel, Heartbeat: s.config.HeartbeatInterval, OnMessage: count("redis"), Log: s.log,
		}
		if s.scheduler != nil { // else only Redis itself is proven by it
			s.sub.OnChange = s.hears(schedule.PathRedis)
		}
		s.measure("redis", s.sub.Status)
	}
	return nil
}

// paths is how messages reach the scheduler of this process.
func (s *server) paths() []schedule.PathState {
	states := []schedule.PathState{pathState(schedule.PathNotify, s.listener.Status())}
	if s.sub != nil {
		states = append(states, pathState(schedule.PathRedis, s.sub.Status()))
	}
	return states
}

func pathState(path schedule.Path, status wake.Status) schedule.PathState {
	return schedule.PathState{Path: path, State: string(status.State), For: time.Since(status.Since), HeartbeatAge: status.Heartbeat}
}

// measure has the metrics say how a path of messages is.
func (s *server) measure(path string, status func() wake.Status) {
	labels := prometheus.Labels{"path": path}
	gauge := func(name, help string, value func(wake.Status) float64) {
		s.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return value(status()) }))
	}
	gauge("riverbeat_wake_up", "1 while heartbeats prove that messages about changes arrive by the path.", func(s wake.Status) float64 {
		if s.State == wake.StateUp {
			return 1
		}
		return 0
	})
	gauge("riverbeat_wake_heartbeat_age_seconds", "Since the last heartbeat that came back by the path; infinite before the first.", func(s wake.Status) float64 {
		if s.Heartbeat == 0 && s.State != wake.StateUp {
			return math.Inf(1)
		}
		return s.Heartbeat.Seconds()
	})
	gauge("riverbeat_wake_heartbeat_seconds", "How long the last heartbeat by the path was under way.", func(s wake.Status) float64 {
		return s.RoundTrip.Seconds()
	})
	s.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "riverbeat_wake_losses_total", Help: "How often the path has ceased to be proven.", ConstLabels: labels,
	}, func() float64 { return float64(status().Losses) }))
}

func (s *server) metrics() http.Handler {
	return promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{})
}

// trace has a span made of each dispatch, when spans are sent.
func (s *server) trace(inserter scheduler.Inserter) scheduler.Inserter {
	if !s.traced {
		return inserter
	}
	return &tracedInserter{inserter, otel.Tracer("github.com/riverbeat/riverbeat/app/scheduler")}
}

func (s *server) handler(ctx context.Context) (_ http.Handler, err error) {
	config := api.Config{
		Version: version(), Ready: s.ready, Log: s.log, LocalOnly: s.config.isLocal(),
		Registry: s.registry,
		Door:     s.door, TokenRate: s.config.RateLimitToken, AddressRate: s.config.RateLimitAddress, TrustedProxies: s.config.TrustedProxies,
	}
	if s.config.AdminAddr == "" {
		config.Metrics = s.metrics()
	}
	if s.config.has(roleAPI) {
		s.service = app.NewService(s.store, s.inserter, app.Config{Zones: s.zones.Version(), Rules: s.config.rules(), Announce: s.announce, Alone: s.redisIsEnough, Keys: s.config.EncryptionKeys})
		config.Service = s.service
		s.tail = app.NewTail(s.store, s.config.MaxStreams, s.log)
		config.Events = s.tail
		s.pages, err = riverui.NewHandler(&riverui.HandlerOpts{
			Endpoints: riverui.NewEndpoints(s.inserter.Client(), nil), Logger: slog.New(newQuiet(s.log.Handler())), Prefix: "/riverui",
			JobListHideArgsByDefault: true, // they may hold what isn't for everybody who looks over a shoulder
		})
		if err != nil {
			return nil, fmt.Errorf("set up River UI: %w", err)
		}
		config.RiverUI = s.pages
		if s.publisher != nil && s.config.APINotify == notifyFallback {
			unstopped := context.WithoutCancel(ctx)
			s.publisher.OnLost = func(waiting []schedule.Change) {
				s.anew.Go(func() { s.service.AnnounceAnew(unstopped, waiting) })
			}
		}
	}
	return api.New(config), nil
}

// announce tells of a change that is committed: this process's own scheduler
// directly, the others through Redis. PostgreSQL's triggers do it besides.
func (s *server) announce(c schedule.Change) {
	if s.scheduler != nil {
		s.scheduler.Notify(c, schedule.PathLocal)
	}
	s.publisher.Announce(c)
	if s.tail != nil {
		s.tail.Hint()
	}
}

// redisIsEnough reports whether Redis alone may carry a change: by all that is
// known, it takes what is announced, and every live scheduler hears it.
func (s *server) redisIsEnough() bool {
	return s.config.APINotify == notifyFallback && s.redisIsHeard.Load() && s.publisher.Healthy() && s.sub.Status().State == wake.StateUp
}

// watchPaths follows how the paths are: those of the live schedulers for
// redisIsEnough, and its own for others who do so.
func (s *server) watchPaths(ctx context.Context) {
	tick := time.NewTicker(min(s.config.HeartbeatInterval, wake.DefaultHeartbeat))
	defer tick.Stop()
	var last wake.State
	enough := false
	for {
		if s.service != nil && s.config.APINotify == notifyFallback {
			schedulers, err := s.store.Schedulers(ctx)
			s.redisIsHeard.Store(err == nil && slices.ContainsFunc(schedulers, isAlive) && !slices.ContainsFunc(schedulers, isDeaf))
			was := enough
			if enough = s.redisIsEnough(); was && !enough {
				// A scheduler was deaf for some heartbeats before anybody could know.
				s.service.AnnounceAnew(ctx, []schedule.Change{{}})
			}
		}
		if state := s.sub.Status().State; s.scheduler != nil && state != last {
			last = state
			s.scheduler.Notify(schedule.Change{Op: schedule.OpAsked}, schedule.PathLocal) // it reports at once
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// isAlive reports whether the scheduler is there. Where none is, one may be that
// hasn't been able to say so.
func isAlive(s db.Scheduler) bool { return s.Alive }

// isDeaf reports whether a live scheduler may miss what Redis carries.
func isDeaf(s db.Scheduler) bool {
	return s.Alive && !slices.ContainsFunc(s.Paths, func(p schedule.PathState) bool {
		return p.Path == schedule.PathRedis && p.State == string(wake.StateUp)
	})
}

// hears is what takes the changes that come by the path.
func (s *server) hears(path schedule.Path) func(schedule.Change) {
	return func(c schedule.Change) {
		s.scheduler.Notify(c, path)
		if s.tail != nil {
			s.tail.Hint()
		}
	}
}

// self is this process, as the list of schedulers shows it.
func self() db.Scheduler {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return db.Scheduler{Host: host, PID: os.Getpid(), Version: version()}
}

// waitForSchema waits until the database is there and migrated, saying once
// what it waits for. It reports false when the context ended first.
func (s *server) waitForSchema(ctx context.Context) bool {
	var told string
	for {
		err := s.checkSchema(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		reason := "PostgreSQL can't be reached"
		if errors.Is(err, db.ErrNotMigrated) {
			reason = "the database is not migrated: run `riverbeat migrate up`"
		}
		if reason != told {
			s.log.Warn("waiting for the database", "reason", reason, "err", err)
			told = reason
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (s *server) checkSchema(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return s.migrateWith(ctx, s.pool, func(ctx context.Context, m *db.Migrator) error { return m.Check(ctx) })
}

// runRoles runs what the roles ask for until the context ends.
func (s *server) runRoles(ctx context.Context) error {
	if s.pages != nil {
		if err := s.pages.Start(ctx); err != nil {
			return fmt.Errorf("start River UI: %w", err)
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { s.door.Run(ctx); return nil })
	group.Go(func() error { return s.reencrypt(ctx) })
	if s.scheduler != nil {
		group.Go(func() error { return s.scheduler.Run(ctx) })
		group.Go(func() error { return s.housekeeper.Run(ctx) })
		group.Go(func() error { return s.lookout.Run(ctx) })
		group.Go(func() error { return s.listener.Run(ctx) })
	}
	if s.sub != nil {
		group.Go(func() error { return s.sub.Run(ctx) })
		group.Go(func() error { s.watchPaths(ctx); return nil })
	}
	if s.config.has(roleWorker) {
		group.Go(func() error { return s.work(ctx) })
	}
	if s.tail != nil {
		group.Go(func() error { s.tail.Run(ctx); return nil })
	}
	return group.Wait()
}

// work runs River's client. Its context isn't ours: a stop lets jobs finish.
func (s *server) work(ctx context.Context) error {
	var workers *river.Client[pgx.Tx]
	for {
		pollOnly, err := s.mustPoll(ctx)
		if err == nil {
			if workers, err = s.newWorkers(pollOnly); err != nil {
				return err
			}
			err = workers.Start(context.WithoutCancel(ctx))
		}
		if err == nil {
			if pollOnly {
				s.log.Warn("the workers poll for jobs, because DATABASE_URL leads through a pooler: set " +
					variable("listen-database-url") + " to a way around it, for them to be told")
			}
			break
		}
		s.log.Warn("can't start the workers: trying again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), jobsStop+5*time.Second)
	defer cancel()
	if err := workers.Stop(stop); err != nil {
		return fmt.Errorf("stop the workers: %w", err)
	}
	return nil
}

// mustPoll reports whether a pooler is in the way of the LISTEN of River's client.
func (s *server) mustPoll(ctx context.Context) (bool, error) {
	if s.config.ListenDatabaseURL != "" {
		return false, nil // whoever sets it knows that it keeps sessions
	}
	return db.Pooled(ctx, s.workerPool)
}

func (s *server) newWorkers(pollOnly bool) (*river.Client[pgx.Tx], error) {
	return jobs.NewClient(s.workerPool, jobs.ClientConfig{
		Queues: s.config.Queues, SoftStop: jobsStop, UserAgent: "riverbeat/" + version(),
		WebhookAllow: s.config.WebhookAllow, WebhookPorts: s.config.WebhookPorts, WebhooksPerHost: s.config.WebhookPerHost,
		Backends: s.backends(), Secrets: s.secrets.Values,
		ListedInfo: jobs.ListedInfoConfig{BaseURL: s.config.JQuantsURL, Token: s.config.JQuantsToken, Pool: s.pool},
		Logger:     slog.New(newQuiet(s.log.Handler())), PollOnly: pollOnly, OnWorked: s.worked,
	})
}

func (s *server) publisherRun(ctx context.Context) error {
	if s.publisher == nil {
		return nil
	}
	return s.publisher.Run(ctx)
}

// serveHTTP serves until the context ends, then lets requests finish.
func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpStop)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		log.Warn("requests were cut off by the stop", "err", err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}
