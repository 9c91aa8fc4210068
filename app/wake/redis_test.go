package wake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/wake/proxytest"
	"github.com/riverbeat/riverbeat/app/wake/redistest"
)

func newClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	client, err := NewRedisClient(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("close the client: %v", err)
		}
	})
	return client
}

// publish sends the payload as another program would, to one subscriber.
func publish(t *testing.T, client *redis.Client, channel, payload string) {
	t.Helper()
	if n, err := client.Publish(t.Context(), channel, payload).Result(); err != nil || n != 1 {
		t.Fatalf("publish: %d subscribers, %v", n, err)
	}
}

func TestWhatIsPublishedArrivesAtASubscriber(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed, other := newFeed(), newFeed()
	log, book := newLog(t)
	s := &Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	expectState(t, s, StateDown)
	stop := start(t, s.Run)
	start(t, (&Subscriber{Client: client, Channel: "other", OnChange: other.onChange, OnMessage: other.onMessage, Log: log}).Run)
	feed.expectLook(t)
	other.expectLook(t)
	expectState(t, s, StateUp)
	p := NewPublisher(client, "", log)
	start(t, p.Run)

	changes := []schedule.Change{
		{Op: schedule.OpCreated, ID: theID, Version: 1, NextRunAt: nextRunAt},
		{Op: schedule.OpUpdated, ID: theID, Version: 2},
		{Op: schedule.OpDeleted, ID: theID, Version: 3},
	}
	for _, c := range changes {
		p.Announce(c)
	}
	for _, c := range changes {
		feed.expect(t, c, KindChange)
	}
	p.Announce(schedule.Change{})
	feed.expect(t, schedule.Change{}, KindEverything)

	stop()
	expectState(t, s, StateDown)
	feed.expectNothing(t)
	other.expectNothing(t)
	book.expectNothing(t)
	if n := p.Dropped(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

func TestRedisMayGoAndComeBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	feed := newFeed()
	heardLog, heardBook := newLog(t)
	sentLog, sentBook := newLog(t)
	s := &Subscriber{Client: newClient(t, server.URL()), OnChange: feed.onChange, OnMessage: feed.onMessage, Log: heardLog}
	start(t, s.Run)
	feed.expectLook(t)
	p := NewPublisher(newClient(t, server.URL()), "", sentLog)
	start(t, p.Run)
	p.Announce(knownChange)
	feed.expect(t, knownChange, KindChange)

	for range 2 {
		server.Stop()
		heardBook.expect(t, lost)
		heardBook.expectAttempts(t, 3)
		expectState(t, s, StateDown)
		p.Announce(knownChange)
		sentBook.expect(t, lost)
		sentBook.expectAttempts(t, 2)
		feed.expectNothing(t)

		server.Restart()
		heardBook.expect(t, back)
		sentBook.expect(t, back)
		feed.expectLookAmong(t)
		// What waited may have gone out before anybody heard; what comes now hasn't.
		p.Announce(schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9})
		feed.expectAmong(t, schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9})
		feed.expectNothing(t)
	}
	heardBook.expectNothing(t)
	sentBook.expectNothing(t)
	if n := p.Dropped(); n != 0 {
		t.Errorf("%d dropped", n)
	}
}

func TestRedisMayBeDownAtTheStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Stop()
	client := newClient(t, server.URL())
	feed := newFeed()
	heardLog, heardBook := newLog(t)
	sentLog, sentBook := newLog(t)
	start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: heardLog}).Run)
	p := NewPublisher(client, "", sentLog)
	p.Announce(knownChange) // also before Run
	start(t, p.Run)
	heardBook.expect(t, lost)
	sentBook.expect(t, lost)
	heardBook.expectAttempts(t, 3)
	sentBook.expectAttempts(t, 3)

	server.Restart()
	feed.expectLookAmong(t)
	heardBook.expect(t, back)
	sentBook.expect(t, back)
	p.Announce(schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9})
	feed.expectAmong(t, schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9})
	heardBook.expectNothing(t)
	sentBook.expectNothing(t)
}

