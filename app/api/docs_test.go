package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestTheDocumentationComesFromThisServerAlone(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, Config{Service: newService(t, nil, nil)})
	moved := f.do(t, "GET", "/docs", "")
	equal(t, "after the redirect", moved.status, http.StatusOK)
	page := f.do(t, "GET", "/docs/", "")
	equal(t, "the page", page.text, moved.text)
	equal(t, "its type", page.header.Get("Content-Type"), "text/html; charset=utf-8")
	policy := page.header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self';", "connect-src 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	// The policy allows neither other hosts nor scripts within the page.
	if regexp.MustCompile(`(?i)https?:|//|<script>|<script [^>]*>[^<]|\son\w+=|javascript:|<style`).MatchString(strings.TrimPrefix(page.text, "<!DOCTYPE html>")) {
		t.Errorf("the page can't work as it is: %s", page.text)
	}
	for _, found := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.text, -1) {
		asset := f.do(t, "GET", "/docs/"+found[1], "")
		contentType, _, _ := strings.Cut(asset.header.Get("Content-Type"), ";")
		want := map[string]string{"css": "text/css", "js": "javascript", "png": "image/png"}[found[1][strings.LastIndex(found[1], ".")+1:]]
		if asset.status != http.StatusOK || !strings.HasSuffix(contentType, want) || len(asset.text) < 50 {
			t.Errorf("%s: %d, %s, %d bytes", found[1], asset.status, contentType, len(asset.text))
		}
	}
	if answer := f.do(t, "GET", "/docs/nothing.js", ""); answer.status != http.StatusNotFound {
		t.Errorf("what isn't there is a %d", answer.status)
	}
}
