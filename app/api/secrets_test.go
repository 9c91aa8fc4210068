package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
	"github.com/riverbeat/riverbeat/jobs"
)

const (
	testKeys   = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	otherKeys  = "k2:IAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=," + testKeys
	signingKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	planted    = "Bearer planted-canary"
)

// secrets reads the values as a worker with these keys does.
func (f *fixture) secrets(t *testing.T, keys string) *app.Secrets {
	t.Helper()
	ring, err := app.ParseKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	return app.NewSecrets(db.NewStore(f.pool), ring)
}

func (f *fixture) values(t *testing.T, name string) []string {
	t.Helper()
	values, err := f.secrets(t, testKeys).Values(t.Context(), "default", []string{name})
	if err != nil {
		t.Fatal(err)
	}
	return values[name]
}

func TestASecretIsNeverShown(t *testing.T) {
	t.Parallel()
	f := setup(t)
	put := f.do(t, "PUT", "/v1/secrets/token", `{"value": "`+planted+`"}`).want(t, http.StatusCreated)
	equal(t, "ETag", put.header.Get("ETag"), `"1"`)
	o := put.object(t)
	equal(t, "name", o.text("name"), "token")
	equal(t, "namespace", o.text("namespace"), "default")
	equal(t, "signs", o.at("signs"), any(false))
	equal(t, "versions", len(o.list("versions")), 1)
	equal(t, "key_id", o.list("versions")[0].text("key_id"), "k1")
	equal(t, "expires_at", o.list("versions")[0].at("expires_at"), nil)
	for _, answer := range []*reply{
		put, f.do(t, "GET", "/v1/secrets/token", "").want(t, http.StatusOK), f.do(t, "GET", "/v1/secrets", "").want(t, http.StatusOK),
		f.do(t, "PUT", "/v1/secrets/token", `{"value": "`+planted+`"}`).want(t, http.StatusOK),
	} {
		if strings.Contains(answer.text, "planted") || strings.Contains(answer.text, `"value"`) {
			t.Errorf("the answer shows it: %s", answer.text)
		}
	}
	equal(t, "values", f.values(t, "token"), []string{planted})
	if rows := query[string](t, f, `SELECT string_agg(s::text || encode(sealed, 'escape'), '') FROM riverbeat.secrets s`); strings.Contains(rows, "planted") {
		t.Error("the table holds it in clear")
	}
	for _, bad := range []string{`{"value": "planted\n"}`, `{"value": ""}`, `{}`, `{"value": "whsec_planted"}`, `{"value": 1}`, `{"value": "` + strings.Repeat("planted-", 1025) + `"}`} {
		answer := f.do(t, "PUT", "/v1/secrets/token", bad)
		answer.refused(t, http.StatusUnprocessableEntity, "value")
		if strings.Contains(answer.text, "planted") {
			t.Errorf("the refusal repeats it: %s", answer.text)
		}
	}
	f.do(t, "PUT", "/v1/secrets/token", `{"value": "x", "grace": "721h"}`).refused(t, http.StatusUnprocessableEntity, "grace")
	f.do(t, "PUT", "/v1/secrets/Token", `{"value": "x"}`).refused(t, http.StatusUnprocessableEntity, "name")
	f.do(t, "GET", "/v1/secrets/other", "").refused(t, http.StatusNotFound)
	f.do(t, "GET", "/v1/secrets/token?namespace=other", "").refused(t, http.StatusNotFound)
	f.do(t, "DELETE", "/v1/secrets/token?namespace=other", "").refused(t, http.StatusNotFound)
	f.do(t, "DELETE", "/v1/secrets/token", "", "If-Match", `"2"`).refused(t, http.StatusPreconditionFailed)
	f.do(t, "DELETE", "/v1/secrets/token", "").want(t, http.StatusNoContent)
	f.do(t, "GET", "/v1/secrets/token", "").refused(t, http.StatusNotFound)
}

