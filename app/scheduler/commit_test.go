package scheduler_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// commitCutter is a way to the database that cuts a number of connections at their
// COMMIT: before it has reached the server, or once that has answered.
type commitCutter struct {
	left   atomic.Int64
	behind bool
}

// serve returns the URL of the way.
func (c *commitCutter) serve(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.pass(conn, server) })
		}
	})
	u.Host = listener.Addr().String()
	return u.String()
}

func (c *commitCutter) pass(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var cut atomic.Bool // the server's next answer reaches nobody
	go func() {
		defer client.Close()
		answer := make([]byte, 64<<10)
		for {
			n, err := server.Read(answer)
			if err != nil || cut.Load() {
				return
			}
			if _, err := client.Write(answer[:n]); err != nil {
				return
			}
		}
	}()
	request := make([]byte, 64<<10)
	for {
		n, err := client.Read(request)
		if err != nil {
			return
		}
		if bytes.Contains(request[:n], []byte("commit\x00")) && c.left.Add(-1) >= 0 {
			if !c.behind {
				return
			}
			cut.Store(true)
			if _, err := server.Write(request[:n]); err == nil {
				_, _ = io.Copy(io.Discard, client) // until the answer has come and the client is cut off
			}
			return
		}
		if _, err := server.Write(request[:n]); err != nil {
			return
		}
	}
}

func TestACommitWhoseAnswerIsLostIsNeitherLostNorDone(t *testing.T) {
	for claim, behind := range map[string]bool{"it happened": true, "it didn't happen": false} {
		t.Run(claim, func(t *testing.T) {
			t.Parallel()
			databaseURL := dbtest.URL(t)
			b := &bench{t: t, pool: dbtest.Open(t, databaseURL)}
			cutter := &commitCutter{behind: behind}
			pool := dbtest.Open(t, cutter.serve(t, databaseURL))
			b.insert(20, "every", "interval '1 second'")
			s := b.startOn(pool, nil, nil)
			b.becomes("all run", `SELECT count(DISTINCT schedule_id) = 20 FROM riverbeat.runs`)
			cutter.left.Store(6)
			for cutter.left.Load() >= 0 {
				time.Sleep(5 * time.Millisecond)
			}
			after := one[time.Time](b, `SELECT clock_timestamp()`)
			s.Notify(schedule.Change{}, schedule.PathNotify)
			b.becomes("all run again", `SELECT count(DISTINCT schedule_id) = 20 FROM riverbeat.runs WHERE scheduled_for > $1`, after)
			b.equals("runs without a job, jobs without a run", 0, `
				SELECT count(*) FROM river_job j FULL JOIN riverbeat.runs r ON r.job_id = j.id WHERE j.id IS NULL OR r.job_id IS NULL`)
			b.equals("instants with two jobs", 0, `
				SELECT count(*) FROM (SELECT FROM river_job
				GROUP BY substring(metadata->>'riverbeat' FROM 'schedule_id=([^&]*)'), substring(metadata->>'riverbeat' FROM 'scheduled_for=([^&]*)') HAVING count(*) > 1) twice`)
			b.equals("instants without a line", 0, `
				SELECT coalesce(sum(extract(epoch FROM gap)::int - 1), 0)::int FROM (
					SELECT scheduled_for - lag(scheduled_for) OVER (PARTITION BY schedule_id ORDER BY scheduled_for) AS gap FROM riverbeat.runs
				) g WHERE gap <> interval '1 second'`)
		})
	}
}
