package localpg

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	superuser = "riverbeat"

	// startLimit ends the wait for a server that neither serves nor gives up. It
	// is generous because a start after a crash replays the log first.
	startLimit = 2 * time.Minute

	// stopLimit is how long an orderly shutdown may take (it writes a checkpoint)
	// before the server is told to drop everything.
	stopLimit = 30 * time.Second

	// bigLog is the size, in bytes, from which a start empties postgres.log.
	bigLog = 16 << 20

	// tailLines of the server's log go into an error.
	tailLines = 10
)

// Config says which server to run. The zero value with a DataDir is a fast
// server for tests: it would lose data if the machine, not the server, crashed.
type Config struct {
	// BinDir holds postgres and initdb. Empty: what Find returns.
	BinDir string
	// DataDir holds pgdata, password, port and postgres.log. It is made when absent and
	// survives restarts. When we are root the server runs as user postgres, else
	// nobody, and that user must be able to enter every folder above it.
	DataDir string
	// Port on 127.0.0.1. Zero: the one that the folder's server had last, or a free
	// one where that is taken.
	Port int
	// Durable keeps what was committed even if the machine crashes.
	Durable bool
	// Settings go to the server as -c name=value, after and over our own.
	Settings map[string]string
	// Env goes to the server's environment, as name=value, after and over our own.
	Env []string
	// Log hears of starts and stops. Nil: nobody does.
	Log *slog.Logger
}

// Server is a PostgreSQL server that is our child. Its methods may be called by
// several goroutines at once.
type Server struct {
	config   Config
	password string
	account  *account // whom it runs as; nil: ourselves

	mu   sync.Mutex // held while the server is being started or stopped
	live *process   // the latest one, perhaps ended
}

// process is one run of the postgres binary.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // how it ended; read after done
	send func(syscall.Signal) error
}