func TestASecretIsRotatedWithAGrace(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.do(t, "PUT", "/v1/secrets/hooks", `{"value": "`+signingKey+`"}`, "If-Match", `"1"`).refused(t, http.StatusPreconditionFailed)
	f.do(t, "PUT", "/v1/secrets/hooks", `{"value": "`+signingKey+`"}`).want(t, http.StatusCreated)
	generated := f.do(t, "POST", "/v1/secrets/hooks", "", "If-Match", `"1"`).want(t, http.StatusCreated)
	equal(t, "Cache-Control", generated.header.Get("Cache-Control"), "no-store")
	value := generated.object(t).text("value")
	if !schedule.IsSigningSecret(value) || value == signingKey {
		t.Errorf("generated %q", value)
	}
	equal(t, "values", f.values(t, "hooks"), []string{value, signingKey})
	versions := f.do(t, "GET", "/v1/secrets/hooks", "").object(t).list("versions")
	if until := time.Until(versions[1].time(t, "expires_at")); until < 23*time.Hour || until > 24*time.Hour {
		t.Errorf("the one before signs for %v", until)
	}
	// A longer grace gives the oldest no more time, a shorter one less.
	f.do(t, "POST", "/v1/secrets/hooks", `{"grace": "48h"}`).want(t, http.StatusCreated)
	equal(t, "live", len(f.values(t, "hooks")), 3)
	equal(t, "ends that are far", query[int](t, f, `SELECT count(*) FROM riverbeat.secrets WHERE expires_at > now() + interval '25 hours'`), 1)
	last := f.do(t, "POST", "/v1/secrets/hooks", `{"grace": "0s"}`).want(t, http.StatusCreated).object(t).text("value")
	equal(t, "values after a grace of 0s", f.values(t, "hooks"), []string{last})
	equal(t, "versions", len(f.do(t, "GET", "/v1/secrets/hooks", "").object(t).list("versions")), 1)
	if err := db.NewStore(f.pool).RemoveExpiredSecrets(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", query[int](t, f, `SELECT count(*) FROM riverbeat.secrets`), 1)
	for range schedule.MaxSecretVersions - 1 {
		f.do(t, "POST", "/v1/secrets/hooks", "").want(t, http.StatusCreated)
	}
	f.do(t, "POST", "/v1/secrets/hooks", "").refused(t, http.StatusUnprocessableEntity, "value")
}

func TestSecretsAreListedByPages(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 5 {
		f.do(t, "POST", fmt.Sprintf("/v1/secrets/s%d", i), "").want(t, http.StatusCreated)
		f.do(t, "POST", fmt.Sprintf("/v1/secrets/s%d", i), "").want(t, http.StatusCreated)
	}
	f.do(t, "POST", "/v1/secrets/s0?namespace=other", "").want(t, http.StatusCreated)
	var names []string
	for token := ""; ; {
		path := "/v1/secrets?page_size=2"
		if token != "" {
			path += "&page_token=" + token
		}
		page := f.do(t, "GET", path, "").want(t, http.StatusOK).object(t)
		for _, secret := range page.list("secrets") {
			names = append(names, fmt.Sprint(secret.text("name"), len(secret.list("versions"))))
		}
		if token = page.text("next_page_token"); token == "" {
			break
		}
	}
	equal(t, "names and versions", names, []string{"s02", "s12", "s22", "s32", "s42"})
	f.do(t, "GET", "/v1/secrets?page_token=!", "").refused(t, http.StatusUnprocessableEntity, "page_token")
}

func TestAScheduleNamesSecretsThatItsNamespaceHas(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.do(t, "PUT", "/v1/secrets/token", `{"value": "`+planted+`"}`).want(t, http.StatusCreated)
	f.do(t, "POST", "/v1/secrets/hooks?namespace=other", "").want(t, http.StatusCreated)
	document := func(signing, header string) string {
		return `{"name": "n", "spec": {"every": "5m"}, "job": {"kind": "webhook", "args": {"url": "https://example.com", "signing_secret": "` + signing + `", "headers": {"Authorization": "secret://` + header + `"}}}}`
	}
	f.do(t, "POST", "/v1/schedules", document("hooks", "missing")).refused(t, http.StatusUnprocessableEntity, "job.args.headers.Authorization", "job.args.signing_secret")
	f.do(t, "POST", "/v1/schedules", document("token", "token")).refused(t, http.StatusUnprocessableEntity, "job.args.signing_secret")
	f.do(t, "POST", "/v1/secrets/hooks", "").want(t, http.StatusCreated)
	id := f.create(t, document("hooks", "token")).text("id")
	f.do(t, "PATCH", "/v1/schedules/"+id, `{"job": {"args": {"signing_secret": "gone"}}}`).refused(t, http.StatusUnprocessableEntity, "job.args.signing_secret")
	// What is as it was may be edited and paused.
	f.do(t, "DELETE", "/v1/secrets/hooks", "").want(t, http.StatusNoContent)
	f.do(t, "POST", "/v1/schedules/"+id+"/pause", "").want(t, http.StatusOK)
	f.do(t, "PATCH", "/v1/schedules/"+id, `{"description": "x"}`).want(t, http.StatusOK)
}

func TestWithoutAKeySecretsSayWhichSettingIsMissing(t *testing.T) {
	t.Parallel()
	pool := dbtest.Pool(t)
	inserter, err := jobs.NewInserter(pool)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := serve(t, Config{Service: app.NewService(db.NewStore(pool), inserter, app.Config{})})
	for _, r := range []struct{ method, body string }{{"PUT", `{"value": "x"}`}, {"POST", ""}} {
		p := f.do(t, r.method, "/v1/secrets/s", r.body).refused(t, http.StatusServiceUnavailable)
		equal(t, "detail", p.Detail, "Secrets are kept encrypted, and this server has no key for it: set RIVERBEAT_ENCRYPTION_KEYS.")
	}
	f.do(t, "GET", "/v1/secrets", "").want(t, http.StatusOK)
	f.do(t, "DELETE", "/v1/secrets/s", "").refused(t, http.StatusNotFound)
}

func TestAKeyIsRotatedAndAValueIsBoundToItsRow(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 3 {
		f.do(t, "PUT", fmt.Sprintf("/v1/secrets/s%d", i), fmt.Sprintf(`{"value": "v%d"}`, i)).want(t, http.StatusCreated)
	}
	rotated := f.secrets(t, otherKeys)
	for _, want := range []int{3, 0} {
		if done, err := rotated.Reencrypt(t.Context()); err != nil || done != want {
			t.Errorf("encrypted %d anew, %v, want %d", done, err, want)
		}
	}
	values, err := rotated.Values(t.Context(), "default", []string{"s0", "s1", "s2", "s3"})
	equal(t, "values", values, map[string][]string{"s0": {"v0"}, "s1": {"v1"}, "s2": {"v2"}})
	equal(t, "error", err, nil)
	if _, err := f.secrets(t, testKeys).Values(t.Context(), "default", []string{"s0"}); err == nil || err.Error() != "the secret s0: the encryption key k2 isn't among those that this process has" {
		t.Errorf("with the old key alone: %v", err)
	}
	// Whoever can write the table still can't give one namespace the secret of another.
	f.exec(t, `UPDATE riverbeat.secrets SET sealed = (SELECT sealed FROM riverbeat.secrets WHERE name = 's1') WHERE name = 's0'`)
	if _, err := rotated.Values(t.Context(), "default", []string{"s0"}); err == nil || err.Error() != "the secret s0: it can't be decrypted with the key k2" {
		t.Errorf("after a swap: %v", err)
	}
}

func TestAKeyringShowsNoKey(t *testing.T) {
	t.Parallel()
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	ring, err := app.ParseKeyring(testKeys)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(ring), fmt.Sprintf("%+v %#v %s", ring, ring, ring.LogValue())} {
		if strings.Trim(text, "* ") != "" {
			t.Errorf("it shows %s", text)
		}
	}
	for _, bad := range []string{"", key, "k:", "k:" + key[1:], "k:" + key + ",k:" + key, "a b:" + key, "k:" + key + "=", ":" + key} {
		if _, err := app.ParseKeyring(bad); err == nil || strings.Contains(err.Error(), key[4:20]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
