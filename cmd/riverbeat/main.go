// Command riverbeat schedules River jobs: an HTTP API, schedulers and workers in
// one program, each a role that can run alone.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/zonedata"
)

// Exit codes, beside 0 and 1.
const (
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitForbidden   = 5
	exitUnavailable = 6
	exitBadInput    = 65 // sysexits.h: EX_DATAERR
	exitConfig      = 78 // sysexits.h: EX_CONFIG

	exitInterrupted = 130 // by a second signal
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		stop()
		<-signals // somebody is in a hurry
		os.Exit(exitInterrupted)
	}()
	if os.Getenv("GOGC") == "" {
		// What lives is small and a burst of runs is garbage: with Go's own 100, a
		// tenth fewer runs are fired in a second.
		debug.SetGCPercent(400)
	}
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// run is the program; the tests call it too.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	root := newRoot(environ, stdout, stderr) //nolint:contextcheck // each command has its own, from ExecuteContext
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "riverbeat:", err)
	var usage *usageError
	var config *configError
	switch {
	case errors.As(err, &config):
		return exitConfig
	case errors.As(err, &usage):
		return exitUsage
	}
	if code, known := exitCodeOf(err); known {
		return code
	}
	return 1
}

// usageError is a command line that can't be understood.
type usageError struct{ error }

// program is what every command starts from.
type program struct {
	config  *Config
	environ []string
	stdout  io.Writer
	stderr  io.Writer
	log     *slog.Logger
	zones   *zonedata.Data
}

func newRoot(environ []string, stdout, stderr io.Writer) *cobra.Command {
	p := &program{config: &Config{}, environ: environ, stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use:   "riverbeat",
		Short: "A durable, dynamic, real-time scheduler for PostgreSQL and River",
		Long: "riverbeat stores schedules in PostgreSQL and turns each due run into a River job.\n" +
			"Every setting is a flag and an environment variable; the flag wins.",
		SilenceErrors: true, SilenceUsage: true,
		Version: version(),
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := p.config.fromEnvironment(cmd.Root().PersistentFlags(), p.environ); err != nil {
				return err
			}
			if err := p.config.check(); err != nil {
				return err
			}
			p.log = newLogger(p.config, p.stderr)
			slog.SetDefault(p.log)
			if p.zones, err = zonedata.Newest(p.config.Zoneinfo); err != nil {
				return &configError{fmt.Errorf("%s: %w", variable("zoneinfo"), err)}
			}
			schedule.SetZones(p.zones.Load)
			return nil
		},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	p.config.flags(root.PersistentFlags())
	root.AddCommand(p.serveCommand(), p.devCommand(), p.migrateCommand(), p.replanCommand(), p.tokenCommand(), p.scheduleCommand(), p.applyCommand(), p.healthCommand(), p.operationsCommand())
	return root
}

// usage is a check of cobra's with our exit code.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{err}
		}
		return nil
	}
}

// How many arguments most commands take.
var noArgs, named = usage(cobra.NoArgs), usage(cobra.ExactArgs(1))

func newLogger(config *Config, to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: config.LogLevel}
	if config.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(to, options))
	}
	// In JSON a duration would be a number that doesn't say of what.
	options.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(to, options))
}

// quiet passes on what River says of its own doings as details, for those who
// debug. So is a line that was there less than a minute ago: while PostgreSQL is
// away each part of River says so again and again.
type quiet struct {
	slog.Handler
	said *said
}

// said is when each message came last.
type said struct {
	mu   sync.Mutex
	last map[string]time.Time
}

const quietFor = time.Minute

func newQuiet(handler slog.Handler) quiet {
	return quiet{handler, &said{last: map[string]time.Time{}}}
}

func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, quieter(level))
}

func (q quiet) Handle(ctx context.Context, record slog.Record) error {
	record.Level = quieter(record.Level)
	if q.said.again(record.Message, record.Time) {
		record.Level = slog.LevelDebug
	}
	if !q.Handler.Enabled(ctx, record.Level) {
		return nil
	}
	return q.Handler.Handle(ctx, record)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quiet{q.Handler.WithAttrs(attrs), q.said}
}

func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{q.Handler.WithGroup(name), q.said}
}

// again reports whether the message was there a moment ago.
func (s *said) again(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.last[message]; ok && now.Sub(at) < quietFor {
		return true
	}
	if len(s.last) >= 1000 { // they are constants, but not ours
		clear(s.last)
	}
	s.last[message] = now
	return false
}

func quieter(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return "devel+" + setting.Value[:min(12, len(setting.Value))]
		}
	}
	return "devel"
}
