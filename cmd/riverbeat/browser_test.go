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

// submits types into the form's field, if there is anything to type, sends the form, and
// waits until the texts are on the page.
func (b *browser) submits(t *testing.T, field, text string, texts ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	var steps []chromedp.Action[chromedp.Void]
	if text != "" {
		steps = append(steps, chromedp.SendKeys(field, text))
	}
	_, err := chromedp.RunResponse(ctx, append(steps, chromedp.Click("button"))...) // waits for the next page
	for _, text := range texts {
		if err == nil {
			err = chromedp.Do(ctx, present(text))
		}
	}
	if err != nil {
		t.Errorf("after the form the page doesn't show %q: %v", texts, err)
	}
	b.forget() // a refusal is an error to the console
}

func (b *browser) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, complaint := range b.complaints {
		if strings.Contains(complaint, "Content Security Policy") {
			return // the next page tells
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
	token := h.token()
	p := h.start(allowLoopback)
	p.token = token
	created := p.ask("POST", "/v1/schedules", webhookTo("shown", target.URL, map[string]any{"at": in(0)}), 201)
	target.next(t)
	job := value[string](h, `SELECT job_id::text FROM riverbeat.runs`)
	h.becomes("the job is completed", `SELECT state = 'completed' FROM river_job WHERE id::text = $1`, job)

	tag := "schedule_" + created["id"].(string)
	// Who opens a page is asked for a token and then shown the page.
	browser.shows(t, "signin", p.base+"/riverui/jobs?state=completed&tags="+tag, "API token", "Sign in")
	browser.submits(t, "#token", "rb_wrong", "That isn't a valid token.")
	browser.submits(t, "#token", token, "webhook", "Completed")
	if cookies, err := chromedp.Run(browser, chromedp.Evaluate[string](`document.cookie`)); err != nil || cookies != "" {
		t.Errorf("a script sees the cookies %q, %v", cookies, err)
	}
	browser.shows(t, "jobs", p.base+"/riverui/jobs?state=completed&tags="+tag, "webhook", "Completed")
	browser.shows(t, "job", p.base+"/riverui/jobs/"+job, "webhook", tag, `"riverbeat"`)
	browser.shows(t, "reference", p.base+"/docs/", "Create a schedule", "preview")
	// Its API takes the cookie for what the pages do, and the riverbeat API doesn't.
	for path, want := range map[string]string{"/riverui/api/jobs/cancel": "200", "/v1/schedules/name:shown/run": "401"} {
		script := `fetch("` + path + `", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({ids: ["` + job + `"]})}).then(r => String(r.status))`
		if status, err := chromedp.Run(browser, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise)); err != nil || status != want {
			t.Errorf("%s is a %s, %v", path, status, err)
		}
	}
	browser.forget() // the 401
	browser.shows(t, "signed-in", p.base+"/signin", "You are signed in as test", "Sign out")
	browser.submits(t, "form", "", "API token")
	browser.shows(t, "signed-out", p.base+"/riverui/", "API token")
}
