package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browser is a headless Chromium; complaints are what its pages write to the
// console as errors, violations of the content security policy among them.
type browser struct {
	context.Context
	mu         sync.Mutex
	complaints []string
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no Chromium: `make deps` brings it")
		}
		t.Skip("there is no Chromium on this machine: `make deps` brings it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1400, 900),
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError {
				b.complain(e.Entry.Text + " " + e.Entry.URL)
			}
		case *runtime.EventExceptionThrown:
			b.complain(e.ExceptionDetails.Text + " " + e.ExceptionDetails.URL)
		}
	})
	if err != nil {
		t.Fatal("start Chromium: ", err)
	}
	return b
}

func (b *browser) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, text)
}

// shows opens the page and waits until the texts are on it. Where SCREENSHOTS
// names a folder, a picture of it is left there.
func (b *browser) shows(t *testing.T, name, url string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	steps := []chromedp.Action[chromedp.Void]{chromedp.Navigate(url)}
	for _, text := range texts {
		steps = append(steps, present(text))
	}
	err := chromedp.Do(ctx, steps...)
	picture, photoErr := chromedp.Run(b, chromedp.FullScreenshot(100))
	if photoErr != nil {
		t.Error("take a picture: ", photoErr)
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o600); err != nil {
			t.Error(err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		t.Errorf("%s doesn't show %q: %v", url, texts, err)
	}
	for _, complaint := range b.complaints {
		if !strings.Contains(complaint, "favicon") {
			t.Errorf("%s: the browser complains: %s", url, complaint)
		}
	}
	b.complaints = nil
}

// present waits until the page shows the text.
func present(text string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (none chromedp.Void, err error) {
		quoted := strconv.Quote(strings.ToLower(text))
		_, err = chromedp.Poll[bool](`document.body.innerText.toLowerCase().includes(`+quoted+`)`, chromedp.WithPollingTimeout(45*time.Second))(ctx, target)
		return none, err
	}
}

func TestRiverUIAndTheReferenceRenderInABrowser(t *testing.T) {
	t.Parallel()
	browser := newBrowser(t)
	h, target := newHouse(t), newReceiver(t)
	p := h.start(allowLoopback)
	created := p.ask("POST", "/v1/schedules", webhookTo("shown", target.URL, map[string]any{"at": in(0)}), 201)
	target.next(t)
	job := value[string](h, `SELECT job_id::text FROM riverbeat.runs`)
	h.becomes("the job is completed", `SELECT state = 'completed' FROM river_job WHERE id::text = $1`, job)

	tag := "schedule_" + created["id"].(string)
	browser.shows(t, "jobs", p.base+"/riverui/jobs?state=completed&tags="+tag, "webhook", "Completed")
	browser.shows(t, "job", p.base+"/riverui/jobs/"+job, "webhook", tag, `"riverbeat"`)
	browser.shows(t, "reference", p.base+"/docs/", "Create a schedule", "preview")
}
