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

	"github.com/riverqueue/river/rivertype"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

// nameServer is a DNS server that knows these names only. A name's answers are
// given one a question, the last one for ever. One that isn't an address is another
// name, of which the first is an alias.
func nameServer(t *testing.T, names map[string][]string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	asked := map[string]int{}
	var mu sync.Mutex
	var answer func(name string, ofType dnsmessage.Type) (aliases []string, addr netip.Addr, known bool)
	answer = func(name string, ofType dnsmessage.Type) (aliases []string, addr netip.Addr, known bool) {
		answers := names[name]
		if len(answers) == 0 {
			return nil, netip.Addr{}, false
		}
		text := answers[min(asked[name], len(answers)-1)]
		addr, err := netip.ParseAddr(text)
		if err != nil {
			aliases, addr, known = answer(text, ofType)
			return append([]string{text}, aliases...), addr, known
		}
		if addr.Is4() == (ofType == dnsmessage.TypeA) {
			asked[name]++
			return nil, addr, true
		}
		return nil, netip.Addr{}, true // known, but not of this type
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
			mu.Lock()
			aliases, addr, known := answer(strings.TrimSuffix(q.Name.String(), "."), q.Type)
			mu.Unlock()
			name := q.Name
			for _, alias := range aliases {
				to := dnsmessage.MustNewName(alias + ".")
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeCNAME, Class: q.Class}, Body: &dnsmessage.CNAMEResource{CNAME: to}})
				name = to
			}
			header := dnsmessage.ResourceHeader{Name: name, Type: q.Type, Class: q.Class}
			switch {
			case !known:
				m.RCode = dnsmessage.RCodeNameError
			case addr.Is4():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
			case addr.Is6():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
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
		"xn--fsq.example": {"192.168.0.1"}, "alias.example": {"private.example"}, "chain.example": {"alias.example"},
		"loop.example": {"localtest.example"}, "mapped-metadata.example": {"::ffff:169.254.169.254"}, "nat64.example": {"64:ff9b::10.0.0.1"},
		"unspecified.example": {"0.0.0.0"}, "multicast.example": {"239.1.1.1"},
	})
	port, hits := loopbackServer(t)
	pool := dbtest.Pool(t)
	client := work(t, pool, ClientConfig{resolver: resolver, WebhookPorts: []uint16{0}})

	// By the rule that it falls under; a name doesn't say what it resolves to.
	const (
		allow       = ": not allowed (RIVERBEAT_WEBHOOK_ALLOW)"
		loopback    = "is loopback" + allow
		private     = "is private" + allow
		linkLocal   = "is link-local" + allow
		reserved    = "is reserved" + allow
		multicast   = "is multicast" + allow
		unspecified = "is unspecified" + allow
		metadata    = "is a cloud's metadata service" + allow
		name        = "send the webhook: the host's address "
		refused     = "read the job's arguments: job.args.url"
		unknown     = "send the webhook: look up" // Go asks no name server about a name that is all numbers
	)
	for _, test := range []struct{ host, want string }{
		// loopback, in every way it can be written
		{"127.0.0.1", "address 127.0.0.1 " + loopback},
		{"127.0.0.2", "address 127.0.0.2 " + loopback},
		{"127.255.255.254", loopback},
		{"127.0.0.1.", unknown},
		{"127.1", unknown},
		{"127.0.1", unknown},
		{"2130706433", unknown},
		{"0x7f000001", name + loopback},
		{"0x7f.1", name + loopback},
		{"0x7f.0x0.0x0.0x1", name + loopback},
		{"017700000001", unknown},
		{"0177.0.0.1", unknown},
		{"0177.0000.0000.0001", unknown},
		{"①②⑦.⓪.⓪.①", loopback},
		{"127。0。0。1", loopback},
		{"１２７.0.0.1", loopback},
		{"١٢٧.٠.٠.١", unknown},
		{"localhost", name + loopback},
		{"LOCALHOST", name + loopback},
		{"localhost.", name + loopback},
		{"localtest.example", name + loopback},
		{"localtest.example.", name + loopback},
		{"%6c%6f%63%61%6c%68%6f%73%74", refused},
		{"%31%32%37.0.0.1", refused},
		{"[::1]", "address ::1 " + loopback},
		{"[0:0:0:0:0:0:0:1]", loopback},
		{"[0000:0000:0000:0000:0000:0000:0000:0001]", loopback},
		{"six.example", name + loopback},
		// IPv4 inside IPv6
		{"[::ffff:127.0.0.1]", "address 127.0.0.1 " + loopback},
		{"[::ffff:7f00:1]", loopback},
		{"[0:0:0:0:0:ffff:127.0.0.1]", loopback},
		{"mapped.example", name + loopback},
		{"mapped-metadata.example", name + linkLocal},
		{"nat64.example", name + reserved},
		{"[::127.0.0.1]", reserved},
		{"[64:ff9b::127.0.0.1]", reserved},
		{"[64:ff9b::7f00:1]", reserved},
		{"[64:ff9b:1::7f00:1]", reserved},
		{"[2002:7f00:1::]", reserved},
		{"[2002:a9fe:a9fe::]", reserved},
		{"[2001:0:7f00:1::]", reserved},
		{"[2001::1]", reserved},
		// nothing in particular
		{"0.0.0.0", unspecified},
		{"0", unknown},
		{"0.1.2.3", reserved},
		{"[::]", unspecified},
		{"255.255.255.255", reserved},
		{"unspecified.example", name + unspecified},
		// private and shared networks
		{"10.0.0.1", private},
		{"172.16.0.1", private},
		{"172.31.255.255", private},
		{"192.168.1.1", private},
		{"100.64.0.1", reserved},
		{"private.example", name + private},
		{"alias.example", name + private},
		{"chain.example", name + private},
		{"loop.example", name + loopback},
		{"xn--fsq.example", name + private},
		{"例.example", name + private},
		{"[fc00::1]", private},
		{"[fd12:3456::1]", private},
		{"[fec0::1]", reserved},
		// link-local, and what clouds keep there
		{"169.254.169.254", linkLocal},
		{"169.254.170.2", linkLocal},
		{"[::ffff:169.254.169.254]", linkLocal},
		{"[64:ff9b::a9fe:a9fe]", reserved},
		{"[fe80::1]", linkLocal},
		{"[fd00:ec2::254]", private},
		{"100.100.100.200", reserved},
		{"192.0.0.192", reserved},
		{"168.63.129.16", metadata},
		{"[::ffff:168.63.129.16]", metadata},
		{"wire.example", name + metadata},
		{"metadata.example", name + linkLocal},
		// multicast, reserved and documentation
		{"224.0.0.1", multicast},
		{"239.255.255.250", multicast},
		{"multicast.example", name + multicast},
		{"[ff02::1]", multicast},
		{"240.0.0.1", reserved},
		{"198.18.0.1", reserved},
		{"192.0.2.1", reserved},
		{"[2001:db8::1]", reserved},
		{"[3fff::1]", reserved},
		// what isn't a host at all
		{"[fe80::1%25lo]", refused},
		{"[::1%25lo]", refused},
		{"a@127.0.0.1", refused},
		{"example.com:80@127.0.0.1", refused},
		{"[127.0.0.1]", refused},
		{"[::ffff:0x7f.1]", refused},
		{"127.0.0.1\\\\.example", refused},
		{"127.0.0.1 .example", refused},
		{"127.0.0.1\\t", refused},
		{"127.0.0.1\\u0001", refused},
		{"", refused},
		{"no-such-host.example", unknown},
		{"0x7f.0.0.0x1.example", unknown},
	} {
		args := `{"method": "GET", "url": "http://` + test.host + ":" + port + `/"}`
		job := client.next(t, insert(t, pool, aSchedule(KindWebhook, args)))
		if job.State == rivertype.JobStateCompleted || !strings.Contains(lastError(job), test.want) {
			t.Errorf("%s: the job is %s: %s\nwant %s", args, job.State, lastError(job), test.want)
		}
		if strings.HasPrefix(test.want, name) {
			if text := lastError(job) + string(job.Metadata); strings.Contains(text, "10.1.2.3") || strings.Contains(text, "169.254") {
				t.Errorf("%s tells what the name resolves to: %s", args, text)
			}
		}
	}
	if n := hits.Load(); n != 0 {
		t.Fatalf("%d requests reached the server", n)
	}
}

