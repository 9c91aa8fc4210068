package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dial is a connection to the process, on which the test writes what it likes.
func (p *process) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	if err := conn.SetDeadline(time.Now().Add(45 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// answer reads what comes back; nil: the connection was closed without a word.
func answer(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Logf("the answer ends early: %v", err) // the server has closed on who sends too much
	}
	return response, string(text)
}

const head = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"

// What isn't HTTP, or too much of it, is refused by the server itself, and it goes on.
func TestWhatIsNoRequestIsRefused(t *testing.T) {
	t.Parallel()
	p := newHouse(t).start("RIVERBEAT_ROLES=api")
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := w.Write([]byte(`{"name": "n", "spec": {"every": "5m"}, "job": {"kind": "k"}}`)); err != nil || w.Close() != nil {
		t.Fatal("can't be compressed")
	}
	post := func(body, more string) string {
		return fmt.Sprintf("POST /v1/schedules HTTP/1.1\r\n%s%sContent-Length: %d\r\n\r\n%s", head, more, len(body), body)
	}
	for name, row := range map[string]struct {
		sent   string
		status int
	}{
		"no HTTP":                    {"hello\r\n\r\n", 400},
		"TLS":                        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"NUL in the path":            {"GET /v1/\x00 HTTP/1.1\r\n" + head + "\r\n", 400},
		"NUL, escaped":               {"GET /v1/schedules/name:%00 HTTP/1.1\r\n" + head + "\r\n", 404},
		"a bad escape in the path":   {"GET /v1/schedules/%zz HTTP/1.1\r\n" + head + "\r\n", 400},
		"a bad escape in the query":  {"GET /v1/schedules?name=%zz HTTP/1.1\r\n" + head + "\r\n", 400},
		"a space in the path":        {"GET /v1/ schedules HTTP/1.1\r\n" + head + "\r\n", 400},
		"no host":                    {"GET /livez HTTP/1.1\r\n\r\n", 400},
		"two hosts":                  {"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		"somebody else's host":       {"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421},
		"NUL in a header":            {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n", 400},
		"a header without a name":    {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n", 400},
		"a folded header":            {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n", 200},
		"a path of 60 KB":            {"GET /v1/schedules/" + strings.Repeat("x", 60_000) + " HTTP/1.1\r\n" + head + "\r\n", 431},
		"a query of 60 KB":           {"GET /v1/schedules?name=" + strings.Repeat("x", 60_000) + " HTTP/1.1\r\n" + head + "\r\n", 431},
		"a path of 10 KB":            {"GET /v1/schedules/name:" + strings.Repeat("x", 10_000) + " HTTP/1.1\r\n" + head + "\r\n", 404},
		"a header of 60 KB":          {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("x", 60_000) + "\r\n\r\n", 431},
		"10,000 headers":             {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n" + strings.Repeat("X: y\r\n", 10_000) + "\r\n", 431},
		"two lengths":                {"POST /v1/schedules HTTP/1.1\r\n" + head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400},
		"a negative length":          {"POST /v1/schedules HTTP/1.1\r\n" + head + "Content-Length: -1\r\n\r\n{}", 400},
		"an unknown coding":          {"POST /v1/schedules HTTP/1.1\r\n" + head + "Transfer-Encoding: x\r\n\r\n{}", 501},
		"a bad chunk":                {"POST /v1/schedules HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", 400},
		"a length of 10 TB":          {"POST /v1/schedules HTTP/1.1\r\n" + head + "Content-Length: 10000000000000\r\n\r\n{}", 413},
		"a body of 10 MiB":           {post(strings.Repeat(" ", 10<<20), ""), 413},
		"a body of 10 MiB in chunks": {"POST /v1/schedules HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("100000\r\n"+strings.Repeat(" ", 1<<20)+"\r\n", 10) + "0\r\n\r\n", 413},
		"a file of 10 MiB":           {"POST /v1/calendars/c/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/calendar\r\nContent-Length: 10485760\r\n\r\n" + strings.Repeat("x", 10<<20), 413},
		"a compressed body":          {post(packed.String(), "Content-Encoding: gzip\r\n"), 400},
		"a number of a million":      {post(`{"name": "n", "spec": {"every": "5m"}, "job": {"kind": "k", "args": {"n": 1e999999}}}`, ""), 422},
		"a million brackets":         {post(strings.Repeat("[", 1_000_000), ""), 400},
		"an expectation":             {"POST /v1/schedules HTTP/1.1\r\n" + head + "Expect: the worst\r\nContent-Length: 2\r\n\r\n{}", 417},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := p.dial(t)
			go func() { _, _ = io.WriteString(conn, row.sent) }() // the server needn't read it all
			response, text := answer(t, conn)                     //nolint:bodyclose // answer closes it
			switch {
			case response == nil:
				t.Error("there is no answer")
			case response.StatusCode != row.status:
				t.Errorf("it is a %d, not %d: %.300s", response.StatusCode, row.status, text)
			case response.Header.Get("X-Request-Id") == "":
				// It never became a request: net/http says so in its own words.
			case response.StatusCode >= 400 && response.Header.Get("Content-Type") != "application/problem+json":
				t.Errorf("a %d is %q: %.300s", response.StatusCode, response.Header.Get("Content-Type"), text)
			}
		})
	}
	t.Cleanup(func() {
		if n := p.times(`"level":"ERROR"`) + p.times("panicked"); n > 0 {
			t.Errorf("%d lines of the log tell of faults", n)
		}
	})
}

// Who sends slowly holds a connection for a while, and no more.
func TestSlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	p := newHouse(t).start("RIVERBEAT_ROLES=api")
	for name, row := range map[string]struct {
		begin, drip string
		status      int // 0: the connection is closed without a word
		least, most time.Duration
	}{
		"headers that never end":     {"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n", "", 0, 4 * time.Second, 12 * time.Second},
		"headers a byte at a time":   {"GET /livez HTTP/1.1\r\n", "X", 0, 4 * time.Second, 12 * time.Second},
		"a body that never comes":    {"POST /v1/schedules HTTP/1.1\r\n" + head + "Content-Length: 100\r\n\r\n", "", 408, 10 * time.Second, 25 * time.Second},
		"a body a byte at a time":    {"POST /v1/schedules HTTP/1.1\r\n" + head + "Content-Length: 1000\r\n\r\n{", " ", 408, 10 * time.Second, 25 * time.Second},
		"a chunk that never ends":    {"POST /v1/schedules HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n10000\r\n{", " ", 408, 10 * time.Second, 25 * time.Second},
		"a calendar that never ends": {"POST /v1/calendars/c/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/calendar\r\nContent-Length: 1000\r\n\r\nBEGIN", "x", 408, 10 * time.Second, 25 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, begun := p.dial(t), time.Now()
			if _, err := io.WriteString(conn, row.begin); err != nil {
				t.Fatal(err)
			}
			go func() {
				for row.drip != "" {
					time.Sleep(300 * time.Millisecond) // the client's own slowness
					if _, err := io.WriteString(conn, row.drip); err != nil {
						return
					}
				}
			}()
			response, text := answer(t, conn) //nolint:bodyclose // answer closes it
			if took := time.Since(begun); took < row.least || took > row.most {
				t.Errorf("it took %v", took)
			}
			switch {
			case row.status == 0 && response != nil && response.StatusCode != http.StatusBadRequest: // the last line had no end
				t.Errorf("it is a %d: %s", response.StatusCode, text)
			case row.status == 0:
			case response == nil:
				t.Error("there is no answer")
			case response.StatusCode != row.status || response.Header.Get("Content-Type") != "application/problem+json":
				t.Errorf("it is a %d, %q: %s", response.StatusCode, response.Header.Get("Content-Type"), text)
			}
		})
	}
	// Meanwhile others are served.
	t.Run("others are served", func(t *testing.T) {
		t.Parallel()
		for range 20 {
			begun := time.Now()
			if status := p.status("/livez"); status != http.StatusOK || time.Since(begun) > 2*time.Second {
				t.Errorf("a %d after %v", status, time.Since(begun))
			}
		}
	})
}
