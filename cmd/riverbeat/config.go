package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/app/wake"
)

// Config is every setting. Nothing else reads the environment.
type Config struct {
	DatabaseURL       string
	ListenDatabaseURL string
	RedisURL          string
	RedisSyncEnabled  bool
	RedisChannel      string
	APINotify         string

	Addr       string
	AdminAddr  string
	Roles      []string
	MaxStreams int

	Auth             string
	RateLimitToken   int
	RateLimitAddress int
	TrustedProxies   []netip.Prefix

	PollInterval      time.Duration
	MinSyncInterval   time.Duration
	HeartbeatInterval time.Duration
	MisfireAfter      time.Duration
	CatchUpRate       int

	RunRetention       time.Duration
	CompletedRetention time.Duration
	RevisionRetention  time.Duration
	KeyRetention       time.Duration

	Queues         map[string]int
	WebhookAllow   []netip.Prefix
	WebhookPorts   []uint16
	WebhookPerHost int
	EncryptionKeys *app.Keyring // nil: none
	JQuantsURL     string
	JQuantsToken   string

	URL   string // of the riverbeat that commands ask
	Token string // that they send; never a flag, which others would see

	Zoneinfo  string
	DataDir   string
	LogLevel  slog.Level
	LogFormat string
}

// The roles.
const (
	roleAPI       = "api"
	roleScheduler = "scheduler"
	roleWorker    = "worker"
)

// What api-notify may be.
const (
	notifyAlways   = "always"
	notifyFallback = "fallback"
)

// What auth may be.
const (
	authLoopbackOpen = "loopback-open"
	authRequired     = "required"
)

