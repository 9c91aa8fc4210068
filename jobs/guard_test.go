package jobs

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a DNS server that knows these names only. A name's answers are
// given one a question, the last one for ever.
func nameServer(t *testing.T, names map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	asked := map[string]int{}
	var mu sync.Mutex
	answer := func(q dnsmessage.Question) (netip.Addr, bool) {
		mu.Lock()
		defer mu.Unlock()
		name := strings.TrimSuffix(q.Name.String(), ".")
		answers := names[name]
		if len(answers) == 0 {
			return netip.Addr{}, false
		}
		addr := netip.MustParseAddr(answers[min(asked[name], len(answers)-1)])
		if addr.Is4() == (q.Type == dnsmessage.TypeA) {
			asked[name]++
			return addr, true
		}
		return netip.Addr{}, true // known, but not of this type
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Authoritative, m.RecursionAvailable, m.Additionals = true, true, true, nil
			switch addr, known := answer(q); {
			case !known:
				m.RCode = dnsmessage.RCodeNameError
			case addr.Is4():
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: addr.As4()}}}
			case addr.Is6():
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}}}
			}
			if packed, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(packed, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

// loopbackServer listens on both loopback addresses, on one port, and counts.
func loopbackServer(t *testing.T) (port string, hits *atomic.Int64) {
	t.Helper()
	hits = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if six, err := net.Listen("tcp6", "[::1]:"+port); err == nil { // machines without IPv6 test less
		second := &http.Server{Handler: server.Config.Handler}
		go func() { _ = second.Serve(six) }()
		t.Cleanup(func() { second.Close() })
	}
	return port, hits
}

// tryHost sends a webhook there: through the checks of the arguments, the resolver,
// the dialer and its guard.
func tryHost(t *testing.T, w *webhookWorker, webhookURL string) error {
	t.Helper()
	a := WebhookArgs{URL: webhookURL, Method: http.MethodGet, Timeout: webhookTimeoutMax}
	if wrong := a.Validate(); len(wrong) > 0 {
		return invalid(wrong)
	}
	_, err := w.send(t.Context(), a, RunMetadata{RunID: "r"})
	return err
}

func TestNoSpellingOfAnAddressGetsPastTheGuard(t *testing.T) {
	t.Parallel()
	// A name server that spells addresses as generously as some C libraries do.
	resolver := nameServer(t, map[string][]string{
		"127.1": {"127.0.0.1"}, "127.0.1": {"127.0.0.1"}, "2130706433": {"127.0.0.1"},
		"0x7f000001": {"127.0.0.1"}, "0x7f.1": {"127.0.0.1"}, "0x7f.0x0.0x0.0x1": {"127.0.0.1"},
		"017700000001": {"127.0.0.1"}, "0177.0.0.1": {"127.0.0.1"}, "0177.0000.0000.0001": {"127.0.0.1"},
		"127.0.0.1": {"127.0.0.1"}, "0": {"0.0.0.0"}, "localhost": {"127.0.0.1"}, "localtest.example": {"127.0.0.1"},
		"six.example": {"::1"}, "mapped.example": {"::ffff:127.0.0.1"}, "private.example": {"10.1.2.3"},
		"169.254.169.254": {"169.254.169.254"}, "metadata.example": {"169.254.169.254"}, "wire.example": {"168.63.129.16"},
		"xn--fsq.example": {"192.168.0.1"},
	})
	port, hits := loopbackServer(t)
	w := newWebhookWorker(nil, "riverbeat", resolver)

	const (
		blocked = "not allowed (RIVERBEAT_WEBHOOK_ALLOW)"
		refused = "job.args.url"
		unknown = "look up" // Go asks no name server about a name that is all numbers
	)
	for _, test := range []struct{ host, want string }{
		// loopback, in every way it can be written
		{"127.0.0.1", blocked},
		{"127.0.0.2", blocked},
		{"127.255.255.254", blocked},
		{"127.0.0.1.", unknown},
		{"127.1", unknown},
		{"127.0.1", unknown},
		{"2130706433", unknown},
		{"0x7f000001", blocked},
		{"0x7f.1", blocked},
		{"0x7f.0x0.0x0.0x1", blocked},
		{"017700000001", unknown},
		{"0177.0.0.1", unknown},
		{"0177.0000.0000.0001", unknown},
		{"①②⑦.⓪.⓪.①", blocked},
		{"127。0。0。1", blocked},
		{"１２７.0.0.1", blocked},
		{"localhost", blocked},
		{"LOCALHOST", blocked},
		{"localhost.", blocked},
		{"localtest.example", blocked},
		{"localtest.example.", blocked},
		{"%6c%6f%63%61%6c%68%6f%73%74", refused},
		{"%31%32%37.0.0.1", refused},
		{"[::1]", blocked},
		{"[0:0:0:0:0:0:0:1]", blocked},
		{"[0000:0000:0000:0000:0000:0000:0000:0001]", blocked},
		{"six.example", blocked},
		// IPv4 inside IPv6
		{"[::ffff:127.0.0.1]", blocked},
		{"[::ffff:7f00:1]", blocked},
		{"[0:0:0:0:0:ffff:127.0.0.1]", blocked},
		{"mapped.example", blocked},
		{"[::127.0.0.1]", blocked},
		{"[64:ff9b::127.0.0.1]", blocked},
		{"[64:ff9b::7f00:1]", blocked},
		{"[64:ff9b:1::7f00:1]", blocked},
		{"[2002:7f00:1::]", blocked},
		{"[2002:a9fe:a9fe::]", blocked},
		{"[2001:0:7f00:1::]", blocked},
		{"[2001::1]", blocked},
		// nothing in particular
		{"0.0.0.0", blocked},
		{"0", unknown},
		{"0.1.2.3", blocked},
		{"[::]", blocked},
		{"255.255.255.255", blocked},
		// private and shared networks
		{"10.0.0.1", blocked},
		{"172.16.0.1", blocked},
		{"172.31.255.255", blocked},
		{"192.168.1.1", blocked},
		{"100.64.0.1", blocked},
		{"private.example", blocked},
		{"[fc00::1]", blocked},
		{"[fd12:3456::1]", blocked},
		{"[fec0::1]", blocked},
		// link-local, and what clouds keep there
		{"169.254.169.254", blocked},
		{"169.254.170.2", blocked},
		{"[::ffff:169.254.169.254]", blocked},
		{"[64:ff9b::a9fe:a9fe]", blocked},
		{"[fe80::1]", blocked},
		{"[fd00:ec2::254]", blocked},
		{"100.100.100.200", blocked},
		{"192.0.0.192", blocked},
		{"168.63.129.16", blocked},
		{"[::ffff:168.63.129.16]", blocked},
		{"wire.example", blocked},
		{"metadata.example", blocked},
		// multicast, reserved and documentation
		{"224.0.0.1", blocked},
		{"239.255.255.250", blocked},
		{"[ff02::1]", blocked},
		{"240.0.0.1", blocked},
		{"198.18.0.1", blocked},
		{"192.0.2.1", blocked},
		{"[2001:db8::1]", blocked},
		{"[3fff::1]", blocked},
		// what isn't a host at all
		{"[fe80::1%25lo]", refused},
		{"[::1%25lo]", refused},
		{"a@127.0.0.1", refused},
		{"example.com:80@127.0.0.1", refused},
		{"[127.0.0.1]", refused},
		{"[::ffff:0x7f.1]", refused},
		{"127.0.0.1\\.example", refused},
		{"127.0.0.1 .example", refused},
		{"127.0.0.1\t", refused},
		{"", refused},
		{"no-such-host.example", unknown},
		{"0x7f.0.0.0x1.example", unknown},
	} {
		webhookURL := "http://" + test.host + ":" + port + "/"
		if err := tryHost(t, w, webhookURL); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", webhookURL, err, test.want)
		}
	}
	if n := hits.Load(); n != 0 {
		t.Fatalf("%d requests reached the server", n)
	}

	allowed := newWebhookWorker(loopback, "riverbeat", resolver)
	for _, host := range []string{"127.0.0.1", "localtest.example", "[::ffff:127.0.0.1]"} {
		if err := tryHost(t, allowed, "http://"+host+":"+port+"/"); err != nil {
			t.Errorf("with loopback allowed, %s: %v", host, err)
		}
	}
	if n := hits.Load(); n != 3 {
		t.Errorf("with loopback allowed, %d requests reached the server, want 3", n)
	}
	if err := tryHost(t, allowed, "http://10.0.0.1:"+port+"/"); err == nil || !strings.Contains(err.Error(), "address 10.0.0.1 is private: not allowed (RIVERBEAT_WEBHOOK_ALLOW)") {
		t.Errorf("with loopback allowed, 10.0.0.1: %v", err)
	}
}

