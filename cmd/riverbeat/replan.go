package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/riverbeat/riverbeat/app/scheduler"
	"github.com/riverbeat/riverbeat/db"
)

func (p *program) replanCommand() *cobra.Command {
	var dryRun bool
	command := &cobra.Command{
		Use:   "replan",
		Short: "Plan anew the next runs that newer time zone data move, and list them",
		Long: "A scheduler that starts with newer time zone data does the same by itself. With\n" +
			"--dry-run nothing is written: run it with the new data, as ZONEINFO, before you\n" +
			"restart the schedulers, to see what they will move. Without it the schedulers that\n" +
			"still have older data are degraded from then on, until they are restarted too.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.config.DatabaseURL == "" {
				return errNoDatabase
			}
			return p.replan(cmd.Context(), dryRun)
		},
	}
	command.Flags().BoolVar(&dryRun, "dry-run", false, "only list what would move")
	return command
}

func (p *program) replan(ctx context.Context, dryRun bool) error {
	pool, err := db.OpenPool(ctx, p.config.DatabaseURL, "riverbeat-replan", 4)
	if err != nil {
		return &configError{fmt.Errorf("DATABASE_URL: %w", err)}
	}
	defer pool.Close()
	if err := p.migrateWith(ctx, pool, func(ctx context.Context, m *db.Migrator) error { return m.Check(ctx) }); err != nil {
		return err
	}
	moved, progress := 0, newProgress(p.stderr)
	r := &scheduler.Replanner{Store: db.NewStore(pool), Zones: p.zones.Version(), DryRun: dryRun}
	r.Moved = func(m scheduler.Move) {
		moved++
		progress.clear()
		spec := m.Schedule.Spec
		fmt.Fprintf(p.stdout, "%s/%s  %s  %s → %s\n", m.Schedule.Namespace, m.Schedule.Name, spec.Timezone, p.local(m.From, spec.Timezone), p.local(m.To, spec.Timezone))
	}
	r.Try = func(ctx context.Context, do func() error) error {
		err := patiently(ctx, do)
		progress.tell(fmt.Sprintf("%s schedules looked at, %s moved", thousands(r.Counted), thousands(moved)))
		return err
	}
	if _, err = r.Begin(ctx); err == nil {
		err = r.Run(ctx)
	}
	progress.clear()
	var outdated *scheduler.OutdatedError
	switch {
	case errors.As(err, &outdated):
		return fmt.Errorf("%w: run this with the newer data, such as with %s set to them, or update riverbeat", err, variable("zoneinfo"))
	case err != nil:
		return fmt.Errorf("plan anew: %w (%s schedules moved so far, which is kept; run it again)", err, thousands(moved))
	}
	verb := "moved"
	if dryRun {
		verb = "move"
	}
	fmt.Fprintf(p.stdout, "%s of %s schedules %s by %s\n", thousands(moved), thousands(r.Counted), verb, p.zones.Version())
	return nil
}

// local is the instant as the clocks of the zone show it.
func (p *program) local(at time.Time, zone string) string {
	if at.IsZero() {
		return "never"
	}
	if location, err := p.zones.Load(zone); err == nil {
		at = at.In(location)
	}
	return at.Format(time.RFC3339)
}

// patiently tries a few times: a row may be locked for a moment, a server restart.
func patiently(ctx context.Context, do func() error) (err error) {
	for wait := 250 * time.Millisecond; wait <= 2*time.Second; wait *= 2 {
		var outdated *scheduler.OutdatedError
		if err = do(); err == nil || errors.As(err, &outdated) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
	return err
}

// thousands writes 1204 as 1,204.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// progress is a line about work that takes longer than a second: written over on a
// terminal, else written anew every 10 s.
type progress struct {
	to       io.Writer
	terminal bool
	next     time.Time // when to tell again
	shown    bool
}

func newProgress(to io.Writer) *progress {
	file, ok := to.(*os.File)
	if ok {
		info, err := file.Stat()
		ok = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return &progress{to: to, terminal: ok, next: time.Now().Add(time.Second)}
}

func (p *progress) tell(text string) {
	now := time.Now()
	switch {
	case now.Before(p.next):
	case p.terminal:
		p.next, p.shown = now.Add(200*time.Millisecond), true
		fmt.Fprint(p.to, "\r\x1b[K"+text)
	default:
		p.next = now.Add(10 * time.Second)
		fmt.Fprintln(p.to, text)
	}
}

// clear makes room for other lines.
func (p *progress) clear() {
	if p.shown {
		p.shown = false
		fmt.Fprint(p.to, "\r\x1b[K")
	}
}
