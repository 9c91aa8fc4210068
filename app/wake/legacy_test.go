package wake

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/app/wake/redistest"
)

// The old system's publisher can be left as it is.
func TestAnOldPublishersMessageWakes(t *testing.T) {
	t.Parallel()
	const channel = "celery_beat_schedule_updates"
	server := redistest.Start(t)
	client := newClient(t, server.URL())
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: client, Channel: channel, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)

	publish(t, client, channel, `{"event_type": "created", "schedule_id": 42, "timestamp": "2026-11-02T09:00:00.123456"}`)
	feed.expect(t, schedule.Change{}, KindLegacy)
	publish(t, client, channel, `{"event_type": "schedule_deleted", "schedule_id": "`+someID+`", "timestamp": "2026-11-02T09:00:00"}`)
	feed.expect(t, schedule.Change{Op: schedule.OpDeleted, ID: theID}, KindLegacy)
	for _, garbage := range []string{"", "hello", "\x80\x04K*.", strings.Repeat("x", 10<<20)} {
		publish(t, client, channel, garbage)
		feed.expect(t, schedule.Change{}, KindUnreadable)
	}
	publish(t, client, channel, encodeRedis(knownChange, time.Now()))
	feed.expect(t, knownChange, KindChange)
	book.expectNothing(t)
}

// As Python's utcnow().isoformat() says it: without a zone.
const oldEvent = `{"event_type": "schedule_created", "schedule_id": "%s", "timestamp": "2026-11-02T09:00:00.123456"}`

// The publishers are other programs, which know nothing of riverbeat.
func TestProgramsInOtherLanguagesWake(t *testing.T) {
	t.Parallel()
	const channel = "celery_beat_schedule_updates"
	server := redistest.Start(t)
	address := strings.TrimSuffix(strings.TrimPrefix(server.URL(), "redis://"), "/0")
	feed := newFeed()
	log, book := newLog(t)
	start(t, (&Subscriber{Client: newClient(t, server.URL()), Channel: channel, OnChange: feed.onChange, OnMessage: feed.onMessage, Log: log}).Run)
	feed.expectLook(t)

	for name, announce := range map[string]func(t *testing.T, id string) error{
		"a shell script": func(t *testing.T, id string) error {
			port := address[strings.LastIndex(address, ":")+1:]
			return command(t, nil, "redis-cli", "-p", port, "PUBLISH", channel, fmt.Sprintf(oldEvent, id))
		},
		"the README's Python": func(t *testing.T, id string) error {
			dir := t.TempDir()
			for file, content := range map[string]string{"redis.py": redisPy, "publisher.py": fromREADME(t, "python") + "\nimport sys\nannounce('created', sys.argv[1])\n"} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					return err
				}
			}
			return command(t, []string{"REDIS_URL=" + server.URL(), "RIVERBEAT_REDIS_CHANNEL=" + channel}, "python3", filepath.Join(dir, "publisher.py"), id)
		},
		"anything that has a socket": func(t *testing.T, id string) error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer conn.Close()
			event := fmt.Sprintf(oldEvent, id)
			_, err = fmt.Fprintf(conn, "*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(channel), channel, len(event), event)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { // one after another: they share the subscriber
			for id, want := range map[string]schedule.Change{
				"4711": {}, "nightly-report": {}, "65f0c0ffee65f0c0ffee65f0": {},
				someID: {Op: schedule.OpCreated, ID: theID},
			} {
				if err := announce(t, id); err != nil {
					t.Fatalf("announce %s: %v", id, err)
				}
				feed.expect(t, want, KindLegacy)
			}
		})
	}
	feed.expectNothing(t)
	book.expectNothing(t)
}

// command runs a program, or skips the test where there is none.
func command(t *testing.T, environ []string, name string, args ...string) error {
	t.Helper()
	// The path may lead to a stand-in that has no program to start.
	if err := exec.CommandContext(t.Context(), name, "--version").Run(); err != nil {
		t.Skipf("there is no %s here: %v", name, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), environ...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, output)
	}
	return nil
}

// fromREADME is the first block of code in the language.
func fromREADME(t *testing.T, language string) string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, found := strings.Cut(string(readme), "```"+language+"\n")
	code, _, ends := strings.Cut(code, "```")
	if !found || !ends {
		t.Fatalf("the README has no %s", language)
	}
	return code
}

// redisPy is as much of Python's package as the README's publisher needs.
const redisPy = `
import socket, urllib.parse

class Redis:
    @classmethod
    def from_url(cls, url):
        self = cls()
        parts = urllib.parse.urlsplit(url)
        self.address = (parts.hostname, parts.port)
        return self

    def publish(self, channel, message):
        words = [w.encode() for w in ("PUBLISH", channel, message)]
        with socket.create_connection(self.address) as conn:
            conn.sendall(b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            assert conn.recv(64).startswith(b":")
`