// flags declares every setting with its default and its reason. The variable of
// a flag is its name in capitals behind RIVERBEAT_, but for the three that other
// programs know too.
func (c *Config) flags(f *pflag.FlagSet) {
	f.StringVar(&c.DatabaseURL, "database-url", "", "PostgreSQL 15 or newer, as a URL or key=value pairs")
	f.StringVar(&c.ListenDatabaseURL, "listen-database-url", "", "PostgreSQL reached directly, for LISTEN, River's workers and migrate, when database-url leads through a pooler (default: database-url)")
	f.StringVar(&c.RedisURL, "redis-url", "", "Redis that carries changes, as redis://user:password@host:6379/0 (default: no Redis, NOTIFY alone)")
	f.BoolVar(&c.RedisSyncEnabled, "redis-sync-enabled", true, "announce and hear changes on Redis when redis-url is set")
	f.StringVar(&c.RedisChannel, "redis-channel", wake.DefaultRedisChannel, "Redis channel of the changes")
	f.StringVar(&c.APINotify, "api-notify", notifyAlways, "whether the API's writes send NOTIFY, which makes writers wait for one another: always, or fallback, only while Redis doesn't prove that every scheduler hears it")
	f.StringVar(&c.Addr, "addr", "127.0.0.1:8080", "address of the HTTP server")
	f.StringVar(&c.AdminAddr, "admin-addr", "", "address that serves metrics and profiles (pprof) to whoever reaches it, such as 127.0.0.1:9090; metrics are then served nowhere else (default: no profiles)")
	f.IntVar(&c.MaxStreams, "max-streams", 100, "how many streams of events a caller may have open at once")
	c.Roles = []string{roleAPI, roleScheduler, roleWorker}
	f.Var((*roles)(&c.Roles), "roles", "what this process does: any of the three")
	f.StringVar(&c.Auth, "auth", authLoopbackOpen, "who needs an API token: loopback-open, everybody but this machine while there is none and addr is a loopback address; or required, everybody")
	f.IntVar(&c.RateLimitToken, "rate-limit-token", 500, "how many requests a second are taken with one API token, twice as many at once; 0: however many")
	f.IntVar(&c.RateLimitAddress, "rate-limit-address", 50, "how many requests a second without a valid API token are taken from one address, twice as many at once; a wrong token counts for ten; 0: however many")
	f.Var((*networks)(&c.TrustedProxies), "trusted-proxies", "networks of proxies that are believed when X-Forwarded-For and X-Forwarded-Proto say for whom they ask, separated by commas")
	f.DurationVar(&c.PollInterval, "poll-interval", scheduler.DefaultPollInterval, "how often a scheduler looks at everything, should every message be lost")
	c.MinSyncInterval = scheduler.DefaultMinSyncInterval
	f.Var((*seconds)(&c.MinSyncInterval), "min-sync-interval", "how far apart messages may make a scheduler look at everything; a bare number means seconds")
	f.DurationVar(&c.HeartbeatInterval, "heartbeat-interval", wake.DefaultHeartbeat, "how often NOTIFY and Redis are proven to arrive; after three intervals of silence the connection is replaced")
	f.DurationVar(&c.MisfireAfter, "misfire-after", schedule.DefaultMisfireAfter, "how late a run may be and still count as punctual; later ones fall under the misfire policy")
	f.IntVar(&c.CatchUpRate, "catch-up-rate", schedule.DefaultCatchUpRate, "how many runs a second make up for missed ones, over all schedulers")
	f.DurationVar(&c.RunRetention, "run-retention", 30*24*time.Hour, "how long the ledger keeps a run after it was recorded; the last ones of a schedule that still exists stay; 0s keeps all")
	f.DurationVar(&c.CompletedRetention, "completed-retention", 0, "how long a schedule of a single instant (at) stays after it ran and its job finished; 0s keeps it until somebody deletes it")
	f.DurationVar(&c.RevisionRetention, "revision-retention", 90*24*time.Hour, "how long it is kept who changed a schedule, and what; 0s keeps all")
	f.DurationVar(&c.KeyRetention, "idempotency-retention", 24*time.Hour, "how long the answer to a request with an Idempotency-Key is kept; 0s keeps all")
	c.Queues = map[string]int{"default": 100}
	f.Var((*queues)(&c.Queues), "queues", "River queues that the worker role works, and how many jobs of each at once")
	f.Var((*networks)(&c.WebhookAllow), "webhook-allow", "networks that webhooks may reach besides the public internet, such as 10.1.0.0/16, separated by commas; riverbeat's own machine, and those of PostgreSQL and Redis, only by their own addresses")
	c.WebhookPorts = []uint16{80, 443}
	f.Var((*ports)(&c.WebhookPorts), "webhook-ports", "ports of the public internet that webhooks may reach, or any")
	f.IntVar(&c.WebhookPerHost, "webhook-per-host", 8, "how many webhooks a worker process may have under way to one host at once")
	f.Var(&keyring{&c.EncryptionKeys}, "encryption-keys", "id:key pairs, separated by commas, whose keys are 32 bytes in base64: the first encrypts the secrets of webhooks, all decrypt them (default: no secrets)")
	f.StringVar(&c.JQuantsURL, "jquants-url", "", "base URL of the J-Quants-style API that listed_info jobs fetch from")
	f.StringVar(&c.JQuantsToken, "jquants-token", "", "bearer token for jquants-url")
	f.StringVar(&c.URL, "url", "http://127.0.0.1:8080", "where the commands that go over HTTP, such as schedule, find riverbeat")
	f.StringVar(&c.Zoneinfo, "zoneinfo", "", "folder or zip file of time zone data, used when they are newer than the system's and the built-in ones")
	f.StringVar(&c.DataDir, "data-dir", "", "where 'riverbeat dev' keeps its PostgreSQL (default: /var/lib/riverbeat as root, else ~/.local/share/riverbeat)")
	f.Var((*logLevel)(&c.LogLevel), "log-level", "debug, info, warn or error")
	f.StringVar(&c.LogFormat, "log-format", "json", "json or text")
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	name := strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
	if name == "DATABASE_URL" || name == "REDIS_URL" || name == "ZONEINFO" {
		return name
	}
	return "RIVERBEAT_" + name
}

// configError is a setting that can't be used.
type configError struct{ error }

// fromEnvironment sets the flags that the command line doesn't. A RIVERBEAT_
// variable that nobody knows is an error: it is a setting with a typing error.
func (c *Config) fromEnvironment(f *pflag.FlagSet, environ []string) error {
	values := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		values[name] = value
	}
	c.Token = values[variable("token")]
	delete(values, variable("token"))
	var wrong []error
	f.VisitAll(func(flag *pflag.Flag) {
		name := variable(flag.Name)
		value, ok := values[name]
		delete(values, name)
		if !ok || value == "" || flag.Changed {
			return
		}
		if err := f.Set(flag.Name, value); err != nil {
			// pflag's own message repeats the value, which may be a secret.
			wrong = append(wrong, fmt.Errorf("%s: must be %s", name, expected(flag)))
		}
	})
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if strings.HasPrefix(name, "RIVERBEAT_") {
			wrong = append(wrong, fmt.Errorf("%s: there is no such setting", name))
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return &configError{err}
	}
	return nil
}

