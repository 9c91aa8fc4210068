package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/http/httpguts"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// send gives the handler a request as net/http would, and holds the answer against
// the document. It reports false for what net/http itself would refuse.
func (c *contract) send(ctx context.Context, handler http.Handler, method, target string, header http.Header, body []byte) (*httptest.ResponseRecorder, bool, error) {
	at, err := url.ParseRequestURI(target)
	if err != nil || !strings.HasPrefix(target, "/") || strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return nil, false, nil
	}
	for name, values := range header {
		if !httpguts.ValidHeaderFieldName(name) || slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return nil, false, nil
		}
	}
	limit := 20 * time.Second
	if o := c.operation(method, target); o != nil && o.at("responses", "200", "content", "text/event-stream").exists() {
		limit = 30 * time.Millisecond // a stream ends when the client leaves
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request := (&http.Request{
		Method: method, URL: at, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Host: "127.0.0.1",
		RemoteAddr: "127.0.0.1:1", Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}).WithContext(ctx)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	text, contentType := recorder.Body.String(), recorder.Header().Get("Content-Type")
	switch {
	case recorder.Code >= 500:
		return recorder, true, fmt.Errorf("a fault: %d %s", recorder.Code, text)
	case recorder.Code >= 400 && contentType != "application/problem+json":
		return recorder, true, fmt.Errorf("a %d is %q: %.200s", recorder.Code, contentType, text)
	}
	return recorder, true, c.check(method, at.EscapedPath(), recorder.Code, recorder.Header(), text)
}

// hostileTexts are what careless and hostile clients write where a text is wanted.
var hostileTexts = []string{
	"", " ", "\x00", "a\x00b", "\xff\xfe", "\xed\xa0\x80", "漢字", "\u202e", "\ufeff", "null", "true", "0", "-1", "1.5", "1e999999", "NaN", "9223372036854775808", "-9223372036854775809",
	"../../etc/passwd", "%00", "%zz", "%25", "%2f", "..%2f", "'; DROP TABLE riverbeat.schedules; --", "${jndi:ldap://x}", "<script>", "\r\nX: y", "`\\\"", "{}", "[]",
	strings.Repeat("x", 10_000), strings.Repeat("漢", 5_000), "name:", "name:nightly-report", "name:\x00", "name:" + strings.Repeat("n", 200), "nightly-report", "jp-holidays", "default",
	"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "{00000000-0000-0000-0000-000000000000}",
	"yesterday", "2026-13-45T99:99:99Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z", "2026-02-30", "-5m", "1ns", "999999999999h", "P1D", "0s",
	"a:b", ":", "team:growth", "AAAAAAAAAAAAAAAAAAAAAA", "f_________8", "_",
}

// hostileJSON is what they write where a value is wanted.
var hostileJSON = []string{
	"null", "true", "0", "-0", "-1", "1.5", "1e999999", "1E-999999", "1e400", "123456789012345678901234567890", "9223372036854775807", "-9223372036854775808", "NaN", "01", "+1", "",
	`""`, `"\u0000"`, `"\ud800"`, `"\udc00\ud800"`, `"\u202e"`, "\"\x00\"", "\"\xff\"", "\"\t\"", `'x'`, "{}", "[]", "[[[]]]", `{"a":1,"a":2}`, `{"":""}`, `{"\u0000":1}`, "[null]", "[1,]", "{,}", "//",
	strings.Repeat("[", 20_000), strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50),
	`"` + strings.Repeat("x", 70_000) + `"`, `{"k":"` + strings.Repeat("漢", 30_000) + `"}`, "[" + strings.Repeat("1,", 5_000) + "1]",
}

// pick is a number below n. Rapid's own draws prefer small ones, so that hardly any
// operation but the first ones would be asked.
func pick(t *rapid.T, n int, what string) int {
	x := rapid.Uint64().Draw(t, what) + 0x9e3779b97f4a7c15 // and what splitmix64 makes of it
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int((x ^ x>>31) % uint64(n))
}

func oneOf[T any](t *rapid.T, list []T, what string) T { return list[pick(t, len(list), what)] }

