package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river/rivertype"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/riverbeat/riverbeat/db/dbtest"
)

const (
	oldSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

// planted are values for the secrets that the arguments name.
func planted(a WebhookArgs) secretValues {
	values := secretValues{}
	for _, use := range a.secrets() {
		values[use.Name] = []string{newSecret, oldSecret}
	}
	return values
}

// vault has secrets of the namespace default.
func vault(values map[string][]string) SecretReader {
	return func(_ context.Context, namespace string, names []string) (map[string][]string, error) {
		if namespace != "default" {
			return nil, nil
		}
		found := map[string][]string{}
		for _, name := range names {
			if v := values[name]; v != nil {
				found[name] = v
			}
		}
		return found, nil
	}
}

// The vector of the Standard Webhooks specification.
func TestASignatureIsThatOfStandardWebhooks(t *testing.T) {
	t.Parallel()
	got, err := sign([]string{oldSecret}, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestASignedWebhookIsVerifiedWithEachLiveSecret(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, nil)
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, Secrets: vault(map[string][]string{"hooks": {newSecret, oldSecret}})})
	for _, args := range []string{
		`{"url": "%s", "signing_secret": "hooks"}`,
		`{"url": "%s", "signing_secret": "hooks", "body": {"a": "ü"}}`,
		`{"url": "%s", "signing_secret": "hooks", "method": "GET"}`,
	} {
		if job := client.next(t, insert(t, pool, aSchedule(KindWebhook, fmt.Sprintf(args, url)))); job.State != rivertype.JobStateCompleted {
			t.Fatalf("%s: the job is %s: %s", args, job.State, lastError(job))
		}
		r := <-got
		for _, secret := range []string{oldSecret, newSecret} {
			wh, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify([]byte(r.body), r.header); err != nil {
				t.Errorf("%s: %v: %v", args, err, r.header)
			}
			if err := wh.Verify([]byte(r.body+" "), r.header); err == nil {
				t.Errorf("%s: another body is verified too", args)
			}
		}
	}
}

func TestASecretThatCantBeReadFailsTheAttempt(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, nil)
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, Secrets: vault(map[string][]string{"plain": {"Bearer planted"}})})
	for args, want := range map[string]string{
		`{"url": "%s", "signing_secret": "missing"}`:                 "the secret missing doesn't exist in the namespace default",
		`{"url": "%s", "headers": {"a": "secret://missing"}}`:        "the secret missing doesn't exist in the namespace default",
		`{"url": "%s", "signing_secret": "plain"}`:                   "the secret plain isn't a signing secret: whsec_ and 24 to 64 bytes in base64",
		`{"url": "%s", "headers": {"a": "secret://plain"}, "x": ""}`: "JobCancelError: read the job's arguments: job.args.x isn't an argument of webhook jobs",
	} {
		job := client.next(t, insert(t, pool, aSchedule(KindWebhook, fmt.Sprintf(args, url))))
		if lastError(job) != want {
			t.Errorf("%s: the job is %s: %s\nwant %s", args, job.State, lastError(job), want)
		}
	}
	other := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s", "headers": {"a": "secret://plain"}}`, url))
	other.Namespace = "other"
	if job := client.next(t, insert(t, pool, other)); lastError(job) != "the secret plain doesn't exist in the namespace other" {
		t.Errorf("from another namespace: %s", lastError(job))
	}
	broken := newWebhookWorker(webhookConfig{allow: loopback, secrets: func(context.Context, string, []string) (map[string][]string, error) {
		return nil, errors.New("no keys")
	}})
	a := WebhookArgs{URL: url, Method: "GET", Timeout: time.Minute, SigningSecret: "hooks"}
	if _, err := broken.send(t.Context(), a, RunMetadata{RunID: "r", Namespace: "default"}); err == nil || err.Error() != "read the job's secrets: no keys" {
		t.Errorf("got %v", err)
	}
	if _, err := broken.send(t.Context(), a, RunMetadata{RunID: "r"}); err == nil || !strings.Contains(err.Error(), "belongs to no schedule") {
		t.Errorf("without a namespace: %v", err)
	}
	if len(got) > 0 {
		t.Errorf("something was sent: %+v", <-got)
	}
}

func TestASecretIsSentAndNeverKept(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	url, got := receiver(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
		// A receiver that answers with what it was sent.
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+"|"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}})
	client := work(t, pool, ClientConfig{WebhookAllow: loopback, Secrets: vault(map[string][]string{"token": {"Bearer planted-canary"}, "hooks": {newSecret}})})
	s := aSchedule(KindWebhook, fmt.Sprintf(`{"url": "%s/", "headers": {"Authorization": "secret://token"}, "signing_secret": "hooks"}`, url))
	job := client.next(t, insert(t, pool, s))
	if r := <-got; r.header.Get("Authorization") != "Bearer planted-canary" {
		t.Errorf("sent %q", r.header.Get("Authorization"))
	}
	if answer := output[webhookAnswer](t, job); answer.Body != "***|***" {
		t.Errorf("the answer was kept as %+v", answer)
	}
	row, err := json.Marshal(job)
	if err != nil || strings.Contains(string(row), "planted-canary") || strings.Contains(string(row), newSecret) {
		t.Errorf("the job holds a secret: %s, %v", row, err)
	}
}
