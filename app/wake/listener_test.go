package wake

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/localpg"
)

// newDatabase is a database of the shared server, and a session in it.
func newDatabase(t *testing.T) (*pgx.ConnConfig, *pgx.Conn) {
	t.Helper()
	server := sharedPostgres(t)
	name := "wake_" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "_"))
	name = fmt.Sprintf("%.50s_%d", name, databases.Add(1))
	execute(t, connect(t, server.URL()), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return parse(t, server.DatabaseURL(name)), connect(t, server.DatabaseURL(name))
}

var databases atomic.Int64

func parse(t *testing.T, url string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return config
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

func execute(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%.80s: %v", sql, err)
	}
}

func notify(t *testing.T, conn *pgx.Conn, payload string) {
	t.Helper()
	execute(t, conn, "SELECT pg_notify($1, $2)", NotifyChannel, payload)
}

const known = `{"op":"updated","id":"` + someID + `","version":3}`

var knownChange = schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3}

func TestANotificationArrivesAsTheChange(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := &Listener{Config: config, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	if l.Connected() {
		t.Error("connected before Run")
	}
	stop := start(t, l.Run)
	feed.expectLook(t)
	if !l.Connected() {
		t.Error("not connected")
	}

	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)
	notify(t, conn, "{}")
	feed.expect(t, schedule.Change{}, KindEverything)
	execute(t, conn, "NOTIFY "+NotifyChannel)
	feed.expect(t, schedule.Change{}, KindEverything)
	for _, garbage := range []string{"hello", `{"op":`, strings.Repeat("x", 7_999)} {
		notify(t, conn, garbage)
		feed.expect(t, schedule.Change{}, KindUnreadable)
	}
	// And nothing of that has hurt it.
	execute(t, conn, "SELECT pg_notify('another_channel', $1)", known)
	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)

	// A session in a transaction would hold up the queue of every database.
	var state string
	if err := conn.QueryRow(t.Context(), `
		SELECT state FROM pg_stat_activity
		WHERE application_name = 'riverbeat-listener' AND datname = current_database()`).Scan(&state); err != nil {
		t.Fatalf("look for the listener's session: %v", err)
	}
	if state != "idle" {
		t.Errorf("the listener's session is %q", state)
	}

	stop()
	if l.Connected() {
		t.Error("connected after Run")
	}
	feed.expectNothing(t)
	book.expectNothing(t)
	if _, own := config.RuntimeParams["application_name"]; own || config.ConnectTimeout != 0 {
		t.Error("the caller's configuration was changed")
	}
}

func TestAKilledListenerComesBackAndLooksAtEverything(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := &Listener{Config: config, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	start(t, l.Run)
	feed.expectLook(t)
	for range 3 {
		execute(t, conn, `
			SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE application_name = 'riverbeat-listener' AND datname = current_database()`)
		book.expect(t, lost)
		feed.expectLook(t)
		book.expect(t, back)
		notify(t, conn, known)
		feed.expect(t, knownChange, KindChange)
	}
	if !l.Connected() {
		t.Error("not connected")
	}
	book.expectNothing(t)
	feed.expectNothing(t)
}

func TestTheListenerOutlastsPostgreSQL(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*localpg.Server) error
	}{
		{"stopped", (*localpg.Server).Stop},
		{"crashed", (*localpg.Server).Kill},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := ownPostgres(t)
			feed := newFeed()
			log, book := newLog(t)
			l := &Listener{Config: parse(t, server.URL()), OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
			start(t, l.Run)
			feed.expectLook(t)

			if err := c.end(server); err != nil {
				t.Fatal(err)
			}
			book.expect(t, lost)
			book.expectAttempts(t, 3)
			if l.Connected() {
				t.Error("connected to a server that is away")
			}
			feed.expectNothing(t)
			if err := server.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			feed.expectLook(t)
			book.expect(t, back)
			book.expectNothing(t)
			notify(t, connect(t, server.URL()), known)
			feed.expect(t, knownChange, KindChange)
		})
	}
}

func TestTheListenerMayStartBeforePostgreSQL(t *testing.T) {
	t.Parallel()
	server := ownPostgres(t)
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	feed := newFeed()
	log, book := newLog(t)
	l := &Listener{Config: parse(t, server.URL()), OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	start(t, l.Run)
	book.expect(t, lost)
	book.expectAttempts(t, 3)
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	feed.expectLook(t)
	book.expect(t, back)
	book.expectNothing(t)
}

// relay passes PostgreSQL's traffic on, until a client says LISTEN: from then on
// that connection is silent. It reports each connection.
func relay(t *testing.T, server string) (addr *net.TCPAddr, connections <-chan struct{}) {
	t.Helper()
	listener := listen(t)
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		open []net.Conn
	)
	accepted := make(chan struct{}, 1000)
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := dial(t, server)
			if err != nil {
				t.Errorf("relay: %v", err)
				_ = client.Close()
				return
			}
			mu.Lock()
			open = append(open, client, upstream)
			mu.Unlock()
			accepted <- struct{}{}
			all.Go(func() { _, _ = io.Copy(client, upstream) })
			all.Go(func() {
				buffer := make([]byte, 64<<10)
				for {
					n, err := client.Read(buffer)
					if err != nil || bytes.Contains(buffer[:n], []byte("listen ")) {
						return
					}
					if _, err := upstream.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		mu.Lock()
		for _, conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return listener.Addr().(*net.TCPAddr), accepted
}

func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	t.Run("to LISTEN", func(t *testing.T) {
		t.Parallel()
		config, _ := newDatabase(t)
		addr, connections := relay(t, net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
		config.Host, config.Port = addr.IP.String(), uint16(addr.Port)
		config.ConnectTimeout = 500 * time.Millisecond
		feed := newFeed()
		log, book := newLog(t)
		stop := start(t, (&Listener{Config: config, OnChange: feed.onChange, Log: log}).Run)
		for range 3 {
			next(t, "connection", connections)
		}
		book.expect(t, lost)
		stop()
		book.expectNothing(t)
		feed.expectNothing(t)
	})
	t.Run("to anything", func(t *testing.T) {
		t.Parallel()
		config, _ := newDatabase(t)
		listener := listen(t) // the system accepts, nobody answers
		defer listener.Close()
		addr := listener.Addr().(*net.TCPAddr)
		config.Host, config.Port = addr.IP.String(), uint16(addr.Port)
		config.ConnectTimeout = 50 * time.Millisecond
		log, book := newLog(t)
		stop := start(t, (&Listener{Config: config, OnChange: newFeed().onChange, Log: log}).Run)
		book.expect(t, lost)
		book.expectAttempts(t, 2)
		stop()
		book.expectNothing(t)
	})
}
