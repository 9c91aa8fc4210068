package jobs

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// guard keeps webhooks on the public internet. It stands where the connection is
// made and sees the address that the name resolved to, so neither a spelling of
// an address nor a name that resolves anew gets around it.
type guard struct {
	allow    []netip.Prefix // networks that may be reached, on every port
	ports    []uint16       // of the rest of the internet; with a 0: every one
	guardian *ssrf.Guardian // knows IANA's registries of special addresses
	own      func() ([]net.Addr, error)
	backends *backends
}

// wireServer is the address at which Azure's hosts serve their guests. It lies in
// public space, so no registry has it.
var wireServer = netip.MustParsePrefix("168.63.129.16/32")

// webhookPorts are those that webhooks may reach when nobody says otherwise: a
// request to any other may mean something to a server that doesn't speak HTTP.
var webhookPorts = []uint16{80, 443}

func newGuard(allow []netip.Prefix, ports []uint16, backends *backends) *guard {
	if len(ports) == 0 {
		ports = webhookPorts
	}
	return &guard{
		allow:    allow,
		ports:    ports,
		guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(wireServer)),
		own:      net.InterfaceAddrs, // asked each time: interfaces come and go
		backends: backends,
	}
}

// The settings that a refusal names.
const (
	allowSetting = "RIVERBEAT_WEBHOOK_ALLOW"
	portsSetting = "RIVERBEAT_WEBHOOK_PORTS"
)

// blockedError is an address, or a port of it, that webhooks may not reach.
type blockedError struct {
	addr    netip.Addr
	rule    string // completes "the address is …"
	port    uint16 // the address may be reached, but not on this port; 0: the address may not
	setting string // what would allow it; empty: nothing does
}

func (e *blockedError) Error() string { return e.about("address " + e.addr.String()) }

// about is the error in terms of what the author of the schedule wrote: to learn
// what a name resolves to in here is for nobody.
func (e *blockedError) about(subject string) string {
	text := fmt.Sprintf("%s is %s: not allowed", subject, e.rule)
	if e.port != 0 {
		text = fmt.Sprintf("port %d: not allowed", e.port)
	}
	if e.setting != "" {
		text += " (" + e.setting + ")"
	}
	return text
}

// control is a net.Dialer's ControlContext function: it runs once a connection,
// after the name is resolved and before anything is sent.
func (g *guard) control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("connect by %s: not allowed", network)
	}
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read the address to connect to: %w", err)
	}
	return g.check(ctx, addrPort)
}

// check is nil if the address may be reached on the port, else a *blockedError.
func (g *guard) check(ctx context.Context, to netip.AddrPort) error {
	addr := to.Addr().Unmap() // ::ffff:10.0.0.1 is 10.0.0.1 on the wire
	blocked := func(rule string) error {
		return &blockedError{addr: addr, rule: rule, setting: allowSetting}
	}
	exact, allowed := g.allows(addr)
	for _, backend := range g.backends.addresses(ctx) {
		switch {
		case backend == netip.AddrPortFrom(addr, to.Port()):
			return &blockedError{addr: addr, rule: "that of riverbeat's own PostgreSQL or Redis"}
		case backend.Addr() == addr && !exact && !addr.IsLoopback():
			return blocked("that of riverbeat's own PostgreSQL or Redis")
		}
	}
	if exact {
		return nil
	}
	if !addr.IsLoopback() { // which has networks of its own to be allowed by
		// A machine with a public address of its own would else reach, from inside
		// its firewall, whatever it serves there. A network that is allowed doesn't
		// mean the machine in it that the workers run on.
		own, err := g.own()
		if err != nil {
			return fmt.Errorf("read this machine's addresses: %w", err)
		}
		for _, a := range own {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == addr {
				return blocked("this machine's own")
			}
		}
	}
	if allowed {
		return nil
	}
	if g.guardian.SafeAddr(addr) != nil {
		return blocked(rule(addr))
	}
	if !slices.Contains(g.ports, to.Port()) && !slices.Contains(g.ports, 0) {
		return &blockedError{addr: addr, port: to.Port(), setting: portsSetting}
	}
	return nil
}

// allows reports whether the setting names the address, and whether by a network
// that it lies in. A network that is larger than loopback doesn't mean loopback,
// and none means the unspecified address, which leads there too.
func (g *guard) allows(addr netip.Addr) (exact, allowed bool) {
	if addr.IsUnspecified() {
		return false, false
	}
	for _, network := range g.allow {
		if !network.Contains(addr) || addr.IsLoopback() && !inLoopback(network) {
			continue
		}
		if network.IsSingleIP() {
			return true, true
		}
		allowed = true
	}
	return false, allowed
}

func inLoopback(network netip.Prefix) bool {
	return network.Addr().IsLoopback() && (network.IsSingleIP() || network.Addr().Is4() && network.Bits() >= 8)
}

// rule says in a word why an address isn't public.
func rule(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "unspecified"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsPrivate():
		return "private"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	case wireServer.Contains(addr):
		return "a cloud's metadata service"
	default:
		return "reserved"
	}
}

const (
	// backendsAge is how long the addresses of the backends are taken for true: a
	// fail-over moves them.
	backendsAge = 30 * time.Second
	// backendsLimit is how long it may take to look them up.
	backendsLimit = 2 * time.Second
)

// backends are the servers that riverbeat itself works with. Nil: none.
type backends struct {
	hosts    []string // host:port
	resolver *net.Resolver

	mu    sync.Mutex
	asked time.Time
	known map[string][]netip.AddrPort // by host; of one that can't be looked up, what was known last
}

func newBackends(hosts []string, resolver *net.Resolver) *backends {
	if len(hosts) == 0 {
		return nil
	}
	return &backends{hosts: hosts, resolver: resolver, known: map[string][]netip.AddrPort{}}
}

// addresses are where the backends are now.
func (b *backends) addresses(ctx context.Context) (all []netip.AddrPort) {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked.IsZero() || time.Since(b.asked) > backendsAge {
		b.asked = time.Now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backendsLimit)
		defer cancel()
		for _, host := range b.hosts {
			if found := b.lookUp(ctx, host); len(found) > 0 {
				b.known[host] = found
			}
		}
	}
	for _, host := range b.hosts {
		all = append(all, b.known[host]...)
	}
	return all
}

func (b *backends) lookUp(ctx context.Context, hostPort string) (found []netip.AddrPort) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	resolver := b.resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for _, addr := range addrs {
		found = append(found, netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(n)))
	}
	return found
}
