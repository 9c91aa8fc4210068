package wake

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/localpg"
)

// patience is how long a test waits for an event that must come.
const patience = 30 * time.Second

// quick is how far apart heartbeats are where a test waits for them to be missed:
// three of them are more than a busy machine is late by.
const quick = 250 * time.Millisecond

// TestMain finds what any of the tests left running.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := stopPostgres(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// postgres is the server that the tests share. A NOTIFY stays within its
// database, and each test has one of its own.
var postgres struct {
	once   sync.Once
	dir    string
	server *localpg.Server
	err    error
}

func stopPostgres() error {
	if postgres.server == nil {
		return nil
	}
	if err := postgres.server.Stop(); err != nil {
		return err
	}
	return os.RemoveAll(postgres.dir)
}

func sharedPostgres(t *testing.T) *localpg.Server {
	t.Helper()
	postgres.once.Do(func() {
		if postgres.dir, postgres.err = os.MkdirTemp("", "wake"); postgres.err != nil {
			return
		}
		// As root, the server runs as another user.
		if postgres.err = os.Chmod(postgres.dir, 0o755); postgres.err != nil {
			return
		}
		// Not the test's own context: the server is for the others, too.
		postgres.server, postgres.err = localpg.Start(context.Background(), localpg.Config{DataDir: postgres.dir})
	})
	if postgres.err != nil {
		t.Fatalf("start PostgreSQL: %v", postgres.err)
	}
	return postgres.server
}

// ownPostgres is a server that the test may stop.
func ownPostgres(t *testing.T) *localpg.Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), localpg.Config{DataDir: dir})
	if err != nil {
		t.Fatalf("start PostgreSQL: %v", err)
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Errorf("stop PostgreSQL: %v", err)
		}
	})
	return server
}

// start runs a service until stop is called or the test ends, and checks that it
// ends well.
func start(t *testing.T, service func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service(ctx) }()
	stop = sync.OnceFunc(func() {
		t.Helper()
		cancel()
		if err := next(t, "the end of Run", done); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// next is what comes out of the channel next.
func next[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("no %s within %s", what, patience)
		panic("unreachable")
	}
}

// listen is a free loopback port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// dial is for relays, which end later than the test's context.
func dial(t *testing.T, addr string) (net.Conn, error) {
	var dialer net.Dialer
	return dialer.DialContext(context.WithoutCancel(t.Context()), "tcp", addr)
}

// expectState checks how a Listener or Subscriber is now, and that what it says
// of itself goes together.
func expectState(t *testing.T, path interface{ Status() Status }, want State) Status {
	t.Helper()
	s := path.Status()
	if s.State != want || (s.Reason == "") != (s.State == StateUp) {
		t.Errorf("it is %+v, not %s", s, want)
	}
	return s
}

// becomes waits for the state.
func becomes(t *testing.T, path interface{ Status() Status }, want State) {
	t.Helper()
	limit := time.After(patience)
	for path.Status().State != want {
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			t.Fatalf("it is %+v, and not %s within %s", path.Status(), want, patience)
		}
	}
	expectState(t, path, want)
}

// feed records what a Listener or a Subscriber hears.
type feed struct {
	changes chan schedule.Change
	kinds   chan Kind
}

func newFeed() *feed {
	return &feed{changes: make(chan schedule.Change, 100_000), kinds: make(chan Kind, 100_000)}
}

func (f *feed) onChange(c schedule.Change) { f.changes <- c }
func (f *feed) onMessage(k Kind)           { f.kinds <- k }

// expectLook waits for the zero Change that no message caused.
func (f *feed) expectLook(t *testing.T) {
	t.Helper()
	if c := next(t, "look at everything", f.changes); c != (schedule.Change{}) {
		t.Fatalf("got %v instead of a look at everything", c)
	}
	select {
	case k := <-f.kinds:
		t.Fatalf("a message came: %s", k)
	default:
	}
}

// expect waits for a message.
func (f *feed) expect(t *testing.T, c schedule.Change, k Kind) {
	t.Helper()
	got := decoded{Kind: next(t, "message", f.kinds)}
	got.Change = next(t, "change", f.changes)
	if diff := cmp.Diff(decoded{Change: c, Kind: k}, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// expectNothing checks that nothing more was heard.
func (f *feed) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case c := <-f.changes:
		t.Errorf("also heard: %v", c)
	default:
	}
}

// logbook is a log that tests wait for. Lines below level Info go to attempts.
type logbook struct{ lines, attempts chan string }

func newLog(t *testing.T) (*slog.Logger, *logbook) {
	b := &logbook{lines: make(chan string, 10_000), attempts: make(chan string, 10_000)}
	return slog.New(bookHandler{b, slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})}), b
}

func (b *logbook) expect(t *testing.T, want string) {
	t.Helper()
	if got := next(t, want, b.lines); got != want {
		t.Fatalf("the log says %q, not %q", got, want)
	}
}

func (b *logbook) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case line := <-b.lines:
		t.Errorf("the log also says %q", line)
	default:
	}
}

// expectAttempts waits for failed attempts beyond the one that was logged.
func (b *logbook) expectAttempts(t *testing.T, n int) {
	t.Helper()
	for range n {
		next(t, "another attempt", b.attempts)
	}
}

const (
	lost = "WARN wake path is lost; trying to get it back"
	back = "INFO wake path is back"

	unproven  = "WARN wake path can't be proven; messages may be heard all the same"
	heedless  = "WARN wake path can't be proven, because its heartbeats are denied; messages are heard all the same"
	swallowed = "WARN wake path hears nothing: what is sent doesn't come back; the other paths and the poll carry on"
)

type bookHandler struct {
	book *logbook
	slog.Handler
}

func (h bookHandler) Handle(ctx context.Context, r slog.Record) error {
	switch {
	case r.Level >= slog.LevelInfo:
		h.book.lines <- r.Level.String() + " " + r.Message
	case r.Message == "wake path is still lost":
		h.book.attempts <- r.Message
	}
	return h.Handler.Handle(ctx, r)
}