// expected says what a flag's value looks like.
func expected(flag *pflag.Flag) string {
	switch flag.Value.Type() {
	case "bool":
		return "true or false"
	case "duration":
		return `a duration such as "90s" or "15m"`
	case "int":
		return "a whole number"
	default:
		return flag.Value.Type()
	}
}

// check looks at the settings together.
func (c *Config) check() error {
	var wrong []error
	add := func(flag, reason string) {
		wrong = append(wrong, fmt.Errorf("%s: %s", variable(flag), reason))
	}
	if _, port, err := net.SplitHostPort(c.Addr); err != nil || !isPort(port) {
		add("addr", `must be host:port, such as "127.0.0.1:8080"`)
	}
	if c.Auth != authLoopbackOpen && c.Auth != authRequired {
		add("auth", "must be loopback-open or required")
	}
	if c.RateLimitToken < 0 || c.RateLimitToken > maxRateLimit {
		add("rate-limit-token", fmt.Sprintf("must be from 0 to %d", maxRateLimit))
	}
	if c.RateLimitAddress < 0 || c.RateLimitAddress > maxRateLimit {
		add("rate-limit-address", fmt.Sprintf("must be from 0 to %d", maxRateLimit))
	}
	if _, port, err := net.SplitHostPort(c.AdminAddr); c.AdminAddr != "" && (err != nil || !isPort(port)) {
		add("admin-addr", `must be host:port, such as "127.0.0.1:9090"`)
	}
	if c.MaxStreams < 1 || c.MaxStreams > 100_000 {
		add("max-streams", "must be from 1 to 100000")
	}
	if c.PollInterval < 100*time.Millisecond {
		add("poll-interval", "must be at least 100ms")
	}
	if c.MinSyncInterval <= 0 {
		add("min-sync-interval", "must be longer than 0s")
	}
	if c.MinSyncInterval > c.PollInterval {
		add("min-sync-interval", fmt.Sprintf("is %v, longer than %s (%v): messages would then only slow things down", c.MinSyncInterval, variable("poll-interval"), c.PollInterval))
	}
	if c.HeartbeatInterval < 100*time.Millisecond || c.HeartbeatInterval > time.Minute {
		add("heartbeat-interval", "must be from 100ms to 1m")
	}
	switch {
	case c.APINotify != notifyAlways && c.APINotify != notifyFallback:
		add("api-notify", "must be always or fallback")
	case c.APINotify == notifyFallback && (c.RedisURL == "" || !c.RedisSyncEnabled):
		add("api-notify", fmt.Sprintf("can be fallback only with %s set and %s true", variable("redis-url"), variable("redis-sync-enabled")))
	}
	if c.MisfireAfter < time.Second || c.MisfireAfter > time.Hour {
		add("misfire-after", "must be from 1s to 1h: with less, a run that catches up would always be too late for its slot; and each punctual run is owed, one of every second 3,600 an hour")
	}
	if c.CatchUpRate < 1 || c.CatchUpRate > 100_000 {
		add("catch-up-rate", "must be from 1 to 100000")
	}
	for _, r := range []struct {
		flag string
		time.Duration
	}{{"run-retention", c.RunRetention}, {"completed-retention", c.CompletedRetention}, {"revision-retention", c.RevisionRetention}, {"idempotency-retention", c.KeyRetention}} {
		if r.Duration < 0 || r.Duration > 0 && r.Duration < time.Hour {
			add(r.flag, "must be 0s, which keeps for ever, or at least 1h")
		}
	}
	if c.WebhookPerHost < 1 || c.WebhookPerHost > 10_000 {
		add("webhook-per-host", "must be from 1 to 10000")
	}
	if c.JQuantsURL != "" {
		if u, err := url.Parse(c.JQuantsURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
			add("jquants-url", "must be an http or https URL without a query")
		}
	}
	if c.LogFormat != "json" && c.LogFormat != "text" {
		add("log-format", "must be json or text")
	}
	if err := errors.Join(wrong...); err != nil {
		return &configError{err}
	}
	return nil
}