// sample is a value that the schema allows, as JSON.
func (c *contract) sample(t *rapid.T, s node) string {
	s = c.resolve(s)
	var fine []any
	for _, n := range append(append(s.at("examples").list(), s.at("enum").list()...), s.at("default")) {
		if n.exists() {
			fine = append(fine, n.value)
		}
	}
	minimum, least := s.at("minimum").number()
	maximum, most := s.at("maximum").number()
	free := s.is("string") && !s.at("pattern").exists() && !s.at("format").exists() && !s.at("enum").exists()
	switch pattern := s.at("pattern").text(); {
	case len(fine) > 0 && !(free && (pick(t, 2, "free") == 0)):
		text, err := json.Marshal(oneOf(t, fine, "fine"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	case pattern != "":
		return quoted(rapid.StringMatching(pattern).Draw(t, "matching"))
	case s.is("integer") || s.is("number"):
		if !least {
			minimum = 0
		}
		if !most {
			maximum = minimum + 1000
		}
		return fmt.Sprint(rapid.Int64Range(minimum, maximum).Draw(t, "number"))
	case s.is("boolean"):
		return fmt.Sprint((pick(t, 2, "bool") == 0))
	case s.is("array"):
		items := make([]string, pick(t, 4, "items"))
		for i := range items {
			items[i] = c.sample(t, s.at("items"))
		}
		return "[" + strings.Join(items, ",") + "]"
	case s.is("object"):
		return `{"k": "v"}`
	case s.at("format").text() == "date-time":
		return oneOf(t, []string{`"2026-11-24T18:00:00Z"`, `"2090-01-01T00:00:00+09:00"`, `"1970-01-01T00:00:00Z"`}, "instant")
	case s.at("format").text() == "date":
		return `"2026-12-25"`
	}
	if pick(t, 2, "any") == 0 {
		return quoted(rapid.StringN(1, 20, 60).Draw(t, "text"))
	}
	return quoted(oneOf(t, []string{"", "a", "report", "nightly-report", "5m", "24h", "UTC", "漢字", "Europe/Berlin", "@daily", "*/5 * * * *"}, "text"))
}

// document is JSON that the schema may or may not allow.
func (c *contract) document(t *rapid.T, s node, depth int) string {
	s = c.resolve(s)
	if pick(t, 100, "hostile") == 0 {
		return oneOf(t, hostileJSON, "value")
	}
	if !s.at("properties").exists() || depth > 4 {
		return c.sample(t, s)
	}
	required := s.at("required").texts()
	var members []string
	kind := oneOf(t, []string{"cron", "every", "at"}, "one of")
	for _, name := range s.at("properties").names() {
		chance := 10 // in a hundred
		switch {
		case slices.Contains(required, name):
			chance = 98
		case name == "cron" || name == "every" || name == "at":
			chance = map[bool]int{true: 100, false: 0}[name == kind]
		}
		if pick(t, 100, "there") < chance {
			members = append(members, quoted(name)+": "+c.document(t, s.at("properties", name), depth+1))
		}
	}
	switch pick(t, 30, "odd member") {
	case 0:
		if len(members) > 0 {
			members = append(members, members[0])
		}
	case 1:
		members = append(members, quoted(oneOf(t, hostileTexts, "name"))+": 1")
	}
	return "{" + strings.Join(members, ", ") + "}"
}

// spoilt is the body with something done to it, or nothing.
func spoilt(t *rapid.T, body string) []byte {
	raw := []byte(body)
	switch pick(t, 30, "spoilt") {
	case 0:
		return nil
	case 1:
		return raw[:pick(t, len(raw)+1, "cut")]
	case 2:
		if len(raw) > 0 {
			raw[pick(t, len(raw), "at")] ^= byte(1 + pick(t, 255, "bits"))
		}
	case 3:
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(raw); err != nil || w.Close() != nil {
			t.Fatal("can't be compressed")
		}
		return packed.Bytes()
	case 4:
		return append(raw, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "tail")...)
	case 5:
		return []byte(oneOf(t, hostileJSON, "instead"))
	}
	return raw
}

// request is one to any operation of the document.
func (c *contract) request(t *rapid.T) (method, target string, header http.Header, body []byte) {
	o := oneOf(t, c.operations, "operation")
	header, target, method = http.Header{}, o.path, o.method
	query := url.Values{}
	value := func(p node) string {
		if pick(t, 3, "hostile") == 0 {
			return oneOf(t, hostileTexts, "text")
		}
		if example := p.at("example"); example.exists() && (pick(t, 2, "example") == 0) {
			return fmt.Sprint(example.value)
		}
		return strings.Trim(c.sample(t, p.at("schema")), `"`)
	}
	for _, p := range o.at("parameters").list() {
		name := p.at("name").text()
		switch p.at("in").text() {
		case "path":
			text := fmt.Sprint(p.at("example").value)
			if pick(t, 4, "another") == 0 {
				text = value(p)
			}
			if pick(t, 10, "escaped") > 0 {
				text = url.PathEscape(text)
			}
			target = strings.ReplaceAll(target, "{"+name+"}", text)
		case "query":
			if pick(t, 4, "there") == 0 {
				query.Add(name, value(p))
			}
		case "header":
			if name == idempotencyKey { // another one each time, but for those below
				if pick(t, 3, "there") == 0 {
					header.Set(name, rapid.StringMatching("[!-~]{12,40}").Draw(t, "key"))
				}
			} else if pick(t, 2, "there") == 0 {
				header.Set(name, value(p))
			}
		}
	}
	if query.Has("wait") {
		query.Set("timeout", "0.01s")
	}
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	switch pick(t, 30, "odd query") {
	case 0:
		target += "?" + oneOf(t, []string{"a=b", "%zz", "page_size", "&&", "namespace=a&namespace=b", ";", "=", "\xff", strings.Repeat("a=1&", 3000)}, "query")
	case 1:
		method = oneOf(t, []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"}, "method")
	}
	schema, example, contentType := c.body(o)
	if contentType != "" {
		header.Set("Content-Type", contentType)
		text := calendarFile
		if example.exists() {
			raw, err := json.Marshal(example.value)
			if err != nil {
				t.Fatal(err)
			}
			text = string(raw)
		}
		if schema.at("properties").exists() && pick(t, 4, "example") > 0 {
			text = c.document(t, schema, 0)
		}
		body = spoilt(t, text)
	}
	for name, values := range map[string][]string{
		"Content-Type":     {"", "text/plain", "application/json; charset=utf-16", "application/merge-patch+json", "multipart/form-data", "application/cbor", "\xff", "text/calendar"},
		"Content-Encoding": {"gzip", "br"}, "Accept": {"application/cbor", "text/html", "*/*;q=0", "\xff", strings.Repeat("a/b,", 1000)},
		"Accept-Language": {"ja", "en;q=0.1,ja", "x;q=99999999999999999999", strings.Repeat("a,", 2000), "\xff"},
		"If-Match":        {`"1"`, "*", `W/"1"`, `"1", "2"`, `""`, `"99999999999999999999"`, `"`, "\xff"}, "If-None-Match": {"*", `"1"`},
		"Authorization": {"Bearer x", "Bearer ", "Basic Og==", "Bearer rb_" + strings.Repeat("x", 5000), "\xff"}, "Cookie": {"a=b", strings.Repeat("x", 5000)},
		"Idempotency-Key": {"k", "k", strings.Repeat("k", 300), "\xff"}, "Origin": {"null", "https://example.com"}, "X-Request-Id": {"\xff", strings.Repeat("x", 200)},
		"X-Forwarded-For": {"127.0.0.1", "\xff"}, "X-Http-Method-Override": {"DELETE"}, "Range": {"bytes=0-1"}, "Last-Event-Id": {"x"}, "Prefer": {"return=minimal"},
	} {
		if pick(t, 25, "odd header") == 0 {
			header.Set(name, oneOf(t, values, name))
		}
	}
	return method, target, header, body
}

// furnish makes what the document's examples make.
func (c *contract) furnish(ctx context.Context, handler http.Handler) error {
	for _, o := range c.operations {
		_, example, contentType := c.body(o)
		if o.method != "POST" || strings.Contains(o.path, "{") || !example.exists() {
			continue
		}
		text, err := json.Marshal(example.value)
		if err != nil {
			return err
		}
		if _, _, err := c.send(ctx, handler, o.method, o.path, http.Header{"Content-Type": {contentType}}, text); err != nil {
			return err
		}
	}
	return nil
}

// Whatever is sent, nothing breaks: no fault, no error that isn't a problem, no
// answer that the document doesn't know, nothing written by what was refused, what was
// made is there, and no schedule is other than its last revision says.
func TestWhateverIsSentTheAnswerIsOneThatTheDocumentKnows(t *testing.T) {
	t.Parallel()
	f, c := setup(t), theContract()
	handler := entitled(t, f.pool, f.server.Config.Handler, app.Token{})
	statuses := map[int]int{}
	rapid.Check(t, func(rt *rapid.T) {
		if err := c.furnish(t.Context(), handler); err != nil {
			rt.Fatal(err)
		}
		for range 10 {
			method, target, header, body := c.request(rt)
			before := f.stored(t)
			recorder, sent, err := c.send(t.Context(), handler, method, target, header, body)
			if !sent {
				continue
			}
			if err != nil {
				rt.Fatalf("%s %.300s\n%v\n%.1000s\n%v", method, target, header, body, err)
			}
			statuses[recorder.Code]++
			if recorder.Code >= 400 && f.stored(t) != before {
				rt.Fatalf("%s %.300s\n%.1000s\na %d wrote something", method, target, body, recorder.Code)
			}
			if location := recorder.Header().Get("Location"); recorder.Code == http.StatusCreated && location != "" {
				read, _, err := c.send(t.Context(), handler, "GET", location, http.Header{}, nil)
				if err != nil || read.Code != http.StatusOK {
					rt.Fatalf("%s was made, and is a %d: %v", location, read.Code, err)
				}
			}
		}
		if n := query[int](t, f, unrevised); n > 0 {
			rt.Fatalf("%d schedules have changed without a revision", n)
		}
	})
	t.Logf("answers by status: %v", statuses)
	for _, want := range []int{200, 201, 202, 204, 400, 404, 412, 415, 422} {
		if statuses[want] == 0 {
			t.Errorf("there was no %d: %v", want, statuses)
		}
	}
}

// unrevised counts the schedules of which the last revision doesn't say how they are, or
// that they are gone.
const unrevised = `
WITH last AS (
    SELECT DISTINCT ON (schedule_id) schedule_id, op, definition
    FROM riverbeat.revisions
    ORDER BY schedule_id, id DESC
)
SELECT count(*)
FROM last FULL JOIN riverbeat.schedules s ON s.id = last.schedule_id
WHERE NOT coalesce(CASE WHEN s.id IS NULL THEN op = 'deleted' ELSE op <> 'deleted' AND definition = to_jsonb(s) END, false)`

// Whatever a token that is limited to a namespace sends, it neither sees nor changes
// anything of another one.
func TestWhateverIsSentNothingOfAnotherNamespaceIsSeenOrChanged(t *testing.T) {
	t.Parallel()
	f, c := setup(t), theContract()
	for _, r := range []struct{ method, path, body string }{
		{"POST", "/v1/schedules", `{"namespace": "hidden", "name": "canary", "description": "unseen", "labels": {"team": "unseen"}, "spec": {"every": "1h"}, "job": {"kind": "unseen", "args": {"unseen": 1}}}`},
		{"POST", "/v1/schedules/name:canary/run?namespace=hidden", ""},
		{"POST", "/v1/calendars", `{"namespace": "hidden", "name": "canary", "days": [{"from": "2026-01-01", "name": "unseen"}]}`},
		{"PUT", "/v1/secrets/canary?namespace=hidden", `{"value": "unseen"}`},
		{"PUT", "/v1/alerts/canary?namespace=hidden", `{"webhook": {"url": "https://unseen.example"}}`},
	} {
		if answer := f.do(t, r.method, r.path, r.body); answer.status >= 300 {
			t.Fatalf("%s: %d %s", r.path, answer.status, answer.text)
		}
	}
	hidden := func() string {
		return query[string](t, f, `
SELECT concat_ws(' ',
    (SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM riverbeat.schedules s WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(r::text, '' ORDER BY schedule_id, scheduled_for)) FROM riverbeat.runs r WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(c::text, '' ORDER BY name)) FROM riverbeat.calendars c WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(s::text, '' ORDER BY name)) FROM riverbeat.secrets s WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(a::text, '' ORDER BY name)) FROM riverbeat.alerts a WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(r::text, '' ORDER BY id)) FROM riverbeat.revisions r WHERE namespace = 'hidden'),
    (SELECT md5(string_agg(j::text, '' ORDER BY id)) FROM river_job j WHERE kind = 'unseen'))`)
	}
	id := f.do(t, "GET", "/v1/schedules/name:canary?namespace=hidden", "").want(t, http.StatusOK).object(t).text("id")
	handler := entitled(t, f.pool, f.server.Config.Handler, app.Token{Namespaces: []string{"default"}})
	there := hidden()
	rapid.Check(t, func(rt *rapid.T) {
		for range 10 {
			method, target, header, body := c.request(rt)
			switch pick(rt, 4, "aim") { // at what is hidden
			case 0:
				target = strings.Replace(target, url.PathEscape("name:nightly-report"), id, 1)
			case 1:
				target = strings.NewReplacer(url.PathEscape("name:nightly-report"), "name:canary", "jp-holidays", "canary", "hooks", "canary", "on-call", "canary").Replace(target)
				if !strings.Contains(target, "?") {
					target += "?namespace=hidden"
				}
			case 2:
				body = bytes.ReplaceAll(body, []byte(`"default"`), []byte(`"hidden"`))
			}
			header.Del("Authorization")
			recorder, sent, err := c.send(t.Context(), handler, method, target, header, body)
			if !sent {
				continue
			}
			if err != nil {
				rt.Fatalf("%s %.300s\n%v\n%.1000s\n%v", method, target, header, body, err)
			}
			if said := fmt.Sprint(recorder.Header(), recorder.Body); strings.Contains(said, "unseen") {
				rt.Fatalf("%s %.300s\n%v\n%.1000s\nit says %s", method, target, header, body, said)
			}
			if recorder.Code < 300 && strings.Contains(target, id) {
				rt.Fatalf("%s %.300s: %d %s", method, target, recorder.Code, recorder.Body)
			}
		}
		if hidden() != there {
			rt.Fatal("it has changed")
		}
	})
}

// entitled has every request that brings no token bring one with all scopes, limited as
// the token is.
func entitled(t testing.TB, pool *pgxpool.Pool, next http.Handler, token app.Token) http.Handler {
	token.Name, token.Scopes = "all", []string{"read", "write", "admin"}
	_, secret, err := newService(t, pool, nil).CreateToken(operator(t), token)
	if err != nil {
		t.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Authorization"] == nil {
			r.Header.Set("Authorization", "Bearer "+secret)
		}
		next.ServeHTTP(w, r)
	})
}

