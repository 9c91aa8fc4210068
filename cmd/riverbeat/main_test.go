package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

// beRiverbeat makes the test binary the program itself, for tests that kill it.
const beRiverbeat = "BE_RIVERBEAT"

func TestMain(m *testing.M) {
	if os.Getenv(beRiverbeat) != "" {
		main()
		return
	}
	dbtest.Main(m)
}

// house is a database and the riverbeat processes that share it.
type house struct {
	t    *testing.T
	url  string
	pool *pgxpool.Pool
}

func newHouse(t *testing.T) *house {
	t.Helper()
	url := dbtest.URL(t)
	return &house{t: t, url: url, pool: dbtest.Open(t, url)}
}

// process is one running riverbeat.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	base  string // of its HTTP server
	token string // that is sent to it; empty: none
	done  chan struct{}

	mu    sync.Mutex
	lines []string
	heard chan struct{} // a line came in
}

// start runs `riverbeat serve` with the settings, and waits until it is ready.
func (h *house) start(settings ...string) *process {
	h.t.Helper()
	p := h.launch([]string{"serve"}, append([]string{"DATABASE_URL=" + h.url}, settings...)...)
	p.waitReady()
	return p
}

// launch runs riverbeat as a process of its own, which ends with the test.
func (h *house) launch(args []string, settings ...string) *process {
	return launch(h.t, args, settings...)
}

func launch(t *testing.T, args []string, settings ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), done: make(chan struct{}), heard: make(chan struct{}, 1)}
	p.cmd.Env = append([]string{beRiverbeat + "=1", "RIVERBEAT_ADDR=127.0.0.1:0", "ZONEINFO=" + freshZones(t, 0), "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, settings...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout = io.Discard
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for scanner := bufio.NewScanner(stderr); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
			select {
			case p.heard <- struct{}{}:
			default:
			}
		}
		_ = p.cmd.Wait() // its code is read from the state
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error says that it has ended already
		<-p.done
		if t.Failed() {
			t.Log("its log:\n" + strings.Join(p.log(), "\n"))
		}
	})
	return p
}

func (p *process) log() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// said waits for a line of the log that contains each of the texts.
func (p *process) said(texts ...string) string {
	p.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		for _, line := range p.log() {
			if containsAll(line, texts) {
				return line
			}
		}
		select {
		case <-p.heard:
		case <-p.done:
			for _, line := range p.log() {
				if containsAll(line, texts) {
					return line
				}
			}
			p.t.Fatalf("it ended without saying %q:\n%s", texts, strings.Join(p.log(), "\n"))
		case <-deadline:
			p.t.Fatalf("it never said %q:\n%s", texts, strings.Join(p.log(), "\n"))
		}
	}
}

func containsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

// times is how many lines of the log contain the text.
func (p *process) times(text string) (n int) {
	for _, line := range p.log() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// waitAddr waits until its HTTP server listens.
func (p *process) waitAddr() {
	p.t.Helper()
	var line struct{ Addr string }
	if err := json.Unmarshal([]byte(p.said("riverbeat starts")), &line); err != nil {
		p.t.Fatal(err)
	}
	p.base = "http://" + line.Addr
}

func (p *process) waitReady() {
	p.t.Helper()
	p.waitAddr()
	eventually(p.t, "it is ready", func() bool { return p.status("/readyz") == http.StatusOK })
}

func (p *process) status(path string) int {
	response, err := http.Get(p.base + path)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// ask sends a request and reads its JSON answer, which must have the status.
func (p *process) ask(method, path string, body any, status int) map[string]any {
	p.t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, p.base+path, content)
	if err != nil {
		p.t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if p.token != "" {
		request.Header.Set("Authorization", "Bearer "+p.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if response.StatusCode != status {
		p.t.Fatalf("%s %s: %s, not %d: %s", method, path, response.Status, status, text)
	}
	answer := map[string]any{}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			p.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return answer
}

// stop asks it to stop and gives its exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	return p.exitCode()
}

func (p *process) exitCode() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(40 * time.Second):
		p.t.Fatal("it doesn't end")
		return -1
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, claim string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if holds() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it never came to be that %s", claim)
		}
	}
}

// becomes waits until the query says true.
func (h *house) becomes(claim, sql string, args ...any) {
	h.t.Helper()
	eventually(h.t, claim, func() bool { return value[bool](h, sql, args...) })
}

func (h *house) equals(claim string, want int, sql string, args ...any) {
	h.t.Helper()
	if got := value[int](h, sql, args...); got != want {
		h.t.Errorf("%s: %d, not %d", claim, got, want)
	}
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.pool.Exec(context.Background(), sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

func value[T any](h *house, sql string, args ...any) (v T) {
	h.t.Helper()
	if err := h.pool.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		h.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// webhookTo is a schedule of webhooks.
func webhookTo(name, url string, spec map[string]any) map[string]any {
	return map[string]any{
		"name": name, "spec": spec,
		"job": map[string]any{"kind": "webhook", "args": map[string]any{"url": url, "body": map[string]any{"name": name}}},
	}
}

func noop(name string, spec map[string]any) map[string]any {
	return map[string]any{"name": name, "spec": spec, "job": map[string]any{"kind": "noop"}}
}

func in(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339Nano) }

func numbered(n int) string { return fmt.Sprintf("n%04d", n) }
