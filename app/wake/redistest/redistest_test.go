package redistest_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/riverbeat/riverbeat/app/wake/redistest"
)

func newClient(t *testing.T, s *redistest.Server) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries, options.ContextTimeoutEnabled = -1, true
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestAServerRestartsOnItsPortAndEmpty(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	url := s.URL()
	if err := newClient(t, s).Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop() // does nothing
	addr := strings.TrimSuffix(strings.TrimPrefix(url, "redis://"), "/0")
	var dialer net.Dialer
	if conn, err := dialer.DialContext(t.Context(), "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a stopped server is reached: %v, %v", conn, err)
	}
	s.Restart()
	if s.URL() != url {
		t.Errorf("the URL was %s and is %s", url, s.URL())
	}
	client := newClient(t, s)
	if n, err := client.DBSize(t.Context()).Result(); n != 0 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart() // of one that runs
	if n, err := newClient(t, s).DBSize(t.Context()).Result(); n != 0 || err != nil {
		t.Errorf("%d keys, %v", n, err)
	}
}

func TestAFrozenServerKeepsItsConnectionsAndIsSilent(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	client := newClient(t, s)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := client.Ping(ctx).Err(); !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("a frozen server answered, or refused: %v", err)
	}
	s.Thaw()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after the thaw: %v", err)
	}
	s.Freeze() // the end of the test stops it all the same
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

func TestServersDoNotMeet(t *testing.T) {
	t.Parallel()
	a, b := redistest.Start(t), redistest.Start(t)
	if a.URL() == b.URL() {
		t.Fatal("two servers have one URL")
	}
	a.Stop()
	if err := newClient(t, b).Ping(t.Context()).Err(); err != nil {
		t.Errorf("stopping one hurt the other: %v", err)
	}
}