// Start makes the data folder when it is new, starts the server and returns once
// it accepts connections. ctx limits the start alone: the server then runs until
// Stop, Kill, or the end of this process.
func Start(ctx context.Context, c Config) (*Server, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DataDir == "" {
		return nil, errors.New("start PostgreSQL: no data folder given")
	}
	dir, err := makeDataDir(c.DataDir)
	if err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	c.DataDir = dir
	if c.BinDir == "" {
		if c.BinDir, err = find(ctx); err != nil {
			return nil, err
		}
	}
	s := &Server{config: c}
	if s.account, err = accountFor(s.pgdata()); err != nil {
		return nil, err
	}
	if s.account != nil {
		for _, dir := range []string{c.DataDir, c.BinDir} {
			if err := s.account.mayEnter(dir); err != nil {
				return nil, err
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// makeDataDir returns the absolute path without links, so that every folder that
// has to be entered can be checked. What is secret in it has modes of its own.
func makeDataDir(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the server's own user has to pass through
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// start makes what is missing and runs the server until it accepts connections.
// The lock is for two processes that begin with the same folder at once: the
// second finds a server that is ready, and says so.
func (s *Server) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not ready within %s", startLimit))
	defer cancel()
	unlock, err := lockDir(ctx, s.config.DataDir)
	if err != nil {
		return fmt.Errorf("lock the data folder: %w", err)
	}
	defer unlock()

	if s.password == "" { // a restart leaves it alone: URL may be reading it
		if s.password, err = s.readPassword(); err != nil {
			return fmt.Errorf("read the password of the data folder: %w", err)
		}
	}
	if err := s.initialize(ctx); err != nil {
		return err
	}
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	if err := s.serve(ctx); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	s.config.Log.InfoContext(ctx, "PostgreSQL started",
		"pid", s.live.pid, "port", s.config.Port, "data_dir", s.config.DataDir)
	return nil
}

// initialize runs initdb when there are no data. The rename at its end is for a
// process that is killed half-way.
func (s *Server) initialize(ctx context.Context) error {
	if _, err := os.Stat(s.pgdata()); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for the data: %w", err)
	}

	unfinished := s.pgdata() + ".new"
	if err := os.RemoveAll(unfinished); err != nil {
		return fmt.Errorf("remove an unfinished data folder: %w", err)
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	for _, path := range []string{unfinished, s.passwordFile()} { // initdb reads the one and fills the other
		if err := s.account.own(path); err != nil {
			return err
		}
	}
	args := []string{
		"--pgdata=" + unfinished, "--username=" + superuser, "--pwfile=" + s.passwordFile(),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions",
	}
	if !s.config.Durable {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.config.BinDir, "initdb"), args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", append(environment(), s.config.Env...), childAttributes(s.account)
	cmd.WaitDelay = 5 * time.Second // its own children may hold the pipe for a moment when it is killed
	runtime.LockOSThread()          // see spawn
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("could not look up effective user ID")) {
			return fmt.Errorf("make the data folder: uid %d has no entry in /etc/passwd, and PostgreSQL insists on one: "+
				"add a line for it, or run as another user", os.Geteuid())
		}
		return fmt.Errorf("make the data folder: initdb: %w\n%s", err, tail(out))
	}
	if err := os.Rename(unfinished, s.pgdata()); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	return syncDir(s.config.DataDir)
}

// readPassword returns the superuser's password, made on the first call.
func (s *Server) readPassword() (string, error) {
	password, err := os.ReadFile(s.passwordFile())
	if err == nil && len(password) > 0 {
		return string(password), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if _, err := os.Stat(s.pgdata()); err == nil {
		return "", fmt.Errorf("%s is missing although there are data: put it back, or remove %s to begin anew",
			s.passwordFile(), s.pgdata())
	}
	fresh := hex.EncodeToString(random(24))
	if err := os.WriteFile(s.passwordFile(), []byte(fresh), 0o600); err != nil {
		return "", err
	}
	return fresh, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: the program ends if the system has no randomness
	return b
}

// checkVersion says in plain words what the server would say in its log.
func (s *Server) checkVersion(ctx context.Context) error {
	written, err := os.ReadFile(filepath.Join(s.pgdata(), "PG_VERSION"))
	if err != nil {
		return fmt.Errorf("read the version of the data: %w", err)
	}
	ours, err := majorVersion(ctx, s.config.BinDir)
	if err != nil {
		return err
	}
	if theirs := strings.TrimSpace(string(written)); theirs != strconv.Itoa(ours) {
		return fmt.Errorf("the data in %s were made by PostgreSQL %s and can't be read by version %d in %s: "+
			"set POSTGRES_BIN to the folder of a version %s, or remove the data to begin anew",
			s.config.DataDir, theirs, ours, s.config.BinDir, theirs)
	}
	return nil
}

// rememberedPort is the one that the folder's server had last, so that what was
// told of it stays true; zero if there is none.
func rememberedPort(file string) int {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0 // a new folder
	}
	port, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || port < 1024 || port > 65535 {
		return 0
	}
	return port
}

// serve launches the server until it stays. A port that we chose and that is in
// use is chosen anew; a server that is about to leave the data, as one does whose
// parent was killed a moment ago, is waited for.
func (s *Server) serve(ctx context.Context) error {
	choose := s.config.Port == 0
	remembered := filepath.Join(s.config.DataDir, "port")
	if choose {
		s.config.Port = rememberedPort(remembered)
	}
	for attempt := 1; ; attempt++ {
		if s.config.Port == 0 {
			// Below the ports that systems give to outgoing connections: one of
			// those might take it between Stop and Restart.
			s.config.Port = 20_000 + mathrand.N(10_000)
		}
		err := s.launch(ctx)
		if err == nil && choose {
			err = os.WriteFile(remembered, []byte(strconv.Itoa(s.config.Port)+"\n"), 0o600)
		}
		var inUse *inUseError
		switch {
		case errors.Is(err, errPortInUse) && choose && attempt < 20:
			s.config.Port = 0
		case errors.As(err, &inUse) && inUse.leaving:
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return err
			}
		default:
			return err
		}
	}
}

// launch starts the binary once and waits until it serves, ends, or ctx does.
func (s *Server) launch(ctx context.Context) error {
	log, err := os.OpenFile(s.logFile(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	from := info.Size()
	if from > bigLog {
		if err := log.Truncate(0); err != nil {
			return fmt.Errorf("empty the server's log: %w", err)
		}
		from = 0
	}

	p, err := s.spawn(ctx, log)
	if err != nil {
		return err
	}
	s.live = p
	// The server writes how it is doing into its lock file, for pg_ctl and for us.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if pid, state := s.lockFile(); pid == p.pid && state == "ready" {
				return nil
			}
		case <-p.done:
			written, _ := io.ReadAll(io.NewSectionReader(log, from, bigLog)) // unreadable: the error goes without
			return s.explain(p.err, written)
		case <-ctx.Done():
			written, _ := io.ReadAll(io.NewSectionReader(log, from, bigLog))
			return errors.Join(fmt.Errorf("%w\n%s", context.Cause(ctx), tail(written)), p.end(syscall.SIGQUIT))
		}
	}
}

// spawn runs the binary in a goroutine that keeps its thread until the server has
// ended, because the parent's death that Linux reports to a child is the death of
// the thread that started it.
func (s *Server) spawn(ctx context.Context, log *os.File) (*process, error) {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), filepath.Join(s.config.BinDir, "postgres"), s.arguments()...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = "/", append(environment(), s.config.Env...), childAttributes(s.account)
	cmd.Stdout, cmd.Stderr = log, log

	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("run %s%s: %w", cmd.Path, s.account.suffix(), err)
	}
	p.pid = cmd.Process.Pid
	p.send = func(sig syscall.Signal) error { return cmd.Process.Signal(sig) }
	return p, nil
}

