package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivershared/baseservice"
	"github.com/riverqueue/river/rivershared/riverpilot"
	"github.com/riverqueue/river/rivertype"
)

// ClientConfig says how jobs are worked. The zero value works webhooks on the
// public internet, from the default queue.
type ClientConfig struct {
	// Queues are the queues to work and how many jobs of each at once.
	// Empty: 100 of "default". QueueAlerts is always among them, with 10 if it
	// isn't named.
	Queues map[string]int
	// SoftStop is how long a stop waits for running jobs. Those that are left
	// are interrupted and become available again, without a lost attempt.
	// Zero: 20 s, which fits the 30 s that orchestrators usually grant.
	SoftStop time.Duration
	// PollOnly does without LISTEN, as poolers that share sessions require.
	// A job then waits up to 250 ms for a worker.
	PollOnly bool
	// NeverLead leaves River's maintenance (retries that fall due, stuck jobs,
	// removal of old ones) to other River clients of the database. One of them
	// must be there.
	NeverLead bool
	// UserAgent is what webhooks and the listed-company fetch call themselves.
	// Empty: "riverbeat".
	UserAgent string
	// WebhookAllow are networks that webhooks may reach besides the public
	// internet, on every port. This machine, and the hosts of Backends, must be
	// named by their own addresses.
	WebhookAllow []netip.Prefix
	// WebhookPorts are the ports of the public internet that webhooks may reach; a 0
	// among them means every one. Empty: 80 and 443.
	WebhookPorts []uint16
	// WebhooksPerHost is how many webhooks may be under way to one host at once.
	// Zero: 8.
	WebhooksPerHost int
	// Backends are the servers that riverbeat works with, as host:port, which no
	// webhook may reach.
	Backends []string
	// Secrets reads the secrets that webhooks name. Nil: there are none.
	Secrets SecretReader
	// ListedInfo is where listed_info jobs find their data. Zero: nowhere, and
	// such jobs are cancelled.
	ListedInfo ListedInfoConfig
	// resolver is the tests' own; nil: the machine's.
	resolver *net.Resolver
	// OnWorked is called with the end of each try of a job (completed, failed, cancelled
	// or snoozed) and how long it took. Nil: nobody is told.
	OnWorked func(kind, result string, took time.Duration)
	// Logger is River's logger. Nil: River's own, warnings to standard output.
	Logger *slog.Logger
}

// FetchCooldown is how long River's client rests between fetches. One fetch takes at
// most one job a free worker, so a burst starts at the rate workers/cooldown:
// River's 100 ms would make 1,000 jobs wait a second.
const (
	FetchCooldown = 10 * time.Millisecond
	fetchPoll     = time.Second
)

// jobTimeout is the longest that a job may run whose kind has no limit of its
// own. Both built-in kinds have one.
const jobTimeout = time.Minute

