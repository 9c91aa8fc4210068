// Package proxytest puts a network between a client and a server that a test can
// break.
package proxytest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy passes bytes on between a loopback port of its own and a server. Its
// methods may be called by several goroutines at once.
type Proxy struct {
	listener net.Listener
	target   string
	ctx      context.Context // ends with the proxy
	all      sync.WaitGroup

	mu     sync.Mutex
	gate   chan struct{} // closed while bytes may pass
	frozen bool
	era    chan struct{} // closed by the next Forget
	open   map[net.Conn]struct{}
}

// Start passes on to the target ("127.0.0.1:5432") until the test ends.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start a proxy: %v", err)
	}
	// It outlives the test's own context: what the test's cleanups end uses it.
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p := &Proxy{listener: listener, target: target, ctx: ctx, gate: make(chan struct{}), era: make(chan struct{}), open: map[net.Conn]struct{}{}}
	close(p.gate)
	p.all.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		p.Cut()
		p.all.Wait()
	})
	return p
}

// Addr is what clients connect to, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// URL is the server's URL with the proxy's address in place of the server's.
func (p *Proxy) URL(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		panic("proxytest: " + err.Error()) // a mistake of the test
	}
	u.Host = p.Addr()
	return u.String()
}

// Freeze is a network that lost its way: connections stay, new ones are accepted,
// and nothing comes through in either direction, nor that somebody hung up.
func (p *Proxy) Freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.frozen {
		p.frozen, p.gate = true, make(chan struct{})
	}
}

// Thaw ends a Freeze. What was held up comes through.
func (p *Proxy) Thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen {
		p.frozen = false
		close(p.gate)
	}
}

// Forget is a firewall that lost its table: the open connections hang for good,
// new ones are fine.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.era)
	p.era = make(chan struct{})
}

// Cut closes every connection. New ones are welcome.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.all.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.enter(client)()
	p.mu.Lock()
	era := p.era
	p.mu.Unlock()
	if !p.pass(era) {
		return
	}
	server, err := (&net.Dialer{}).DialContext(p.ctx, "tcp", p.target)
	if err != nil {
		return // the client sees a server that hangs up
	}
	defer p.enter(server)()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			p.forward(way[0], way[1], era)
			_ = client.Close()
			_ = server.Close()
		})
	}
	both.Wait()
}

// enter has Cut close the connection too. What it returns closes and forgets it.
func (p *Proxy) enter(conn net.Conn) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[conn] = struct{}{}
	if p.ctx.Err() != nil { // the last Cut was before
		_ = conn.Close()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = conn.Close()
		delete(p.open, conn)
	}
}

func (p *Proxy) forward(from, to net.Conn, era <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !p.pass(era) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until bytes of a connection of that era may pass. It is false at the
// proxy's end.
func (p *Proxy) pass(era <-chan struct{}) bool {
	p.mu.Lock()
	gate := p.gate
	p.mu.Unlock()
	select {
	case <-gate:
	case <-p.ctx.Done():
	}
	select {
	case <-era:
		<-p.ctx.Done()
	default:
	}
	return p.ctx.Err() == nil
}