func TestWhatIsAllowedIsReachedAndNothingBesides(t *testing.T) {
	t.Parallel()
	resolver := nameServer(t, map[string][]string{"localtest.example": {"127.0.0.1"}, "alias.example": {"localtest.example"}})
	port, hits := loopbackServer(t)
	allowed := newWebhookWorker(webhookConfig{allow: loopback, resolver: resolver})
	reached := []string{"127.0.0.1", "localtest.example", "alias.example", "[::ffff:127.0.0.1]"}
	for _, host := range reached {
		if err := tryHost(t, allowed, "http://"+host+":"+port+"/"); err != nil {
			t.Errorf("with loopback allowed, %s: %v", host, err)
		}
	}
	if n := hits.Load(); n != int64(len(reached)) {
		t.Errorf("with loopback allowed, %d requests reached the server, want %d", n, len(reached))
	}
	for host, want := range map[string]string{
		"10.0.0.1": "address 10.0.0.1 is private: not allowed (RIVERBEAT_WEBHOOK_ALLOW)",
		"0.0.0.0":  "address 0.0.0.0 is unspecified: not allowed (RIVERBEAT_WEBHOOK_ALLOW)",
	} {
		if err := tryHost(t, allowed, "http://"+host+":"+port+"/"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("with loopback allowed, %s: %v", host, err)
		}
	}
	// Everything is allowed, but neither this machine nor a way to it.
	everything := newWebhookWorker(webhookConfig{allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	for _, host := range []string{"127.0.0.1", "[::1]", "0.0.0.0", "[::]"} {
		if err := tryHost(t, everything, "http://"+host+":"+port+"/"); err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("with everything allowed, %s: %v", host, err)
		}
	}
	if n := hits.Load(); n != int64(len(reached)) {
		t.Errorf("%d requests reached the server besides", n-int64(len(reached)))
	}
}

// The guard alone: no test may reach the internet.
func TestThePublicInternetIsAllowedOnItsPorts(t *testing.T) {
	t.Parallel()
	try := func(g *guard, address string) error {
		network := "tcp4"
		if strings.HasPrefix(address, "[") {
			network = "tcp6"
		}
		return g.control(t.Context(), network, address, nil)
	}
	g := newGuard(nil, nil, nil)
	for _, address := range []string{"8.8.8.8:80", "1.1.1.1:443", "[2606:4700:4700::1111]:443", "[::ffff:8.8.8.8]:443"} {
		if err := try(g, address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"8.8.8.8:25", "8.8.8.8:6379", "8.8.8.8:8443", "[2606:4700:4700::1111]:22"} {
		if err := try(g, address); err == nil || !strings.HasSuffix(err.Error(), ": not allowed (RIVERBEAT_WEBHOOK_PORTS)") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, ports := range [][]uint16{{8443}, {0}} {
		if err := try(newGuard(nil, ports, nil), "8.8.8.8:8443"); err != nil {
			t.Errorf("with the ports %v: %v", ports, err)
		}
	}
	if err := try(newGuard([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, nil, nil), "10.1.2.3:9000"); err != nil {
		t.Errorf("in a network that is allowed: %v", err)
	}
	if err := g.control(t.Context(), "udp4", "8.8.8.8:53", nil); err == nil {
		t.Error("UDP is allowed")
	}
}

func TestRiverbeatsOwnServersAreBlocked(t *testing.T) {
	t.Parallel()
	resolver := nameServer(t, map[string][]string{"pg.example": {"10.1.0.5"}, "redis.example": {"8.8.4.4"}})
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}
	hosts := []string{"pg.example:5432", "redis.example:6379", "127.0.0.1:5432", "unknown.example:1", "nonsense"}
	for _, test := range []struct {
		allow []netip.Prefix
		to    string
		want  string // nothing: it is allowed
	}{
		{networks, "10.1.0.5:5432", "address 10.1.0.5 is that of riverbeat's own PostgreSQL or Redis: not allowed"},
		{networks, "10.1.0.5:8008", "address 10.1.0.5 is that of riverbeat's own PostgreSQL or Redis: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{networks, "10.1.0.6:5432", ""},
		{networks, "8.8.4.4:443", "address 8.8.4.4 is that of riverbeat's own PostgreSQL or Redis: not allowed (RIVERBEAT_WEBHOOK_ALLOW)"},
		{networks, "127.0.0.1:5432", "address 127.0.0.1 is that of riverbeat's own PostgreSQL or Redis: not allowed"},
		{networks, "127.0.0.1:8080", ""},
		// By its own address only what stands beside them.
		{[]netip.Prefix{netip.MustParsePrefix("10.1.0.5/32")}, "10.1.0.5:8008", ""},
		{[]netip.Prefix{netip.MustParsePrefix("10.1.0.5/32")}, "10.1.0.5:5432", "address 10.1.0.5 is that of riverbeat's own PostgreSQL or Redis: not allowed"},
		{[]netip.Prefix{netip.MustParsePrefix("10.1.0.5/32")}, "[::ffff:10.1.0.5]:5432", "address 10.1.0.5 is that of riverbeat's own PostgreSQL or Redis: not allowed"},
	} {
		g := newGuard(test.allow, nil, newBackends(hosts, resolver))
		err := g.check(t.Context(), netip.MustParseAddrPort(test.to))
		if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) {
			t.Errorf("%v allowed, %s: got %v, want %q", test.allow, test.to, err, test.want)
		}
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
	if err := newGuard(nil, nil, nil).check(t.Context(), netip.AddrPortFrom(first[0], 80)); err != nil {
		t.Fatalf("the first answer %s should be public: %v", first[0], err)
	}
	err = tryHost(t, newWebhookWorker(webhookConfig{resolver: resolver}), "http://rebind.example:"+port+"/")
	var blocked *blockedError
	if !errors.As(err, &blocked) || !blocked.addr.IsLoopback() {
		t.Errorf("got %v, want loopback to be blocked", err)
	}
	if hits.Load() != 0 {
		t.Error("the request reached the server")
	}
}

func TestThisMachinesOwnAddressIsBlocked(t *testing.T) {
	t.Parallel()
	try := func(g *guard, address string) error { return g.check(t.Context(), netip.MustParseAddrPort(address)) }
	own := func() ([]net.Addr, error) {
		return []net.Addr{
			&net.IPNet{IP: net.IPv4(8, 8, 4, 4), Mask: net.CIDRMask(24, 32)},
			&net.IPNet{IP: net.IPv4(10, 1, 0, 7), Mask: net.CIDRMask(16, 32)},
		}, nil
	}
	g := newGuard([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, nil, nil)
	g.own = own
	for _, address := range []string{"8.8.4.4:80", "10.1.0.7:80"} {
		if err := try(g, address); err == nil || !strings.Contains(err.Error(), "this machine's own") {
			t.Errorf("%s: got %v", address, err)
		}
	}
	for _, address := range []string{"8.8.4.5:80", "10.1.0.8:80"} {
		if err := try(g, address); err != nil {
			t.Errorf("the neighbour %s: %v", address, err)
		}
	}
	named := newGuard([]netip.Prefix{netip.MustParsePrefix("10.1.0.7/32")}, nil, nil)
	named.own = own
	if err := try(named, "10.1.0.7:80"); err != nil {
		t.Errorf("named by its address: %v", err)
	}
	g.own = func() ([]net.Addr, error) { return nil, errors.New("no interfaces") }
	if err := try(g, "8.8.4.5:80"); err == nil {
		t.Error("an address was allowed that couldn't be checked")
	}
}

func TestProxyVariablesChangeNothing(t *testing.T) { // sets the environment, so it isn't parallel
	var asked atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	w := newWebhookWorker(webhookConfig{allow: loopback, resolver: nameServer(t, map[string][]string{"internal.example": {"10.0.0.1"}})})
	if err := tryHost(t, w, "http://internal.example/"); err == nil || !strings.Contains(err.Error(), "the host's address is private") {
		t.Errorf("got %v, want the address to be blocked", err)
	}
	if asked.Load() != 0 {
		t.Error("the proxy was asked")
	}
}