// arguments are the server's settings, ours and then the caller's.
func (s *Server) arguments() []string {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(s.config.Port),
		"unix_socket_directories=", // a long data folder would exceed the limit of a socket's path
		"max_connections=200",      // tests run side by side, each with a pool
		"timezone=UTC",
		"log_timezone=UTC",
	}
	if !s.config.Durable {
		settings = append(settings,
			"fsync=off", "synchronous_commit=off", "full_page_writes=off",
			"shared_buffers=64MB", "min_wal_size=32MB", "max_wal_size=128MB")
	}
	for _, name := range slices.Sorted(maps.Keys(s.config.Settings)) {
		settings = append(settings, name+"="+s.config.Settings[name])
	}
	args := []string{"-D", s.pgdata()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// environment is ours without what would change the server's ways or the language
// of the messages that explain reads.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") || strings.HasPrefix(v, "LANG")
	})
	return append(env, "LC_ALL=C", "TZ=UTC")
}

var (
	errPortInUse = errors.New("the port is in use")

	otherServer = regexp.MustCompile(`Is another post(?:master|gres) \(PID (\d+)\) running`)
)

// inUseError: another server works on the data.
type inUseError struct {
	dir     string
	pid     string
	leaving bool // it is shutting down
}

func (e *inUseError) Error() string {
	return fmt.Sprintf("the data in %s are in use by PostgreSQL process %s: stop it first, or choose another folder", e.dir, e.pid)
}

// explain turns the end of a server that never served into an error.
func (s *Server) explain(end error, log []byte) error {
	if match := otherServer.FindSubmatch(log); match != nil {
		_, state := s.lockFile()
		// No state at all: it has left since.
		return &inUseError{dir: s.config.DataDir, pid: string(match[1]), leaving: state == "stopping" || state == ""}
	}
	if bytes.Contains(log, []byte("pre-existing shared memory block")) {
		// Its main process has died, and the others are about to notice.
		return &inUseError{dir: s.config.DataDir, pid: "group of a dead server", leaving: true}
	}
	if bytes.Contains(log, []byte("could not bind")) {
		return fmt.Errorf("127.0.0.1:%d: %w by another program", s.config.Port, errPortInUse)
	}
	if end == nil {
		end = errors.New("it ended at once")
	}
	return fmt.Errorf("%w\n%s", end, tail(log))
}

// lockFile returns the process id and the state (starting, ready, stopping) that a
// server has written into the data folder; zero and "" when there is none.
func (s *Server) lockFile() (pid int, state string) {
	content, err := os.ReadFile(filepath.Join(s.pgdata(), "postmaster.pid"))
	if err != nil {
		return 0, ""
	}
	lines := strings.Split(string(content), "\n")
	pid, _ = strconv.Atoi(lines[0]) // half-written: zero, which is nobody's
	if len(lines) > 7 {
		state = strings.TrimSpace(lines[7])
	}
	return pid, state
}

func tail(log []byte) string {
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// URL is the superuser's connection string, of the database postgres.
func (s *Server) URL() string { return s.DatabaseURL("postgres") }

// DatabaseURL is the superuser's connection string of the named database.
func (s *Server) DatabaseURL(name string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.config.Port)),
		Path:     "/" + name,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// PID is the server's process id, also after it has ended.
func (s *Server) PID() int { return s.current().pid }

// Done is closed when the server has ended, for whatever reason. After a Restart
// there is a new one.
func (s *Server) Done() <-chan struct{} { return s.current().done }

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// Stop ends all sessions, shuts the server down in an orderly way, and returns
// when it has ended. Stopping a server that has ended does nothing.
func (s *Server) Stop() error { return s.stop("PostgreSQL stopped", syscall.SIGINT) }

// Kill ends the server at once, as a crash would, and returns when it has ended:
// its next start recovers from the log. Killing a server that has ended does nothing.
func (s *Server) Kill() error { return s.stop("PostgreSQL killed", syscall.SIGQUIT) }

func (s *Server) stop(message string, sig syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.live.done:
		return nil
	default:
	}
	if err := s.live.end(sig); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	s.config.Log.Info(message, "pid", s.live.pid, "data_dir", s.config.DataDir)
	return nil
}

// end sends the signal and waits; a server that won't go is made to.
func (p *process) end(sig syscall.Signal) error {
	limit := stopLimit
	for i, next := range []syscall.Signal{sig, syscall.SIGQUIT, syscall.SIGKILL} {
		if err := p.send(next); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		select {
		case <-p.done:
			if i > 0 {
				return fmt.Errorf("process %d ended only after %s, with %s", p.pid, sig, next)
			}
			return nil
		case <-time.After(limit):
			limit = 5 * time.Second
		}
	}
	return fmt.Errorf("process %d doesn't end", p.pid)
}

// Restart starts the server again on the same port with the same data; one that
// still runs is stopped first.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start(ctx)
}

func (s *Server) pgdata() string       { return filepath.Join(s.config.DataDir, "pgdata") }
func (s *Server) passwordFile() string { return filepath.Join(s.config.DataDir, "password") }
func (s *Server) logFile() string      { return filepath.Join(s.config.DataDir, "postgres.log") }
