package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/localpg"
)

// bench is what the measurements share: the servers, which are its own.
type bench struct {
	iterations int
	short      bool       // small sizes
	saying     sync.Mutex // guards progress
	progress   io.Writer
	begun      time.Time

	dir      string // everything below it is removed in the end
	binary   string // riverbeat
	postgres *localpg.Server
	redis    *child
	redisURL string
	admin    *pgxpool.Pool // the database postgres
	version  string        // PostgreSQL's
	clones   int
	full     map[string]bool // databases with schedules that others are copied from
	patience int             // what lead is multiplied by
}

// settings are PostgreSQL's defaults but for two: commit timestamps are how
// lateness is measured, and a checkpoint in the middle would be measured too.
var settings = map[string]string{
	"track_commit_timestamp": "on",
	"max_wal_size":           "8GB",
	"checkpoint_timeout":     "1h",
}

// start builds riverbeat and starts the servers.
func (b *bench) start(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "riverbeat-bench-"); err != nil {
		return err
	}
	// As root the server runs as another user, who must get in.
	if err := os.Chmod(b.dir, 0o711); err != nil { //nolint:gosec // it may be entered, not listed
		return err
	}
	b.say("build riverbeat")
	b.binary = filepath.Join(b.dir, "riverbeat")
	build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "github.com/riverbeat/riverbeat/cmd/riverbeat")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build riverbeat: %w\n%s", err, out)
	}
	b.say("start PostgreSQL and Redis")
	if b.postgres, err = localpg.Start(ctx, localpg.Config{DataDir: filepath.Join(b.dir, "pg"), Durable: true, Settings: settings}); err != nil {
		return err
	}
	if err := b.startRedis(ctx); err != nil {
		return err
	}
	if b.admin, err = db.OpenPool(ctx, b.postgres.URL(), "bench", 2); err != nil {
		return err
	}
	if err := b.admin.QueryRow(ctx, `SELECT split_part(current_setting('server_version'), ' ', 1)`).Scan(&b.version); err != nil {
		return err
	}
	return b.makeTemplate(ctx)
}

// makeTemplate makes the database that each measurement gets a copy of. A
// scheduler has run on it once, so that none plans anew by its time zone data.
func (b *bench) makeTemplate(ctx context.Context) error {
	if _, err := b.admin.Exec(ctx, `CREATE DATABASE bench_template`); err != nil {
		return err
	}
	url := b.postgres.DatabaseURL("bench_template")
	pool, err := db.OpenPool(ctx, url, "bench", 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := migrate(ctx, pool); err != nil {
		return err
	}
	scheduler, err := b.serve(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(waitUntilReplanned(ctx, pool), scheduler.stop())
}

func migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := db.NewMigrator(ctx, pool, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(migrator.Up(ctx), migrator.Close())
}

// waitUntilReplanned waits until a scheduler has gone through all schedules for its
// time zone data, which it does beside its work when they are new to the database.
func waitUntilReplanned(ctx context.Context, pool *pgxpool.Pool) error {
	for done := false; !done; {
		if err := pool.QueryRow(ctx, `SELECT replanned <> '' AND replanned = newest FROM riverbeat.zone_data`).Scan(&done); err != nil {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) stop() error {
	var errs []error
	if b.admin != nil {
		b.admin.Close()
	}
	if b.redis != nil {
		errs = append(errs, b.redis.stop())
	}
	if b.postgres != nil {
		errs = append(errs, b.postgres.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

// startRedis runs a redis-server on a loopback port of its own, with nothing on
// disk.
func (b *bench) startRedis(ctx context.Context) error {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("redis-server is missing, which `make deps` installs: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		return err
	}
	b.redisURL = "redis://127.0.0.1:" + port + "/0"
	b.redis, err = startChild(ctx, nil, nil, bin, "--bind", "127.0.0.1", "--port", port, "--dir", b.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no")
	if err != nil {
		return err
	}
	return b.redis.waitUntil(ctx, func() bool {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// server is a `riverbeat serve` process.
type server struct {
	*child
	base  string        // of its HTTP server
	start time.Duration // from exec to ready
}

// serve starts a scheduler on the database and waits until it is ready.
func (b *bench) serve(ctx context.Context, url string) (*server, error) {
	return b.serveRoles(ctx, url, "scheduler")
}

func (b *bench) serveRoles(ctx context.Context, url, roles string) (*server, error) {
	addr := make(chan string, 1)
	begun := time.Now()
	c, err := startChild(ctx, []string{
		"DATABASE_URL=" + url, "REDIS_URL=" + b.redisURL, "RIVERBEAT_ADDR=127.0.0.1:0", "RIVERBEAT_ROLES=" + roles,
	}, func(line []byte) {
		if bytes.Contains(line, []byte(`"msg":"request"`)) {
			return // there are thousands
		}
		var said struct {
			Level string `json:"level"`
			Addr  string `json:"addr"`
		}
		if json.Unmarshal(line, &said) != nil {
			return
		}
		if said.Level == "WARN" || said.Level == "ERROR" {
			b.say("riverbeat says: %s", line)
		}
		if said.Addr != "" {
			select {
			case addr <- said.Addr:
			default:
			}
		}
	}, b.binary, "serve")
	if err != nil {
		return nil, err
	}
	s := &server{child: c}
	err = c.waitUntil(ctx, func() bool {
		if s.base == "" {
			select {
			case a := <-addr:
				s.base = "http://" + a
			default:
				return false
			}
		}
		return isReady(ctx, s.base)
	})
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	s.start = time.Since(begun)
	return s, nil
}

func isReady(ctx context.Context, base string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, answer.Body) // only the status counts
	return answer.StatusCode == http.StatusOK
}

// child is a program that we started and that ends with us.
type child struct {
	name string
	pid  int
	send func(os.Signal) error
	done chan struct{}
	last string // what it wrote last; read after done
}

// startChild runs a program; line hears of each line that it writes.
func startChild(ctx context.Context, env []string, line func([]byte), bin string, args ...string) (*child, error) {
	// It outlives the context: stop ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), bin, args...)
	// No setting of ours reaches it, such as another database's.
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, "RIVERBEAT_") && name != "DATABASE_URL" && name != "REDIS_URL" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	cmd.SysProcAttr = childAttributes()
	output, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	c := &child{name: filepath.Base(bin), done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent's death that Linux reports to a child is the death of the
		// thread that started it: keep it until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		w.Close()
		started <- err
		if err != nil {
			output.Close()
			return
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			defer output.Close()
			lines := bufio.NewScanner(output)
			for lines.Scan() {
				c.last = lines.Text()
				if line != nil {
					line(lines.Bytes())
				}
			}
		}()
		_ = cmd.Wait() // stopped, or its last line says why
		<-read
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s: %w", bin, err)
	}
	c.pid, c.send = cmd.Process.Pid, cmd.Process.Signal
	return c, nil
}

// waitUntil waits until it is so, the program ends, or a minute is over.
func (c *child) waitUntil(ctx context.Context, so func() bool) error {
	limit := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if so() {
				return nil
			}
		case <-c.done:
			return fmt.Errorf("%s ended at once: %s", c.name, c.last)
		case <-limit:
			return fmt.Errorf("%s isn't ready after a minute", c.name)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the program in an orderly way, or any way.
func (c *child) stop() error {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Kill} {
		if err := c.send(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop %s (%s): %w", c.name, strconv.Itoa(c.pid), err)
		}
		select {
		case <-c.done:
			return nil
		case <-time.After(20 * time.Second):
		}
	}
	return fmt.Errorf("%s doesn't end", c.name)
}