func TestACutSubscriberLooksAtEverything(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)
	for range 3 {
		if err := client.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		book.expect(t, lost)
		feed.expectLook(t)
		book.expect(t, back)
		publish(t, client, DefaultRedisChannel, encodeRedis(knownChange, time.Now()))
		feed.expect(t, knownChange, KindChange)
	}
	book.expectNothing(t)
	feed.expectNothing(t)
}

// A request that changes a schedule must not wait for Redis, whatever its state.
func TestAnnouncingNeverBlocks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		hurt, heal func(*redistest.Server)
	}{
		{"Redis stopped", (*redistest.Server).Stop, (*redistest.Server).Restart},
		{"Redis frozen", (*redistest.Server).Freeze, (*redistest.Server).Thaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			feed := newFeed()
			heardLog, _ := newLog(t)
			start(t, (&Subscriber{Client: newClient(t, server.URL()), OnChange: feed.onChange, OnMessage: feed.onMessage, Log: heardLog}).Run)
			feed.expectLook(t)
			log, book := newLog(t)
			p := NewPublisher(newClient(t, server.URL()), "", log)
			start(t, p.Run)
			p.Announce(knownChange)
			feed.expect(t, knownChange, KindChange)

			// Nothing is taken out of the queue by now but what is being sent: a
			// call that waited for room would wait for ever.
			c.hurt(server)
			for range queueLength + 20*batchLength {
				p.Announce(knownChange)
			}
			book.expect(t, lost)
			book.expectAttempts(t, 1)
			if p.Dropped() == 0 {
				t.Error("nothing was dropped, although more was announced than the queue holds")
			}

			// What was dropped is made up for by a look at everything: the
			// publisher asks for it, or the subscriber was cut off, too.
			c.heal(server)
			book.expect(t, back)
			feed.expectAmong(t, schedule.Change{})
			marker := schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9}
			again := time.NewTicker(10 * time.Millisecond) // while the queue is full, it may be dropped
			defer again.Stop()
			limit := time.After(patience)
			for heard := (schedule.Change{}); heard != marker; {
				select {
				case heard = <-feed.changes:
				case <-again.C:
					p.Announce(marker)
				case <-limit:
					t.Fatalf("nothing announced since was heard within %s", patience)
				}
			}
		})
	}
}

func TestAStopSendsWhatIsQueued(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)
	p := NewPublisher(client, "", log)
	stop := start(t, p.Run)
	const n = 3*batchLength + 1
	for i := range n {
		p.Announce(schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: int64(i + 1)})
	}
	stop()
	for i := range n {
		feed.expect(t, schedule.Change{Op: schedule.OpUpdated, ID: theID, Version: int64(i + 1)}, KindChange)
	}
	feed.expectNothing(t)
	book.expectNothing(t)
}

func TestAStopDoesNotWaitForRedis(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	heardLog, _ := newLog(t)
	stopHearing := start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: heardLog}).Run)
	feed.expectLook(t)
	log, book := newLog(t)
	p := NewPublisher(client, "", log)
	stop := start(t, p.Run)
	p.Announce(knownChange)
	feed.expect(t, knownChange, KindChange)

	server.Freeze()
	const n = 2*batchLength + 1
	for range n {
		p.Announce(knownChange)
	}
	book.expect(t, lost)
	begin := time.Now()
	stop()
	stopHearing()
	// A second to drain, what was being sent, and much for a busy machine.
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("the stop took %s", took)
	}
	book.expect(t, "WARN changes were not announced")
	book.expectNothing(t)
	// What was being sent when the server froze may have got through.
	if got := p.Dropped(); got < n-batchLength || got > n {
		t.Errorf("%d of %d are counted as dropped", got, n)
	}
}

// Whoever runs Redis may give us no more than the two commands on our channels.
func TestTheLeastOfRightsIsEnough(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	if err := newClient(t, server.URL()).Do(t.Context(), "ACL", "SETUSER", "beat", "on", ">secret", "resetchannels",
		"&riverbeat_*", "+publish", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	client := newClient(t, strings.Replace(server.URL(), "redis://", "redis://beat:secret@", 1))
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)
	p := NewPublisher(client, "", log)
	start(t, p.Run)
	p.Announce(knownChange)
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)

	// Less is a loss like any other: one line, and no message ever.
	denied, deniedBook := newLog(t)
	none := newFeed()
	s := &Subscriber{Client: client, Channel: "forbidden", OnChange: none.onChange, Log: denied}
	start(t, s.Run)
	deniedBook.expect(t, lost)
	deniedBook.expectAttempts(t, 2)
	deniedBook.expectNothing(t)
	none.expectNothing(t)
	expectState(t, s, StateDown)
}

