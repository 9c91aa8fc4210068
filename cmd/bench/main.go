// Command bench measures riverbeat beside the raw limits of PostgreSQL and beside
// its peers, all in one run on one machine, with servers of its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	iterations := flags.Int("iterations", 5, "how often to measure; figures are medians. 1 is the short form: small sizes, to see that all of it works")
	only := flags.String("rows", ".", "measure only the rows that match this regular expression")
	dir := flags.String("out", "bin", "folder for figures.json and figures.svg")
	readme := flags.String("readme", "", "file whose part between <!-- figures --> and <!-- /figures --> becomes the table")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *iterations < 1 {
		return errors.New("-iterations: must be at least 1")
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-rows: %w", err)
	}

	b := &bench{iterations: *iterations, short: *iterations == 1, progress: progress, begun: time.Now(), full: map[string]bool{}}
	if err := b.start(ctx); err != nil {
		return errors.Join(err, b.stop())
	}
	defer func() { err = errors.Join(err, b.stop()) }()

	report := newReport(b)
	if err := b.measure(ctx, wanted, report); err != nil {
		return err
	}
	table := report.table()
	if _, err := io.WriteString(out, table); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o750); err != nil {
		return err
	}
	if err := report.writeJSON(filepath.Join(*dir, "figures.json")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*dir, "figures.svg"), []byte(report.plot()), 0o600); err != nil {
		return err
	}
	if *readme == "" {
		return nil
	}
	return replaceFigures(*readme, table)
}

// row is one line of the table: something that is measured a few times.
type row struct {
	group *group
	name  string
	n     int // schedules
	times int
	do    func(ctx context.Context, b *bench) (figures, error)
}

func (r row) title() string {
	if r.n == 0 {
		return r.group.title + ": " + r.name
	}
	return fmt.Sprintf("%s: %s, %s", r.group.title, r.name, grouped(r.n))
}

// figures are what one measurement found, by the column's key.
type figures map[string]float64

// skippedError says why a row can't be measured on this machine.
type skippedError struct{ reason string }

func (e *skippedError) Error() string { return "skipped: " + e.reason }

// errTooSlow says that what was to be measured began before all was ready for it.
var errTooSlow = errors.New("the schedules were due before all was ready")

// lead is the time from now until an instant for which all has to be ready, at the
// least base and a bit for each of n schedules.
func (b *bench) lead(base time.Duration, n int, each time.Duration) time.Duration {
	return time.Duration(b.patience) * (base + time.Duration(n)*each)
}

// measure goes through the rows. What fails ends the run: half a table would pass
// for a whole one.
func (b *bench) measure(ctx context.Context, wanted *regexp.Regexp, report *report) error {
	var rows []row
	total := 0
	for _, r := range b.rows() {
		if wanted.MatchString(r.title()) {
			rows = append(rows, r)
			total += r.times
		}
	}
	step := 0
	for _, r := range rows {
		var all []figures
		var skipped *skippedError
		for i := range r.times {
			step++
			b.say("[%d/%d] %s (%d of %d)", step, total, r.title(), i+1, r.times)
			b.patience = 1
			f, err := r.do(ctx, b)
			for errors.Is(err, errTooSlow) && b.patience < 8 {
				b.patience *= 2
				b.say("%v: again, with more time", err)
				f, err = r.do(ctx, b)
			}
			if errors.As(err, &skipped) {
				b.say("%v", skipped)
				step += r.times - i - 1
				break
			}
			if err != nil {
				return fmt.Errorf("%s: %w", r.title(), err)
			}
			all = append(all, f)
		}
		report.add(r, all, skipped)
	}
	return nil
}

// say writes a line of progress, with the time that has passed.
func (b *bench) say(format string, args ...any) {
	b.saying.Lock()
	defer b.saying.Unlock()
	fmt.Fprintf(b.progress, "%7s  %s\n", time.Since(b.begun).Round(time.Second), fmt.Sprintf(format, args...))
}
