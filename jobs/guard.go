package jobs

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// guard keeps webhooks on the public internet. It stands where the connection is
// made and sees the address that the name resolved to, so neither a spelling of
// an address nor a name that resolves anew gets around it. Ports aren't
// restricted: what listens on a public address is public on every port.
type guard struct {
	allow    []netip.Prefix // networks that may be reached whatever they are
	guardian *ssrf.Guardian // knows IANA's registries of special addresses
	own      func() ([]net.Addr, error)
}

// wireServer is the address at which Azure's hosts serve their guests. It lies in
// public space, so no registry has it.
var wireServer = netip.MustParsePrefix("168.63.129.16/32")

func newGuard(allow []netip.Prefix) *guard {
	return &guard{
		allow:    allow,
		guardian: ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(wireServer)),
		own:      net.InterfaceAddrs, // asked each time: interfaces come and go
	}
}

// blockedError is an address that webhooks may not reach.
type blockedError struct {
	addr netip.Addr
	rule string
}

func (e *blockedError) Error() string {
	return fmt.Sprintf("address %s is %s: not allowed (RIVERBEAT_WEBHOOK_ALLOW)", e.addr, e.rule)
}

// control is a net.Dialer's Control function: it runs once a connection, after
// the name is resolved and before anything is sent.
func (g *guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("connect by %s: not allowed", network)
	}
	addrPort, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read the address to connect to: %w", err)
	}
	return g.check(addrPort.Addr())
}

// check is nil if the address may be reached, else a *blockedError.
func (g *guard) check(addr netip.Addr) error {
	addr = addr.Unmap() // ::ffff:10.0.0.1 is 10.0.0.1 on the wire
	for _, network := range g.allow {
		if network.Contains(addr) {
			return nil
		}
	}
	if g.guardian.SafeAddr(addr) != nil {
		return &blockedError{addr: addr, rule: rule(addr)}
	}
	// A machine with a public address of its own would else reach, from inside
	// its firewall, whatever it serves there.
	own, err := g.own()
	if err != nil {
		return fmt.Errorf("read this machine's addresses: %w", err)
	}
	for _, a := range own {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == addr {
			return &blockedError{addr: addr, rule: "this machine's own"}
		}
	}
	return nil
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
