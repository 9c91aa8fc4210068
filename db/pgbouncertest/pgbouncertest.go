// Package pgbouncertest runs a real PgBouncer for a test.
package pgbouncertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sessions is how many of PostgreSQL's sessions all clients of one database share.
const Sessions = 5

// startLimit ends the wait for a PgBouncer that neither serves nor gives up.
const startLimit = 30 * time.Second

// URL leads to the database of the given one through a PgBouncer in transaction
// mode that is this test's own and ends with it. More lines of its settings, such
// as "pool_mode = session", come after ours and win. Where there is no pgbouncer
// the test is skipped, or fails when the environment variable CI is set.
func URL(t testing.TB, direct string, more ...string) string {
	t.Helper()
	bin, err := find()
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("this test needs pgbouncer: %v", err)
		}
		t.Skipf("this test needs pgbouncer, which `make deps` installs: %v", err)
	}
	database, err := pgx.ParseConfig(direct)
	if err != nil {
		t.Fatal("read where the database is: ", err)
	}
	port, err := start(t, bin, database, more)
	if err != nil {
		t.Fatalf("start pgbouncer: %v", err)
	}
	through := url.URL{
		Scheme: "postgres", User: url.UserPassword(database.User, database.Password),
		Host: address(port), Path: "/" + database.Database, RawQuery: "sslmode=disable",
	}
	return through.String()
}

// find looks in the PATH, and where Debian puts it, which often isn't in there.
func find() (string, error) {
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if debian, err := exec.LookPath("/usr/sbin/pgbouncer"); err == nil {
			return debian, nil
		}
	}
	return bin, err
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// start runs the binary on a free port until the test ends.
func start(t testing.TB, bin string, database *pgx.ConnConfig, more []string) (port int, err error) {
	dir, err := os.MkdirTemp("", "riverbeat-pgbouncer-") // not t.TempDir, which only we may enter
	if err != nil {
		return 0, err
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	account, err := accountFor(dir)
	if err != nil {
		return 0, err
	}
	for range 20 {
		// Below the ports that systems give to outgoing connections.
		port = 20_000 + rand.N(10_000)
		config := filepath.Join(dir, "pgbouncer.ini")
		if err := errors.Join(
			write(config, settings(dir, port, database)+strings.Join(more, "\n"), account),
			write(filepath.Join(dir, "users"), quote(database.User, `"`)+" "+quote(database.Password, `"`)+"\n", account),
		); err != nil {
			return 0, err
		}
		if err = launch(t, bin, config, account); !errors.Is(err, errPortInUse) {
			return port, err
		}
	}
	return port, err
}

func settings(dir string, port int, database *pgx.ConnConfig) string {
	auth := "scram-sha-256"
	if database.Password == "" {
		auth = "trust"
	}
	return fmt.Sprintf(`[databases]
* = host=%s port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = %s
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
`, quote(database.Host, "'"), database.Port, port, auth, filepath.Join(dir, "users"), Sessions)
}

// quote doubles the quotes in the text, as PgBouncer wants it.
func quote(text, by string) string { return by + strings.ReplaceAll(text, by, by+by) + by }

// write makes a file, which holds a password, that the account can read.
func write(path, text string, account *syscall.Credential) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil || account == nil {
		return err
	}
	return os.Chown(path, int(account.Uid), int(account.Gid))
}

// accountFor is whom PgBouncer runs as, since it refuses to be root, and lets it
// into the folder; nil is ourselves.
func accountFor(dir string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(nobody.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		errors.Join(uidErr, gidErr, os.Chmod(dir, 0o711)) //nolint:gosec // it may be entered, not listed
}

var errPortInUse = errors.New("the port is in use")

// launch runs the binary until the test ends, and returns once it serves.
func launch(t testing.TB, bin, config string, account *syscall.Credential) error {
	log, err := os.Create(filepath.Join(filepath.Dir(config), "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	// It outlives the test's context: the cleanup ends it.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), bin, config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = childAttributes()
	cmd.SysProcAttr.Credential = account

	started, done := make(chan error), make(chan struct{})
	go func() {
		// The parent's death that Linux reports to a child is the death of the
		// thread that started it: keep it until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, or its log says why
			close(done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // an error says that it has ended already
		<-done
		if t.Failed() {
			written, _ := os.ReadFile(log.Name()) // unreadable: the test goes without
			t.Logf("pgbouncer's log:\n%s", written)
		}
	})

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(startLimit)
	for {
		var ended bool
		select {
		case <-tick.C:
		case <-done:
			ended = true
		case <-limit:
			return fmt.Errorf("not ready within %s", startLimit)
		}
		written, err := os.ReadFile(log.Name())
		switch {
		case err != nil:
			return err
		case bytes.Contains(written, []byte("Address already in use")):
			return errPortInUse
		case ended:
			return fmt.Errorf("it ended at once: %s", written)
		case bytes.Contains(written, []byte("process up")): // said once it listens
			return nil
		}
	}
}
