package localpg_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/db/localpg"
)

// parentOf makes the test binary a parent that starts a server on that folder,
// says where, and waits to be killed.
const parentOf = "LOCALPG_TEST_PARENT_OF"

func TestMain(m *testing.M) {
	if dir := os.Getenv(parentOf); dir != "" {
		s, err := localpg.Start(context.Background(), localpg.Config{DataDir: dir, Durable: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(s.PID(), s.URL())
		select {}
	}
	os.Exit(m.Run())
}

// dataDir is a folder that user postgres can enter too: as root, the test's own
// temporary folder is root's alone.
func dataDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

func start(t *testing.T, c localpg.Config) *localpg.Server {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := localpg.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func run(t *testing.T, url, sql string) {
	t.Helper()
	if _, err := connect(t, url).Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func value(t *testing.T, url, sql string) string {
	t.Helper()
	var v string
	if err := connect(t, url).QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestANewFolderBecomesAServer(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{DataDir: dataDir(t), Settings: map[string]string{"work_mem": "7MB"}})
	got := map[string]string{}
	for _, name := range []string{"max_connections", "TimeZone", "fsync", "listen_addresses", "unix_socket_directories", "server_encoding", "work_mem", "autovacuum"} {
		got[name] = value(t, s.URL(), "SHOW "+name)
	}
	want := map[string]string{
		"max_connections": "200", "TimeZone": "UTC", "fsync": "off", "listen_addresses": "127.0.0.1",
		"unix_socket_directories": "", "server_encoding": "UTF8", "work_mem": "7MB", "autovacuum": "on",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if got := value(t, s.URL(), "SELECT current_user || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user"); got != "riverbeat true" {
		t.Errorf("user %q, want the superuser riverbeat", got)
	}
	run(t, s.URL(), "CREATE DATABASE other")
	if got := value(t, s.DatabaseURL("other"), "SELECT current_database()"); got != "other" {
		t.Errorf("DatabaseURL leads to %q", got)
	}
}

func TestADurableServerKeepsTheDefaultsThatMakeItSo(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{DataDir: dataDir(t), Durable: true})
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := value(t, s.URL(), "SHOW "+name); got != "on" {
			t.Errorf("%s = %s", name, got)
		}
	}
}

func TestWithoutThePasswordNobodyComesIn(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	s := start(t, localpg.Config{DataDir: dir})
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("riverbeat", "guess")
	if _, err := pgx.Connect(t.Context(), u.String()); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
		t.Errorf("a wrong password: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the password file has mode %v", info.Mode())
	}
}

func TestARestartKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{DataDir: dataDir(t)})
	was := s.URL()
	run(t, was, "CREATE TABLE kept AS SELECT 'here' AS v")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
	if err := s.Kill(); err != nil {
		t.Errorf("Kill after Stop: %v", err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.URL() != was {
		t.Errorf("URL was %s, is %s", was, s.URL())
	}
	if got := value(t, was, "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
}

func TestAnotherStartOnTheFolderKeepsDataAndAddress(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, localpg.Config{DataDir: dir})
	run(t, first.URL(), "CREATE TABLE kept AS SELECT 'here' AS v")
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, localpg.Config{DataDir: dir})
	if got := value(t, second.URL(), "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
	if second.URL() != first.URL() {
		t.Error("it has another address")
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(first.URL())
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if third := start(t, localpg.Config{DataDir: dir}); third.URL() == first.URL() {
		t.Error("it has an address that another program has")
	}
}

func TestAKilledServerComesBackWithWhatWasCommitted(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{DataDir: dataDir(t), Durable: true})
	run(t, s.URL(), "CREATE TABLE kept AS SELECT 'here' AS v")
	killed := s.PID()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if _, err := pgx.Connect(t.Context(), s.URL()); err == nil {
		t.Error("a killed server still answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.PID() == killed {
		t.Errorf("PID is still %d", killed)
	}
	if got := value(t, s.URL(), "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
}

func TestDoneTellsOfAServerThatEndsByItself(t *testing.T) {
	t.Parallel()
	s := start(t, localpg.Config{DataDir: dataDir(t)})
	p, err := os.FindProcess(s.PID())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	// The dead server's lock file is still there.
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestKillingTheParentShutsTheServerDown(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	parent := exec.CommandContext(t.Context(), os.Args[0])
	parent.Env = append(os.Environ(), parentOf+"="+dir)
	parent.Stderr = t.Output()
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var address string
	if _, err := fmt.Fscan(bufio.NewReader(out), &pid, &address); err != nil {
		t.Fatalf("hear from the parent: %v", err)
	}
	run(t, address, "CREATE TABLE kept AS SELECT 'here' AS v")

	conn := connect(t, address)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed, as it was meant to be
	// A session's end is the event that tells of the shutdown.
	if n, err := conn.WaitForNotification(t.Context()); err == nil {
		t.Fatalf("a notification that nobody sent: %v", n)
	}

	// Start waits for the one that is leaving.
	s := start(t, localpg.Config{DataDir: dir, Durable: true})
	if got := value(t, s.URL(), "SELECT v FROM kept"); got != "here" {
		t.Errorf("read %q", got)
	}
	log, err := os.ReadFile(filepath.Join(dir, "postgres.log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "received fast shutdown request") || strings.Contains(string(log), "automatic recovery") {
		t.Errorf("process %d didn't shut down in order:\n%s", pid, log)
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = localpg.Start(t.Context(), localpg.Config{DataDir: dataDir(t), Port: l.Addr().(*net.TCPAddr).Port})
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()+": the port is in use") {
		t.Errorf("got %v, want an error that names %s", err, l.Addr())
	}
}

func TestAFolderInUseIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	first := start(t, localpg.Config{DataDir: dir})
	_, err := localpg.Start(t.Context(), localpg.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "in use by PostgreSQL process "+strconv.Itoa(first.PID())) {
		t.Errorf("got %v, want an error that names process %d", err, first.PID())
	}
	if got := value(t, first.URL(), "SELECT 'fine'"); got != "fine" {
		t.Errorf("read %q", got)
	}
}

func TestTwoThatStartOnANewFolderAtOnceMakeOneServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	type result struct {
		server *localpg.Server
		err    error
	}
	results := make(chan result)
	for range 2 {
		go func() {
			s, err := localpg.Start(t.Context(), localpg.Config{DataDir: dir})
			results <- result{s, err}
		}()
	}
	var running []*localpg.Server
	for range 2 {
		r := <-results
		if r.err == nil {
			running = append(running, r.server)
		} else if !strings.Contains(r.err.Error(), "in use by PostgreSQL process") {
			t.Errorf("the loser says: %v", r.err)
		}
	}
	if len(running) != 1 {
		t.Fatalf("%d servers run", len(running))
	}
	if got := value(t, running[0].URL(), "SELECT 'fine'"); got != "fine" {
		t.Errorf("read %q", got)
	}
	if err := running[0].Stop(); err != nil {
		t.Error(err)
	}
}

func TestDataOfAnotherMajorVersionAreRefused(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	if err := start(t, localpg.Config{DataDir: dir}).Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pgdata", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := localpg.Start(t.Context(), localpg.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "were made by PostgreSQL 9") {
		t.Errorf("got %v", err)
	}
}

func TestALostPasswordIsSaidSo(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	if err := start(t, localpg.Config{DataDir: dir}).Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	_, err := localpg.Start(t.Context(), localpg.Config{DataDir: dir})
	if err == nil || !strings.Contains(err.Error(), "password is missing although there are data") {
		t.Errorf("got %v", err)
	}
}

func TestAFailedStartShowsTheServersLog(t *testing.T) {
	t.Parallel()
	_, err := localpg.Start(t.Context(), localpg.Config{DataDir: dataDir(t), Settings: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("got %v", err)
	}
}

func TestAnEndedContextEndsTheStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := localpg.Start(ctx, localpg.Config{DataDir: dataDir(t)}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAsRootAFolderThatTheServersUserCantEnterIsNamed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root changes to another user")
	}
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := localpg.Start(t.Context(), localpg.Config{DataDir: filepath.Join(closed, "data")})
	if err == nil || !strings.Contains(err.Error(), "can't enter "+closed+" on the way to") {
		t.Errorf("got %v, want an error that names %s", err, closed)
	}
}