// What Redis doesn't allow is said once, and what it does allow is used.
func TestWithoutARightToHeartbeatsMessagesAreHeard(t *testing.T) {
	t.Parallel()
	for name, rights := range map[string][]any{
		"to their channel":    {"&" + DefaultRedisChannel, "+publish", "+subscribe"},
		"to publish anything": {"&*", "+subscribe"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			owner := newClient(t, server.URL())
			user := append([]any{"ACL", "SETUSER", "beat", "on", ">secret", "resetchannels"}, rights...)
			if err := owner.Do(t.Context(), user...).Err(); err != nil {
				t.Fatal(err)
			}
			feed := newFeed()
			log, book := newLog(t)
			s := &Subscriber{
				Client:   newClient(t, strings.Replace(server.URL(), "redis://", "redis://beat:secret@", 1)),
				OnChange: feed.onChange, OnMessage: feed.onMessage, Heartbeat: quick, Log: log,
			}
			start(t, s.Run)
			feed.expectLook(t)
			book.expect(t, heedless)
			for range 2 {
				if s := expectState(t, s, StateUnproven); !strings.Contains(s.Reason, "denied") {
					t.Errorf("it is %+v", s)
				}
				publish(t, owner, DefaultRedisChannel, encodeRedis(knownChange, time.Now()))
				feed.expect(t, knownChange, KindChange)
				if err := owner.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
					t.Fatal(err)
				}
				book.expect(t, lost)
				feed.expectLook(t)
				book.expect(t, back)
			}
			feed.expectNothing(t)
			book.expectNothing(t)
		})
	}
}

func TestAWrongPasswordIsOneWarningAndTriedAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	owner := newClient(t, server.URL())
	if err := owner.Do(t.Context(), "ACL", "SETUSER", "beat", "on", ">other", "allchannels", "+publish", "+subscribe").Err(); err != nil {
		t.Fatal(err)
	}
	feed := newFeed()
	log, book := newLog(t)
	s := &Subscriber{
		Client:   newClient(t, strings.Replace(server.URL(), "redis://", "redis://beat:secret@", 1)),
		OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log,
	}
	start(t, s.Run)
	book.expect(t, lost)
	book.expectAttempts(t, 4)
	expectState(t, s, StateDown)
	feed.expectNothing(t)
	book.expectNothing(t)

	if err := owner.Do(t.Context(), "ACL", "SETUSER", "beat", ">secret").Err(); err != nil {
		t.Fatal(err)
	}
	feed.expectLook(t)
	book.expect(t, back)
	becomes(t, s, StateUp)
	book.expectNothing(t)
}

func TestAFrozenRedisIsNotCalledUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	log, book := newLog(t)
	s := &Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Heartbeat: quick, Log: log}
	start(t, s.Run)
	feed.expectLook(t)
	for range 2 {
		becomes(t, s, StateUp)
		server.Freeze()
		becomes(t, s, StateUnproven)
		book.expect(t, unproven)
		expectState(t, s, StateUnproven)
		server.Thaw()
		book.expect(t, back)
		becomes(t, s, StateUp)
	}
	// It was the same connection all the time: there was nothing to miss.
	publish(t, client, DefaultRedisChannel, encodeRedis(knownChange, time.Now()))
	feed.expect(t, knownChange, KindChange)
	feed.expectNothing(t)
	book.expectNothing(t)
}

func TestASubscriberThatAFirewallForgotIsReplaced(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	proxy := proxytest.Start(t, strings.TrimSuffix(strings.TrimPrefix(server.URL(), "redis://"), "/0"))
	feed := newFeed()
	log, book := newLog(t)
	s := &Subscriber{
		// The connections that publish are forgotten, too, and found out by this.
		Client:   newClient(t, proxy.URL(server.URL())+"?read_timeout=100ms"),
		OnChange: feed.onChange, OnMessage: feed.onMessage, Heartbeat: quick, Log: log,
	}
	start(t, s.Run)
	feed.expectLook(t)
	for range 2 {
		becomes(t, s, StateUp)
		proxy.Forget()
		if line := next(t, "loss", book.lines); line != lost && line != unproven {
			t.Errorf("the log says %q", line)
		}
		feed.expectLook(t)
		book.expect(t, back)
	}
	becomes(t, s, StateUp)
	if err := newClient(t, server.URL()).Publish(t.Context(), DefaultRedisChannel, encodeRedis(knownChange, time.Now())).Err(); err != nil {
		t.Fatal(err)
	}
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)
}

