// Package redistest runs a real Redis server for a test.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// startLimit ends the wait for a server that neither serves nor gives up.
const startLimit = 30 * time.Second

// Server is a redis-server on a loopback port of its own, with nothing on disk.
// Its methods are for the test's own goroutine.
type Server struct {
	t    testing.TB
	bin  string
	dir  string
	port int
	live *process // nil when stopped
}

// process is one run of the redis-server binary.
type process struct {
	pid  int
	send func(os.Signal) error
	done chan struct{} // closed when it has ended
}

// Start runs a server until the test ends. Without a redis-server in the PATH the
// test is skipped, or fails when the environment variable CI is set.
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("this test needs redis-server: %v", err)
		}
		t.Skipf("this test needs redis-server, which `make deps` installs: %v", err)
	}
	s := &Server{t: t, bin: bin, dir: t.TempDir()}
	t.Cleanup(s.Stop)
	for range 20 {
		// Below the ports that systems give to outgoing connections: one of
		// those might take it while the server is stopped.
		s.port = 20_000 + rand.N(10_000)
		if err = s.launch(); err == nil {
			return s
		}
		if !errors.Is(err, errPortInUse) {
			break
		}
	}
	t.Fatalf("start redis-server: %v", err)
	return nil
}

// URL is what clients connect to. It stays the same for the server's life.
func (s *Server) URL() string { return "redis://" + s.addr() + "/0" }

// Stop ends the server at once and returns when it has ended. Stopping a stopped
// server does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if s.live == nil {
		return
	}
	// Not SIGTERM: a frozen server wouldn't hear it, and there is nothing to save.
	if err := s.live.send(os.Kill); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("stop redis-server: %v", err)
	}
	<-s.live.done
	s.live = nil
}

// Restart starts the server again on the same port, empty; one that still runs is
// stopped first.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.launch(); err != nil {
		s.t.Fatalf("restart redis-server: %v", err)
	}
}

// Freeze makes the server hang: connections stay, and nobody answers.
func (s *Server) Freeze() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *Server) Thaw() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.t.Helper()
	if s.live == nil {
		s.t.Fatalf("send %s to redis-server: it is stopped", sig)
	}
	if err := s.live.send(sig); err != nil {
		s.t.Fatalf("send %s to redis-server: %v", sig, err)
	}
}

func (s *Server) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

var errPortInUse = errors.New("the port is in use")

// launch starts the binary and waits until it answers, or ends.
func (s *Server) launch() error {
	log, err := os.Create(filepath.Join(s.dir, "redis.log"))
	if err != nil {
		return fmt.Errorf("make its log: %w", err)
	}
	defer log.Close()
	// It outlives the test's context: Stop ends it.
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), s.bin,
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no")
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, log, log
	cmd.SysProcAttr = childAttributes()

	p := &process{send: func(sig os.Signal) error { return cmd.Process.Signal(sig) }, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent's death that Linux reports to a child is the death of the
		// thread that started it: keep it until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, or its log says why
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	p.pid = cmd.Process.Pid
	s.live = p

	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(startLimit)
	for {
		select {
		case <-tick.C:
			if s.answers() {
				return nil
			}
		case <-p.done:
			s.live = nil
			written, _ := os.ReadFile(log.Name()) // unreadable: the error goes without
			if bytes.Contains(written, []byte("Address already in use")) {
				return fmt.Errorf("%s: %w", s.addr(), errPortInUse)
			}
			return fmt.Errorf("it ended at once: %s", written)
		case <-limit:
			written, _ := os.ReadFile(log.Name())
			return fmt.Errorf("not ready within %s: %s", startLimit, written)
		}
	}
}

// answers reports whether the server we started (and no other that has the port)
// serves.
func (s *Server) answers() bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(s.t.Context(), "tcp", s.addr())
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second)) // fails with the write that follows
	if _, err := conn.Write([]byte("INFO server\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 8<<10)
	for n := 0; n < len(answer); {
		read, err := conn.Read(answer[n:])
		if err != nil {
			return false
		}
		n += read
		if _, rest, found := bytes.Cut(answer[:n], []byte("process_id:")); found {
			if pid, _, whole := bytes.Cut(rest, []byte("\r\n")); whole {
				return string(pid) == strconv.Itoa(s.live.pid)
			}
		}
	}
	return false
}
