package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

func TestEachRequestIsOneLineThatNamesRouteTraceAndTokenButNoSecret(t *testing.T) {
	t.Parallel()
	log := &logged{}
	pool := dbtest.Pool(t)
	service := newService(t, pool, nil)
	token, secret, err := service.CreateToken(operator(t), app.Token{Name: "t", Scopes: []string{"read", "write", "admin"}})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{server: httptest.NewServer(New(Config{
		Service: service, Door: app.NewDoor(db.NewStore(pool), false, dbtest.Log(t)), Version: "test",
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.NewJSONHandler(log, nil)),
	}))}
	t.Cleanup(f.server.Close)
	f.do(t, "GET", "/v1/schedules/name:secret?namespace=n", "", "X-Request-Id", "asked", "Authorization", "Bearer "+secret,
		"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").want(t, 404)
	var line object
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil {
		t.Fatalf("the log isn't one line: %s", log)
	}
	for name, want := range map[string]any{
		"msg": "request", "level": "INFO", "method": "GET", "route": "/v1/schedules/:id", "status": 404.0, "request_id": "asked",
		"trace_id": "0af7651916cd43dd8448eb211c80319c", "token_id": token.ID.String(),
	} {
		equal(t, name, line[name], want)
	}
	if took, ok := line["took"].(float64); !ok || took <= 0 || took > float64(time.Minute) {
		t.Errorf("it took %v", line["took"])
	}
	if strings.Contains(log.String(), "secret") || strings.Contains(log.String(), secret[:8]) {
		t.Errorf("the log repeats what was asked: %s", log)
	}
}

// Whatever is sent, each request is one line of JSON, with the status that it got.
func TestNobodyWritesLinesOfTheirOwnIntoTheLog(t *testing.T) {
	t.Parallel()
	log := &logged{}
	server := httptest.NewServer(New(Config{Service: newService(t, dbtest.Pool(t), nil), Version: "test", Log: slog.New(slog.NewJSONHandler(log, nil))}))
	t.Cleanup(server.Close)
	forged := `{"level":"ERROR","msg":"forged"}`
	requests := []string{
		"GET /v1/schedules?name=%0a" + strings.ReplaceAll(forged, " ", "") + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /%0A" + forged + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /v1/schedules/name:%0d%0a%7B%22level%22 HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \"}\t" + forged + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \"" + forged + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: \xff\xfe\x1b[31m\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nTraceparent: 00-\"" + forged + "\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: " + forged + "\r\nReferer: " + forged + "\r\n\r\n",
		strings.Repeat("X", 5000) + " / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"F'$!~ / HTTP/1.1\r\nHost: localhost\r\n\r\n",
	}
	for i, text := range requests {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		response.Body.Close()
		conn.Close()
		if response.StatusCode >= 500 {
			t.Errorf("request %d is a %d", i, response.StatusCode)
		}
	}
	lines := strings.Split(strings.TrimSuffix(log.String(), "\n"), "\n")
	if len(lines) > len(requests) {
		t.Errorf("there are %d lines of %d requests", len(lines), len(requests))
	}
	for _, text := range lines {
		var line object
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Errorf("%v: %q", err, text)
		}
		if line["msg"] != "request" || line["level"] != "INFO" || len(fmt.Sprint(line["method"])) > 7 || strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("this is in the log: %q", text)
		}
	}
}
