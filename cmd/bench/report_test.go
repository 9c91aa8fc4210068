package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sample() *report {
	r := &report{Date: "2026-11-27", Cores: 2, MemoryMiB: 4096, System: "linux/amd64", Go: "1.26", PostgreSQL: "15"}
	r.add(row{group: dueAtOnce, name: "riverbeat", n: 10_000}, []figures{{"rate": 3, "p50": 1}, {"rate": 1234.4, "p50": 2}, {"rate": 99999, "p50": 2}}, nil)
	r.add(row{group: dueAtOnce, name: "a peer <that> isn't here", n: 10_000}, nil, &skippedError{"it isn't here"})
	r.add(row{group: idle, name: "riverbeat", n: 1_000}, []figures{{"rss": 30.25}}, nil)
	return r
}

func TestTheTableHasMediansAndSaysWhatWasNotMeasured(t *testing.T) {
	t.Parallel()
	table := sample().table()
	for _, part := range []string{
		"2026-11-27 · 2 cores, 4 GiB",
		"| Due at one instant | schedules | runs/s | p50 ms | p99 ms | max ms | WAL bytes/run | runs |\n",
		"| riverbeat          |    10,000 |  1,234 |    2.0 |        |        |               |    3 |\n",
		"Not measured: a peer <that> isn't here: it isn't here.\n",
		"| riverbeat |     1,000 |          |           |       30.2 |                  |    1 |\n",
	} {
		if !strings.Contains(table, part) {
			t.Errorf("%q is missing in\n%s", part, table)
		}
	}
}

func TestThePlotIsXML(t *testing.T) {
	t.Parallel()
	decoder := xml.NewDecoder(strings.NewReader(sample().plot()))
	for {
		if _, err := decoder.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheFiguresOfAFileAreReplacedAndNothingElse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "README.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
	if err := replaceFigures(path, "new\n"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "before\n<!-- figures -->\nnew\n<!-- /figures -->\nafter\n"; string(got) != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	write("no place\n")
	if err := replaceFigures(path, "new\n"); err == nil {
		t.Error("there is no place for them, and no error")
	}
}
