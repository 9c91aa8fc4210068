package wake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/wake/proxytest"
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

// newListener sends its heartbeats as the program does, over a pool to where the
// configuration led when it was parsed.
func newListener(t *testing.T, config *pgx.ConnConfig, feed *feed, log *slog.Logger) *Listener {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), config.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &Listener{
		Config: config, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log,
		Send: func(ctx context.Context, channel, payload string) error {
			_, err := pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload)
			return err
		},
	}
}

const known = `{"op":"updated","id":"` + someID + `","version":3}`

var knownChange = schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: 3}

func TestANotificationArrivesAsTheChange(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := newListener(t, config, feed, log)
	expectState(t, l, StateDown)
	stop := start(t, l.Run)
	feed.expectLook(t)
	expectState(t, l, StateUp)

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
	expectState(t, l, StateDown)
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
	l := newListener(t, config, feed, log)
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
	expectState(t, l, StateUp)
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
			l := newListener(t, parse(t, server.URL()), feed, log)
			start(t, l.Run)
			feed.expectLook(t)

			if err := c.end(server); err != nil {
				t.Fatal(err)
			}
			book.expect(t, lost)
			book.expectAttempts(t, 3)
			expectState(t, l, StateDown)
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
	l := newListener(t, parse(t, server.URL()), feed, log)
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

// through has the configuration lead through a proxy.
func through(t *testing.T, config *pgx.ConnConfig) *proxytest.Proxy {
	t.Helper()
	proxy := proxytest.Start(t, net.JoinHostPort(config.Host, fmt.Sprint(config.Port)))
	addr := parse(t, proxy.URL("postgres://127.0.0.1/"))
	config.Host, config.Port = addr.Host, addr.Port
	return proxy
}

// stopwatch fails the test if what it measures takes longer than three heartbeats
// and what a busy machine may add.
func stopwatch(t *testing.T, heartbeat time.Duration) (stop func()) {
	begin := time.Now()
	return func() {
		t.Helper()
		if took, limit := time.Since(begin), maxMissed*heartbeat+2*time.Second; took > limit {
			t.Errorf("it took %s, and may take %s", took, limit)
		}
	}
}

// The connection is neither closed nor alive for 15 heartbeats and more.
func TestAFrozenListenerIsNoticedToldAndHealed(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := newListener(t, config, feed, log)
	l.Heartbeat, config.ConnectTimeout = quick, 15*quick
	proxy := through(t, config)
	start(t, l.Run)
	feed.expectLook(t)
	becomes(t, l, StateUp)

	proxy.Freeze()
	noticed := stopwatch(t, l.Heartbeat)
	for { // up to the end it must not be called up without a fresh heartbeat
		s := l.Status()
		if s.State == StateUp && s.Heartbeat > maxMissed*l.Heartbeat {
			t.Fatalf("it is %+v", s)
		}
		if s.State == StateDown {
			break
		}
		time.Sleep(time.Millisecond)
	}
	noticed()
	book.expect(t, lost)
	notify(t, conn, known)
	book.expectAttempts(t, 1) // one that hung for 15 heartbeats
	expectState(t, l, StateDown)
	feed.expectNothing(t)

	proxy.Thaw()
	feed.expectLook(t)
	book.expect(t, back)
	if s := expectState(t, l, StateUp); s.Losses != 1 {
		t.Errorf("%d losses", s.Losses)
	}
	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)
	feed.expectNothing(t)
	book.expectNothing(t)
}

func TestAListenerThatAFirewallForgotIsReplacedWithinThreeHeartbeats(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := newListener(t, config, feed, log)
	l.Heartbeat = quick
	proxy := through(t, config)
	start(t, l.Run)
	feed.expectLook(t)
	for range 2 {
		becomes(t, l, StateUp)
		proxy.Forget()
		noticed := stopwatch(t, l.Heartbeat)
		book.expect(t, lost)
		noticed()
		feed.expectLook(t)
		book.expect(t, back)
	}
	proxy.Cut()
	book.expect(t, lost)
	feed.expectLook(t)
	book.expect(t, back)
	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)
}

// A pooler that shares sessions answers LISTEN, and nothing ever comes.
func TestWhereListenHasNoEffectThereIsOneWarningAndNobodyLooks(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := newListener(t, config, feed, log)
	l.Heartbeat, l.Hint = 20*time.Millisecond, "set the other URL"
	var works atomic.Bool
	send := l.Send
	l.Send = func(ctx context.Context, channel, payload string) error {
		if !works.Load() {
			channel = "nobody_listens"
		}
		return send(ctx, channel, payload)
	}
	start(t, l.Run)
	book.expect(t, swallowed)
	book.expectAttempts(t, 3)
	s := l.Status()
	if s.State == StateUp || s.Heartbeat != 0 || s.Losses != 0 || !strings.Contains(s.Reason, l.Hint) {
		t.Errorf("it is %+v", s)
	}
	feed.expectNothing(t)
	book.expectNothing(t)

	// Somebody has changed the pooler.
	works.Store(true)
	feed.expectLook(t)
	book.expect(t, back)
	becomes(t, l, StateUp)
	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)
}

// What can't be sent can't come back, which says nothing of who listens.
func TestHeartbeatsThatCannotBeSentProveNothingAndBreakNothing(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := newListener(t, config, feed, log)
	l.Heartbeat = quick
	var broken atomic.Bool
	send := l.Send
	l.Send = func(ctx context.Context, channel, payload string) error {
		if broken.Load() {
			return errors.New("the pool is exhausted")
		}
		return send(ctx, channel, payload)
	}
	session := func() (pid int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), `
			SELECT pid FROM pg_stat_activity
			WHERE application_name = 'riverbeat-listener' AND datname = current_database()`).Scan(&pid); err != nil {
			t.Fatalf("look for the listener's session: %v", err)
		}
		return pid
	}
	stop := start(t, l.Run)
	feed.expectLook(t)
	was := session()
	for range 2 {
		broken.Store(true)
		book.expect(t, unproven)
		expectState(t, l, StateUnproven)
		notify(t, conn, known)
		feed.expect(t, knownChange, KindChange)
		broken.Store(false)
		book.expect(t, back)
		becomes(t, l, StateUp)
	}
	if is := session(); is != was {
		t.Error("the session was given up")
	}
	feed.expectNothing(t)
	book.expectNothing(t)
	stop()

	// From the start it is no different: nobody waits for a proof that can't be had.
	broken.Store(true)
	start(t, l.Run)
	feed.expectLook(t)
	book.expect(t, unproven)
	expectState(t, l, StateUnproven)
	broken.Store(false)
	book.expect(t, back)
	feed.expectNothing(t)
	book.expectNothing(t)
}

func TestWithoutASenderMessagesAreHeardAndNothingIsProven(t *testing.T) {
	t.Parallel()
	config, conn := newDatabase(t)
	feed := newFeed()
	log, book := newLog(t)
	l := &Listener{Config: config, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	start(t, l.Run)
	feed.expectLook(t)
	book.expect(t, heedless)
	expectState(t, l, StateUnproven)
	notify(t, conn, known)
	feed.expect(t, knownChange, KindChange)
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
					if err != nil || bytes.Contains(buffer[:n], []byte("LISTEN ")) {
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
		stop := start(t, newListener(t, config, feed, log).Run)
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
		stop := start(t, newListener(t, config, newFeed(), log).Run)
		book.expect(t, lost)
		book.expectAttempts(t, 2)
		stop()
		book.expectNothing(t)
	})
}