func TestANameThatResolvesAnewIsCheckedAnew(t *testing.T) {
	t.Parallel()
	resolver := nameServer(t, map[string][]string{"rebind.example": {"8.8.8.8", "127.0.0.1"}})
	port, hits := loopbackServer(t)

	first, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example")
	if err != nil {
		t.Fatal(err)
	}
	if err := newGuard(nil).check(first[0]); err != nil {
		t.Fatalf("the first answer %s should be public: %v", first[0], err)
	}
	err = tryHost(t, newWebhookWorker(nil, "riverbeat", resolver), "http://rebind.example:"+port+"/")
	var blocked *blockedError
	if !errors.As(err, &blocked) || !blocked.addr.IsLoopback() {
		t.Errorf("got %v, want loopback to be blocked", err)
	}
	if hits.Load() != 0 {
		t.Error("the request reached the server")
	}
}

func TestThePublicInternetIsAllowedOnEveryPort(t *testing.T) {
	t.Parallel()
	g := newGuard(nil)
	for _, address := range []string{"8.8.8.8:80", "1.1.1.1:443", "9.9.9.9:8443", "[2606:4700:4700::1111]:443", "[::ffff:8.8.8.8]:443"} {
		network := "tcp4"
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		if err := g.control(network, address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	if err := g.control("udp4", "8.8.8.8:53", nil); err == nil {
		t.Error("UDP is allowed")
	}
}

func TestThisMachinesPublicAddressIsBlocked(t *testing.T) {
	t.Parallel()
	g := newGuard(nil)
	g.own = func() ([]net.Addr, error) {
		return []net.Addr{&net.IPNet{IP: net.IPv4(8, 8, 4, 4), Mask: net.CIDRMask(24, 32)}}, nil
	}
	if err := g.check(netip.MustParseAddr("8.8.4.4")); err == nil || !strings.Contains(err.Error(), "this machine's own") {
		t.Errorf("got %v", err)
	}
	if err := g.check(netip.MustParseAddr("8.8.4.5")); err != nil {
		t.Errorf("the neighbour: %v", err)
	}
	g.own = func() ([]net.Addr, error) { return nil, errors.New("no interfaces") }
	if err := g.check(netip.MustParseAddr("8.8.4.5")); err == nil {
		t.Error("an address was allowed that couldn't be checked")
	}
}

func TestProxyVariablesChangeNothing(t *testing.T) { // sets the environment, so it isn't parallel
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	w := newWebhookWorker(loopback, "riverbeat", nameServer(t, map[string][]string{"internal.example": {"10.0.0.1"}}))
	if err := tryHost(t, w, "http://internal.example/"); err == nil || !strings.Contains(err.Error(), "10.0.0.1 is private") {
		t.Errorf("got %v, want the address to be blocked", err)
	}
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
}
