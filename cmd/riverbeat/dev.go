package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/localpg"
)

func (p *program) devCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with a PostgreSQL and a Redis of its own",
		Long: "Runs every role with a PostgreSQL of its own, whose data stay in the data folder,\n" +
			"and a Redis in this process. DATABASE_URL and REDIS_URL, when set, are used instead.\n" +
			"Webhooks may reach this machine.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags := cmd.Root().PersistentFlags()
			if !flags.Changed("log-format") {
				p.config.LogFormat = "text"
				p.log = newLogger(p.config, p.stderr)
			}
			if !flags.Changed("webhook-allow") {
				p.config.WebhookAllow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
			}
			return p.dev(cmd.Context())
		},
	}
}

func (p *program) dev(ctx context.Context) (err error) {
	psql := `psql "$DATABASE_URL"`
	dir, err := p.dataDir()
	if err != nil {
		return err
	}
	if p.config.DatabaseURL == "" {
		server, err := localpg.Start(ctx, localpg.Config{DataDir: dir, Durable: true, Log: p.log})
		if err != nil {
			return err
		}
		// The last to stop: whoever uses it has stopped by then.
		defer func() { err = errors.Join(err, server.Stop()) }()
		go p.keepRunning(ctx, server)
		p.config.DatabaseURL = server.URL()
		psql = psqlCommand(server.URL(), dir)
	}
	if p.config.EncryptionKeys == nil {
		if p.config.EncryptionKeys, err = devKey(dir); err != nil {
			return err
		}
	}
	if p.config.RedisURL == "" && p.config.RedisSyncEnabled {
		mini := miniredis.NewMiniRedis()
		if err := mini.Start(); err != nil {
			return fmt.Errorf("start the Redis in this process: %w", err)
		}
		defer mini.Close()
		p.config.RedisURL = "redis://" + mini.Addr()
	}
	if err := p.withMigrator(ctx, func(ctx context.Context, m *db.Migrator) error { return m.Up(ctx) }); err != nil {
		return err
	}
	p.greet(psql)
	return p.serve(ctx, p.withReceiver)
}

// keepRunning starts PostgreSQL again when it ends before we do.
func (p *program) keepRunning(ctx context.Context, server *localpg.Server) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-server.Done():
		}
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("PostgreSQL has ended: starting it again")
		if err := server.Restart(ctx); err != nil {
			p.log.Error("PostgreSQL can't be started again: stop and start riverbeat", "err", err)
			return
		}
	}
}

// dataDir is where the PostgreSQL of `riverbeat dev` lives.
func (p *program) dataDir() (string, error) {
	if p.config.DataDir != "" {
		return p.config.DataDir, nil
	}
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to be root: the user it runs as must get there.
		return "/var/lib/riverbeat", nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a place for the data: %w (set %s)", err, variable("data-dir"))
	}
	return filepath.Join(home, ".local", "share", "riverbeat"), nil
}

// psqlCommand takes the password from its file, so that it is never shown.
func psqlCommand(url, dir string) string {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return "psql"
	}
	return fmt.Sprintf("PGPASSWORD=$(cat %s) psql -h %s -p %d -U %s %s",
		filepath.Join(dir, "password"), config.Host, config.Port, config.User, config.Database)
}

const receiverPath = "/dev/receiver"

func (p *program) greet(psql string) {
	base := "http://" + p.config.localAddr()
	fmt.Fprintf(p.stdout, `
  API        %[1]s/v1/schedules
  reference  %[1]s/docs/
  River UI   %[1]s/riverui/
  SQL        %[2]s

Try this: a webhook every 5 seconds, to a receiver that logs what it gets.

  curl -sS %[1]s/v1/schedules -d '{"name": "hello", "spec": {"cron": "*/5 * * * * *"}, "job": {"kind": "webhook", "args": {"url": "%[1]s%[3]s", "body": {"hello": "world"}}}}' -H 'Content-Type: application/json'

`, base, psql, receiverPath)
}

// withReceiver adds a place for webhooks to go, which logs them.
func (p *program) withReceiver(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", next)
	mux.HandleFunc(receiverPath, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil {
			http.Error(w, "can't read the body", http.StatusBadRequest)
			return
		}
		p.log.Info("webhook received", "run_id", r.Header.Get("webhook-id"), "method", r.Method, "body", strings.TrimSpace(string(body)))
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