// The server loses its data, which were never ours.
func TestFlushingRedisChangesNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	log, book := newLog(t)
	s := &Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}
	start(t, s.Run)
	feed.expectLook(t)
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	publish(t, client, DefaultRedisChannel, encodeRedis(knownChange, time.Now()))
	feed.expect(t, knownChange, KindChange)
	expectState(t, s, StateUp)
	feed.expectNothing(t)
	book.expectNothing(t)
}

// Redis may cut a subscriber off that can't keep up; then it looks at everything.
func TestAFloodOfGarbageIsOutlived(t *testing.T) {
	t.Parallel()
	const n = 2000
	for name, garbage := range map[string]string{"short": "garbage", "a MiB each": strings.Repeat("x", 1<<20)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			client := newClient(t, server.URL())
			feed := newFeed()
			log, _ := newLog(t)
			s := &Subscriber{Client: newClient(t, server.URL()), OnChange: feed.onChange, OnMessage: feed.onMessage, Heartbeat: quick, Log: log}
			start(t, s.Run)
			feed.expectLook(t)
			for range n {
				if err := client.Publish(t.Context(), DefaultRedisChannel, garbage).Err(); err != nil {
					t.Fatal(err)
				}
			}
			becomes(t, s, StateUp)
			marker := schedule.Change{Op: schedule.OpDeleted, ID: theID, Version: 9}
			publish(t, client, DefaultRedisChannel, encodeRedis(marker, time.Now()))
			feed.expectAmong(t, marker)
			feed.expectNothing(t)
			expectState(t, s, StateUp)
		})
	}
}

// A process that only announces hears nothing it needs, but knows how Redis is.
func TestASubscriberMayBeThereForItsStatusAlone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	log, book := newLog(t)
	s := &Subscriber{Client: client, Log: log}
	start(t, s.Run)
	becomes(t, s, StateUp)
	publish(t, client, DefaultRedisChannel, "hello")
	server.Stop()
	book.expect(t, lost)
	expectState(t, s, StateDown)
	server.Restart()
	book.expect(t, back)
	becomes(t, s, StateUp)
	book.expectNothing(t)
}

func TestAPublisherKnowsWhetherRedisTakesWhatItSends(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	log, book := newLog(t)
	p := NewPublisher(newClient(t, server.URL()), "", log)
	outages := make(chan struct{}, 100)
	p.OnLost = func(waiting []schedule.Change) {
		if p.Healthy() {
			t.Error("healthy when it is lost")
		}
		if len(waiting) != 1 || waiting[0] != knownChange {
			t.Errorf("waiting when it is lost: %v", waiting)
		}
		outages <- struct{}{}
	}
	if !p.Healthy() {
		t.Error("unhealthy before anything was sent")
	}
	start(t, p.Run)
	for range 2 {
		server.Stop()
		if !p.Healthy() {
			t.Error("unhealthy although nothing has failed")
		}
		p.Announce(knownChange)
		next(t, "call of OnLost", outages)
		book.expect(t, lost)
		book.expectAttempts(t, 2) // more failures of the same outage
		if p.Healthy() {
			t.Error("healthy while Redis is away")
		}
		server.Restart()
		book.expect(t, back)
		if !p.Healthy() {
			t.Error("unhealthy although what waited was sent")
		}
	}
	if n := len(outages); n != 0 {
		t.Errorf("OnLost was called %d times more", n)
	}
	if (*Publisher)(nil).Healthy() {
		t.Error("no publisher is healthy")
	}
}