// maxRateLimit is more than one process serves.
const maxRateLimit = 1_000_000

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// rules are the settings that decide what is owed.
func (c *Config) rules() schedule.Rules {
	return schedule.Rules{MisfireAfter: c.MisfireAfter, CatchUpRate: c.CatchUpRate}
}

// isLocal reports whether only this machine reaches the HTTP server.
func (c *Config) isLocal() bool { return isLoopback(c.Addr) }

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// has reports whether this process plays the role.
func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// roles is a list of roles as a flag.
type roles []string

func (r *roles) Set(text string) error {
	var list []string
	for role := range strings.SplitSeq(text, ",") {
		role = strings.TrimSpace(role)
		if role != roleAPI && role != roleScheduler && role != roleWorker {
			return fmt.Errorf("there is no role %q", role)
		}
		list = append(list, role)
	}
	*r = list
	return nil
}

func (r *roles) String() string { return strings.Join(*r, ",") }
func (r *roles) Type() string   { return "api, scheduler, worker, separated by commas" }

// seconds is a duration as a flag that also takes a bare number of seconds.
type seconds time.Duration

func (s *seconds) Set(text string) error {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n < 1e6 {
		*s = seconds(n * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	*s = seconds(d)
	return err
}

func (s *seconds) String() string { return time.Duration(*s).String() }
func (s *seconds) Type() string   { return "duration" }

// queues is "default=100,reports=5" as a flag.
type queues map[string]int

func (q *queues) Set(text string) error {
	list := map[string]int{}
	for part := range strings.SplitSeq(text, ",") {
		name, count, found := strings.Cut(strings.TrimSpace(part), "=")
		n := 100
		if found {
			var err error
			if n, err = strconv.Atoi(count); err != nil || n < 1 || n > 10_000 {
				return fmt.Errorf("queue %q: must have 1 to 10000 workers", name)
			}
		}
		if !schedule.ValidQueue(name) {
			return fmt.Errorf("queue %q: River takes lower-case letters and digits, in groups joined by _ or -", name)
		}
		list[name] = n
	}
	*q = list
	return nil
}

func (q *queues) String() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(*q)) {
		parts = append(parts, name+"="+strconv.Itoa((*q)[name]))
	}
	return strings.Join(parts, ",")
}

func (q *queues) Type() string { return `queue=workers pairs such as "default=100,reports=5"` }

// networks is a list of networks as a flag.
type networks []netip.Prefix

func (n *networks) Set(text string) error {
	var list []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		prefix, err := netip.ParsePrefix(part)
		if addr, addrErr := netip.ParseAddr(part); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return err
		}
		list = append(list, prefix)
	}
	*n = list
	return nil
}

func (n *networks) String() string {
	var parts []string
	for _, prefix := range *n {
		parts = append(parts, prefix.String())
	}
	return strings.Join(parts, ",")
}

func (n *networks) Type() string { return `networks such as "10.1.0.0/16,192.168.1.7"` }

// ports is a list of ports as a flag; a single 0 is any.
type ports []uint16

func (p *ports) Set(text string) error {
	if strings.TrimSpace(text) == "any" {
		*p = []uint16{0}
		return nil
	}
	var list []uint16
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 16)
		if err != nil || n == 0 {
			return errors.New("a port is from 1 to 65535")
		}
		list = append(list, uint16(n))
	}
	*p = list
	return nil
}

func (p *ports) String() string {
	if slices.Equal(*p, []uint16{0}) {
		return "any"
	}
	var parts []string
	for _, port := range *p {
		parts = append(parts, strconv.Itoa(int(port)))
	}
	return strings.Join(parts, ",")
}

func (p *ports) Type() string { return `ports such as "80,443", or any` }

// logLevel is a slog.Level as a flag.
type logLevel slog.Level

func (l *logLevel) Set(text string) error { return (*slog.Level)(l).UnmarshalText([]byte(text)) }
func (l *logLevel) String() string        { return strings.ToLower(slog.Level(*l).String()) }
func (l *logLevel) Type() string          { return "debug, info, warn or error" }