// NewClient is a River client that works the kinds webhook and listed_info. It
// does nothing until it is started; whoever starts it stops it.
func NewClient(pool *pgxpool.Pool, c ClientConfig) (*river.Client[pgx.Tx], error) {
	if len(c.Queues) == 0 {
		c.Queues = map[string]int{river.QueueDefault: 100}
	}
	if c.SoftStop == 0 {
		c.SoftStop = 20 * time.Second
	}
	if c.UserAgent == "" {
		c.UserAgent = "riverbeat"
	}
	if c.ListedInfo.Pool == nil {
		c.ListedInfo.Pool = pool
	}

	listed, err := newListedInfoWorker(c.ListedInfo, c.UserAgent)
	if err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, newWebhookWorker(webhookConfig{
		allow: c.WebhookAllow, ports: c.WebhookPorts, perHost: c.WebhooksPerHost, backends: c.Backends,
		secrets: c.Secrets, userAgent: c.UserAgent, resolver: c.resolver,
	}))
	river.AddWorker(workers, listed)

	poll := fetchPoll
	if c.PollOnly {
		poll = 250 * time.Millisecond
	}
	queues := make(map[string]river.QueueConfig, len(c.Queues))
	for name, atOnce := range c.Queues {
		queues[name] = river.QueueConfig{MaxWorkers: atOnce}
	}
	if _, named := queues[QueueAlerts]; !named { // nobody else works it
		queues[QueueAlerts] = river.QueueConfig{MaxWorkers: alertWorkers, FetchPollInterval: max(poll, alertPoll)}
	}

	client, err := river.NewClient(newDriver(pool, c.Logger), &river.Config{
		Queues:  queues,
		Workers: workers,
		// Other kinds are other programs' work. Without this their jobs would be
		// fetched here and fail.
		FetchOnlyKnownKinds: true,
		// The service enqueues through an Inserter, but River's pages and whoever
		// else holds this client may insert any kind.
		SkipUnknownJobCheck: true,
		FetchCooldown:       FetchCooldown,
		FetchPollInterval:   poll,
		PollOnly:            c.PollOnly,
		JobTimeout:          jobTimeout,
		// A job whose process died is tried again after this, or after its kind's
		// own limit if that is longer. River's hour is a long time to be late.
		RescueStuckJobsAfter:   jobTimeout + time.Minute,
		SoftStopTimeout:        c.SoftStop,
		LeaderElectionDisabled: c.NeverLead,
		Middleware:             []rivertype.Middleware{watchWork(c.OnWorked)},
		Logger:                 c.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the River client that works jobs: %w", err)
	}
	return client, nil
}

// driver is River's driver for pgx with one change: the client only rescues
// stuck jobs of the kinds it knows.
//
// Whichever River client leads looks for running jobs that have run too long, in
// all queues, and *discards* those whose kind it doesn't know: it can't tell how
// long they may take or when to try them again. In a database shared with other
// programs that would destroy their work, and a longer RescueStuckJobsAfter
// would only delay it, for our own jobs as well. Never leading isn't the answer
// either, since where riverbeat is alone nobody would promote retries. So other
// programs' stuck jobs are left as they are, with a warning: to be
// rescued they need their own program's client to lead.
//
// PluginInit and PluginPilot are the seam that River has for changing this. It
// isn't covered by River's promise of stability; a test holds it in place.
type driver struct {
	*riverpgxv5.Driver
	pilot *pilot
}

func newDriver(pool *pgxpool.Pool, logger *slog.Logger) *driver {
	if logger == nil {
		logger = slog.Default()
	}
	return &driver{
		Driver: riverpgxv5.New(pool),
		pilot:  &pilot{known: []string{KindWebhook, KindListedInfo}, logger: logger},
	}
}

func (d *driver) PluginInit(*baseservice.Archetype) {}
func (d *driver) PluginPilot() riverpilot.Pilot     { return d.pilot }

type pilot struct {
	riverpilot.StandardPilot
	known  []string
	logger *slog.Logger
	warned sync.Map // kinds
}

var _ riverpilot.PilotJobRescuer = (*pilot)(nil)

// JobGetStuck reads on past foreign jobs until it has as many of its own as were
// asked for: the rescuer takes a shorter answer for the last one.
func (p *pilot) JobGetStuck(ctx context.Context, exec riverdriver.Executor, params *riverdriver.JobGetStuckParams) ([]*rivertype.JobRow, error) {
	var own []*rivertype.JobRow
	page := *params
	for {
		stuck, err := exec.JobGetStuck(ctx, &page)
		if err != nil {
			return nil, err
		}
		for _, job := range stuck {
			if slices.Contains(p.known, job.Kind) {
				own = append(own, job)
			} else if _, again := p.warned.LoadOrStore(job.Kind, true); !again {
				p.logger.WarnContext(ctx, "a job of a kind that isn't ours seems stuck; jobs of this kind are left alone",
					slog.String("job_kind", job.Kind), slog.Int64("job_id", job.ID))
			}
			if len(own) == params.Max {
				return own, nil
			}
		}
		if len(stuck) < page.Max {
			return own, nil
		}
		page.AfterID = stuck[len(stuck)-1].ID
	}
}