// FuzzRequest lets a fuzzer choose everything of a request.
func FuzzRequest(f *testing.F) {
	c := theContract()
	for i, o := range c.operations {
		_, example, contentType := c.body(o)
		text, err := json.Marshal(example.value)
		if err != nil {
			f.Fatal(err)
		}
		_, path, _ := strings.Cut(o.example(), "/")
		f.Add(uint8(i), "/"+path, "", contentType, text)
	}
	seeds := rand.New(rand.NewPCG(1, 2))
	for i, text := range hostileTexts {
		body := hostileJSON[i%len(hostileJSON)]
		f.Add(uint8(seeds.IntN(len(c.operations))), "/v1/schedules/"+url.PathEscape(text)+"?namespace="+url.QueryEscape(text), `"1"`, "application/json", []byte(body))
	}
	pool := dbtest.Pool(f)
	handler := entitled(f, pool, New(Config{Service: newService(f, pool, nil), Door: app.NewDoor(db.NewStore(pool), false, discard()), Log: discard()}), app.Token{})
	if err := c.furnish(context.Background(), handler); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, which uint8, target, tag, contentType string, body []byte) {
		if strings.Contains(target, "wait=") {
			t.Skip("it waits")
		}
		o := c.operations[int(which)%len(c.operations)]
		header := http.Header{"Content-Type": {contentType}}
		if tag != "" {
			header.Set("If-Match", tag)
		}
		if recorder, _, err := c.send(t.Context(), handler, o.method, target, header, body); err != nil {
			t.Fatalf("%s %q: %d: %v", o.method, target, recorder.Code, err)
		}
	})
}
