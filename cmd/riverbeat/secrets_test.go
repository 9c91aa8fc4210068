package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const encryptionKeys = "RIVERBEAT_ENCRYPTION_KEYS=k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

// everything is each row of each table of the database, as text.
const everything = `
SELECT coalesce(string_agg(query_to_xml(format('SELECT t::text FROM %I.%I t', schemaname, tablename), true, false, '')::text, ''), '')
FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`

func TestASecretReachesItsWebhookAndNothingElse(t *testing.T) {
	t.Parallel()
	type request struct {
		header http.Header
		body   []byte
	}
	got := make(chan request, 10)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- request{r.Header, body}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "%q isn't the right token", r.Header.Get("Authorization"))
	}))
	t.Cleanup(target.Close)
	h := newHouse(t)
	api := h.start("RIVERBEAT_ROLES=api", encryptionKeys)
	others := h.start("RIVERBEAT_ROLES=scheduler,worker", encryptionKeys, allowLoopback, "RIVERBEAT_LOG_LEVEL=debug")

	const canary = "planted-canary-8d1f"
	api.ask("PUT", "/v1/secrets/token", map[string]any{"value": "Bearer " + canary}, 201)
	key := api.ask("POST", "/v1/secrets/hooks", nil, 201)["value"].(string)
	doc := webhookTo("signed", target.URL, map[string]any{"at": in(0)})
	doc["job"] = map[string]any{"kind": "webhook", "max_attempts": 1, "args": map[string]any{
		"url": target.URL, "signing_secret": "hooks", "headers": map[string]any{"Authorization": "secret://token"},
	}}
	api.ask("POST", "/v1/schedules", doc, 201)
	r := <-got
	if r.header.Get("Authorization") != "Bearer "+canary {
		t.Errorf("the webhook had %q", r.header.Get("Authorization"))
	}
	wh, err := standardwebhooks.NewWebhook(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := wh.Verify(r.body, r.header); err != nil {
		t.Error(err)
	}
	h.becomes("the job is discarded", `SELECT count(*) = 1 FROM river_job WHERE state = 'discarded'`)
	h.equals("answers that were kept", 1, `SELECT count(*) FROM river_job WHERE metadata -> 'output' ->> 'body' = '"***" isn''t the right token'`)
	rows := value[string](h, everything)
	for _, holder := range []string{"secret://token", "signed", "isn't the right token"} {
		if !strings.Contains(rows, holder) {
			t.Fatalf("the dump of the database has no %q", holder)
		}
	}
	for _, secret := range []string{canary, key, strings.TrimPrefix(key, "whsec_")} {
		if strings.Contains(rows, secret) {
			t.Errorf("the database holds %s", secret)
		}
		for _, p := range []*process{api, others} {
			if p.times(secret) > 0 {
				t.Errorf("a log holds %s", secret)
			}
		}
		for _, path := range []string{"/v1/secrets", "/v1/schedules", "/v1/schedules/name:signed/runs"} {
			if answer := fmt.Sprint(api.ask("GET", path, nil, 200)); strings.Contains(answer, secret) {
				t.Errorf("GET %s shows %s", path, answer)
			}
		}
	}

	// A worker without the keys says what is missing.
	others.stop()
	h.start("RIVERBEAT_ROLES=scheduler,worker", allowLoopback)
	api.ask("POST", "/v1/schedules/name:signed/run", nil, 202)
	h.becomes("it fails", `SELECT count(*) = 2 FROM river_job WHERE state = 'discarded'`)
	h.equals("jobs that say why", 1, `SELECT count(*) FROM river_job WHERE errors[1] ->> 'error' LIKE '%RIVERBEAT_ENCRYPTION_KEYS%'`)
}

func TestDevKeepsAnEncryptionKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first, err := devKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "encryption-key")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || first == nil {
		t.Fatalf("%v, %v", info, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := devKey(dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the second start has another key, %v", err)
	}
	if err := os.WriteFile(path, []byte("planted"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := devKey(dir); err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("a broken key: %v", err)
	}
}