// encrypted is a way to the server that speaks TLS.
func encrypted(t *testing.T, server string) (url string) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	web.Close()
	listener := tls.NewListener(listen(t), &tls.Config{Certificates: web.TLS.Certificates})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			upstream, err := dial(t, strings.TrimSuffix(strings.TrimPrefix(server, "redis://"), "/0"))
			if err != nil {
				t.Errorf("relay: %v", err)
				_ = client.Close()
				return
			}
			for _, way := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
				all.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_ = way[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	return "rediss://" + listener.Addr().String() + "/0"
}

func TestRedisMayBeBehindTLS(t *testing.T) {
	t.Parallel()
	url := encrypted(t, redistest.Start(t).URL())
	client := newClient(t, url+"?skip_verify=true")
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: client, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)
	p := NewPublisher(client, "", log)
	start(t, p.Run)
	p.Announce(knownChange)
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)

	// The certificate isn't one to trust.
	var unknown *tls.CertificateVerificationError
	if err := newClient(t, url).Ping(t.Context()).Err(); !errors.As(err, &unknown) {
		t.Errorf("a stranger's certificate: %v", err)
	}
}

func TestANilPublisherAnnouncesNothing(t *testing.T) {
	t.Parallel()
	var p *Publisher
	p.Announce(knownChange)
}

func TestAWrongURLIsRefusedWithoutQuotingIt(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{
		"", "localhost:6379", "http://:hunter2@localhost", "redis://:hunter2@localhost:port", "redis://:pa/hunter2@localhost:6379/0",
		"redis://user:123/hunter2@localhost", "redis://localhost/0?password=hunter2", "redis://:hunter2@local\x7fhost",
	} {
		client, err := NewRedisClient(wrong)
		if err == nil {
			t.Errorf("%q is accepted", wrong)
			_ = client.Close()
			continue
		}
		var quoting *url.Error
		if strings.Contains(err.Error(), "hunter2") || errors.As(err, &quoting) {
			t.Errorf("%q: the error tells the password: %v", wrong, err)
		}
	}
}

// expectLookAmong waits for the zero Change among messages that may come before it.
func (f *feed) expectLookAmong(t *testing.T) { t.Helper(); f.expectAmong(t, schedule.Change{}) }

// expectAmong waits for the change among others, and forgets the kinds of those.
func (f *feed) expectAmong(t *testing.T, want schedule.Change) {
	t.Helper()
	for next(t, fmt.Sprintf("%v", want), f.changes) != want {
	}
	for {
		select {
		case <-f.kinds:
		default:
			return
		}
	}
}

func TestAPublisherSaysWhatIsWaitingWhenRedisIsLost(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	log, _ := newLog(t)
	p := NewPublisher(newClient(t, server.URL()), "", log)
	lost := make(chan []schedule.Change, 1)
	p.OnLost = func(waiting []schedule.Change) { lost <- waiting }
	server.Stop()
	var all []schedule.Change
	for n := range int64(3*batchLength + 7) {
		all = append(all, schedule.Change{Op: schedule.OpUpdated, ID: knownChange.ID, Version: n + 1})
		p.Announce(all[n])
	}
	start(t, p.Run)
	if waiting := next(t, "call of OnLost", lost); !slices.Equal(waiting, all) {
		t.Errorf("%d of %d changes are waiting", len(waiting), len(all))
	}
}

// Each time that Redis goes, what is queued is set aside to be told of.
func TestARedisThatComesAndGoesDoesNotMakeTheBacklogGrow(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Stop()
	log, _ := newLog(t)
	p := NewPublisher(newClient(t, server.URL()), "", log)
	waiting := 0
	p.OnLost = func(list []schedule.Change) { waiting = len(list) }
	for n := range 3 {
		p.failing.Store(false) // as after a batch that got through
		for range queueLength {
			p.Announce(knownChange)
		}
		if p.send(t.Context(), []schedule.Change{knownChange}) == nil {
			t.Fatal("Redis is there")
		}
		if want := 1 + min(n+1, 2)*queueLength; waiting != want {
			t.Errorf("%d changes are waiting, not %d", waiting, want)
		}
	}
	if len(p.backlog) > queueLength {
		t.Errorf("%d changes are in the backlog", len(p.backlog))
	}
	if batch := p.gather(nil); batch[0] != (schedule.Change{}) || p.Dropped() != 2*queueLength {
		t.Errorf("%d were dropped, and first comes %v", p.Dropped(), batch[0])
	}
}
