package api

import (
	"fmt"
	"net/http"
	"testing"
)

func TestAnAlertIsWrittenAndReadBack(t *testing.T) {
	t.Parallel()
	f := setup(t)
	put := f.do(t, "PUT", "/v1/alerts/on-call", `{"labels": {"team": "growth"}, "webhook": {"url": "https://example.com/a", "retry": {"base": "1m"}}}`).want(t, http.StatusCreated)
	equal(t, "ETag", put.header.Get("ETag"), `"1"`)
	o := put.object(t)
	equal(t, "on", fmt.Sprint(o.at("on")), "[failed missed invalid]")
	equal(t, "labels", o.text("labels.team"), "growth")
	equal(t, "url", o.text("webhook.url"), "https://example.com/a")
	// What was read can be put back, and changes nothing.
	read := f.do(t, "GET", "/v1/alerts/on-call", "").want(t, http.StatusOK)
	equal(t, "the same", f.do(t, "PUT", "/v1/alerts/on-call", read.text).want(t, http.StatusOK).text, read.text)
	f.do(t, "PUT", "/v1/alerts/on-call", `{"on": ["failed"], "webhook": {"url": "https://example.com/b"}}`, "If-Match", `"2"`).refused(t, http.StatusPreconditionFailed)
	changed := f.do(t, "PUT", "/v1/alerts/on-call", `{"on": ["failed"], "webhook": {"url": "https://example.com/b"}}`, "If-Match", `"1"`).want(t, http.StatusOK).object(t)
	equal(t, "version", changed.number(t, "version"), 2)
	equal(t, "on", fmt.Sprint(changed.at("on"), changed.at("labels")), "[failed] map[]")
	equal(t, "listed", len(f.do(t, "GET", "/v1/alerts", "").object(t).list("alerts")), 1)
	equal(t, "listed elsewhere", len(f.do(t, "GET", "/v1/alerts?namespace=other", "").object(t).list("alerts")), 0)
	f.do(t, "GET", "/v1/alerts/on-call?namespace=other", "").refused(t, http.StatusNotFound)
	f.do(t, "DELETE", "/v1/alerts/on-call?namespace=other", "").refused(t, http.StatusNotFound)
	f.do(t, "DELETE", "/v1/alerts/on-call", "", "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
	f.do(t, "DELETE", "/v1/alerts/on-call", "").want(t, http.StatusNoContent)
	f.do(t, "GET", "/v1/alerts/on-call", "").refused(t, http.StatusNotFound)
}

func TestAnAlertThatCantBeSentIsRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for body, fields := range map[string][]string{
		`{}`:              {"webhook"},
		`{"webhook": {}}`: {"webhook.url"},
		`{"webhook": {"url": "ftp://example.com"}}`:                                                                   {"webhook.url"},
		`{"webhook": {"url": "https://example.com", "body": 1, "method": "GET"}}`:                                     {"webhook.body", "webhook.method"},
		`{"webhook": {"url": "https://example.com", "signing_secret": "missing", "headers": {"A": "secret://gone"}}}`: {"webhook.headers.A", "webhook.signing_secret"},
		`{"webhook": {"url": "https://example.com", "retry": {"base": "0s"}}}`:                                        {"webhook.retry.base"},
		`{"on": ["late"], "webhook": {"url": "https://example.com"}}`:                                                 {"on.0"},
		`{"on": [], "webhook": {"url": "https://example.com"}}`:                                                       {"on"},
		`{"name": "other", "namespace": "other", "webhook": {"url": "https://example.com"}}`:                          {"name", "namespace"},
		`{"webhook": {"url": "https://example.com"}, "unknown": 1}`:                                                   {"unknown"},
		`{"labels": {"a": 1}, "webhook": {"url": "https://example.com"}}`:                                             {"labels.a"},
	} {
		f.do(t, "PUT", "/v1/alerts/a", body).refused(t, http.StatusUnprocessableEntity, fields...)
	}
	f.do(t, "PUT", "/v1/alerts/A", `{"webhook": {"url": "https://example.com"}}`).refused(t, http.StatusUnprocessableEntity, "name")
	f.exec(t, `INSERT INTO riverbeat.alerts (name, webhook) SELECT 'a' || n, '{"url": "https://example.com"}' FROM generate_series(1, 100) AS n`)
	f.do(t, "PUT", "/v1/alerts/one-more", `{"webhook": {"url": "https://example.com"}}`).refused(t, http.StatusUnprocessableEntity, "name")
	f.do(t, "PUT", "/v1/alerts/a1", `{"webhook": {"url": "https://example.com/b"}}`).want(t, http.StatusOK)
}
