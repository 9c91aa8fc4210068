package proxytest_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/wake/proxytest"
)

// echo is a server that sends each line back.
func echo(t *testing.T) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// client is a connection whose answers a test waits for.
type client struct {
	net.Conn
	lines chan string // closed when the connection is
}

func connect(t *testing.T, p *proxytest.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &client{conn, make(chan string, 10)}
	go func() {
		defer close(c.lines)
		for in := bufio.NewScanner(conn); in.Scan(); {
			c.lines <- in.Text()
		}
	}()
	return c
}

func (c *client) say(t *testing.T, line string) {
	t.Helper()
	if _, err := fmt.Fprintln(c, line); err != nil {
		t.Fatal(err)
	}
}

func (c *client) hears(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-c.lines:
		if got != want {
			t.Fatalf("heard %q, not %q", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("%q wasn't heard", want)
	}
}

func TestWhatIsFrozenComesThroughAfterTheThaw(t *testing.T) {
	t.Parallel()
	p := proxytest.Start(t, echo(t))
	before := connect(t, p)
	before.say(t, "1")
	before.hears(t, "1")
	p.Freeze()
	p.Freeze() // does nothing
	during := connect(t, p)
	before.say(t, "2")
	during.say(t, "3")
	select {
	case line := <-before.lines:
		t.Fatalf("%q came through", line)
	case line := <-during.lines:
		t.Fatalf("%q came through", line)
	case <-time.After(50 * time.Millisecond): // there is no event to wait for
	}
	p.Thaw()
	before.hears(t, "2")
	during.hears(t, "3")
}

func TestACutClosesWhatIsOpenAndNothingElse(t *testing.T) {
	t.Parallel()
	p := proxytest.Start(t, echo(t))
	c := connect(t, p)
	c.say(t, "1")
	c.hears(t, "1")
	p.Cut()
	c.hears(t, "") // closed
	again := connect(t, p)
	again.say(t, "2")
	again.hears(t, "2")
	p.Freeze()
	p.Cut() // a test may also end frozen
	again.hears(t, "")
	connect(t, p)
}

func TestWhatIsForgottenHangsAndWhatIsNewDoesNot(t *testing.T) {
	t.Parallel()
	p := proxytest.Start(t, echo(t))
	before := connect(t, p)
	before.say(t, "1")
	before.hears(t, "1")
	p.Forget()
	before.say(t, "2")
	after := connect(t, p)
	after.say(t, "3")
	after.hears(t, "3")
	select {
	case line := <-before.lines:
		t.Fatalf("%q came through", line)
	case <-time.After(50 * time.Millisecond): // there is no event to wait for
	}
	p.Cut()
	before.hears(t, "")
}

func TestItsURLLeadsThroughIt(t *testing.T) {
	t.Parallel()
	p := proxytest.Start(t, "127.0.0.1:5432")
	if got, want := p.URL("postgres://me:secret@127.0.0.1:5432/db?sslmode=disable"), "postgres://me:secret@"+p.Addr()+"/db?sslmode=disable"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
