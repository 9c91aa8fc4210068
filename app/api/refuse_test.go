package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// refusal is a document that isn't taken, and why.
type refusal struct {
	name   string
	body   string
	status int
	fields []string // that are named, in order
	reason string   // of the first, where the words matter; or the detail
}

// The documents are a good one with something wrong in it.
func top(members string) string {
	return `{"name": "n", "spec": {"every": "5m"}, "job": {"kind": "report"}, ` + members + `}`
}

func spec(members string) string {
	return `{"name": "n", "job": {"kind": "report"}, "spec": {` + members + `}}`
}

func job(members string) string {
	return `{"name": "n", "spec": {"every": "5m"}, "job": {` + members + `}}`
}

func webhook(args string) string { return job(`"kind": "webhook", "args": ` + args) }

func times(n int, text string) string { return strings.Repeat(text, n) }

// refusals are documents that neither a create nor a replacement takes.
func refusals() []refusal {
	list := []refusal{
		// What isn't JSON, or not an object.
		{"empty", "", 400, nil, "The body is missing."},
		{"blank", " \n", 400, nil, "The body isn't JSON: it ends too early, at byte 2."},
		{"no JSON", "name: n", 400, nil, ""},
		{"form", "name=n&kind=report", 400, nil, ""},
		{"truncated", `{"name": "n", "spec": {"every": "5`, 400, nil, "The body isn't JSON: it ends too early, at byte 34, in spec.every."},
		{"truncated literal", `{"paused": tru`, 400, nil, ""},
		{"trailing garbage", minimal("n", "") + "x", 400, nil, "The body isn't JSON: invalid character 'x' after top-level value, at byte 65."},
		{"two documents", minimal("n", "") + minimal("m", ""), 400, nil, ""},
		{"trailing comma", `{"name": "n",}`, 400, nil, ""},
		{"comment", "// n\n" + minimal("n", ""), 400, nil, ""},
		{"byte order mark", "\ufeff" + minimal("n", ""), 400, nil, ""},
		{"single quotes", `{'name': 'n'}`, 400, nil, ""},
		{"NaN", top(`"misfire_limit": NaN`), 400, nil, ""},
		{"leading zero", top(`"misfire_limit": 05`), 400, nil, ""},
		{"array", "[" + minimal("n", "") + "]", 400, nil, "The body must be a JSON object."},
		{"string", `"n"`, 400, nil, "The body must be a JSON object."},
		{"number", `5`, 400, nil, "The body must be a JSON object."},
		{"true", `true`, 400, nil, "The body must be a JSON object."},
		{"null", `null`, 400, nil, "The body must be a JSON object."},
		{"invalid UTF-8", strings.Replace(minimal("n", ""), "n\"", "\xff\"", 1), 400, nil, ""},
		{"invalid UTF-8 in args", job(`"kind": "report", "args": {"a": "` + "\xc3\x28" + `"}`), 400, nil, ""},
		{"overlong UTF-8", top(`"description": "` + "\xc0\x80" + `"`), 400, nil, ""},
		{"surrogate in UTF-8", top(`"description": "` + "\xed\xa0\x80" + `"`), 400, nil, ""},
		{"lone surrogate", top(`"description": "\ud800"`), 400, nil, ""},
		{"lone low surrogate in args", job(`"kind": "report", "args": {"a": "\udc00x"}`), 400, nil, ""},
		{"surrogates the wrong way round", top(`"labels": {"\udc00\ud800": "x"}`), 400, nil, ""},
		{"raw control character", top(`"description": "` + "\x01" + `"`), 400, nil, ""},
		{"duplicate name", top(`"name": "m"`), 400, nil, "The body isn't JSON: a name is there twice, at byte 66, in name."},
		{"duplicate name, escaped", top(`"n\u0061me": "m"`), 400, nil, ""},
		{"duplicate name in spec", spec(`"every": "5m", "every": "6m"`), 400, nil, "The body isn't JSON: a name is there twice, at byte 65, in spec.every."},
		{"duplicate name in job", job(`"kind": "a", "kind": "a"`), 400, nil, ""},
		{"duplicate label", top(`"labels": {"a": "1", "a": "1"}`), 400, nil, ""},
		{"duplicate name in args", job(`"kind": "report", "args": {"x": {"a": 1, "a": 2}}`), 400, nil, ""},
		{"duplicate unknown name", `{"x": 1, "x": 2}`, 422, []string{"x"}, ""},
		{"deep", times(100_000, "["), 400, nil, ""},
		{"deep objects", times(100_000, `{"a":`) + "1" + times(100_000, "}"), 422, []string{"a"}, ""},
		{"deep args", job(`"kind": "report", "args": ` + times(100_000, `{"a":`) + "1" + times(100_000, "}")), 400, nil, ""},
		{"args a little too deep", job(`"kind": "report", "args": ` + times(33, `{"a":`) + "1" + times(33, "}")), 422, []string{"job.args"}, "is nested deeper than 32 levels"},
		{"arrays in args a little too deep", job(`"kind": "report", "args": {"a":` + times(32, `[`) + times(32, "]") + "}"), 422, []string{"job.args"}, ""},
		{"too large", top(`"description": "` + times(2<<20, "x") + `"`), 413, nil, "The body must be smaller than 1048576 bytes."},
		{"one byte too large", minimal("n", "") + times(1<<20-len(minimal("n", "")), " "), 413, nil, ""},

		// What nobody knows.
		{"unknown field", top(`"nmae": "n"`), 422, []string{"nmae"}, "isn't a field that is known here"},
		{"unknown field in another case", top(`"Description": "n"`), 422, []string{"Description"}, ""},
		{"unknown field of spec", spec(`"every": "5m", "interval": 5`), 422, []string{"spec.interval"}, ""},
		{"unknown field of job", job(`"kind": "report", "timeout": "5s"`), 422, []string{"job.timeout"}, ""},
		{"spec in the document", top(`"cron": "@daily"`), 422, []string{"cron"}, ""},
		{"empty name of a field", top(`"": 1`), 422, []string{""}, ""},
		{"odd name of a field", top(`"a.b/c~d\"\u0000": 1`), 422, []string{"a.b/c~d\"\x00"}, ""},
		{"long name of a field", top(`"` + times(100_000, "x") + `": 1`), 422, []string{times(300, "x") + "…"}, ""},

		// What is missing.
		{"nothing", `{}`, 422, []string{"job.kind", "name", "spec"}, "is missing"},
		{"no name", `{"spec": {"every": "5m"}, "job": {"kind": "report"}}`, 422, []string{"name"}, "is missing"},
		{"no spec", `{"name": "n", "job": {"kind": "report"}}`, 422, []string{"spec"}, "must have exactly one of cron, every and at, not none of them"},
		{"no job", `{"name": "n", "spec": {"every": "5m"}}`, 422, []string{"job.kind"}, "is missing"},
		{"empty spec", spec(``), 422, []string{"spec"}, "must have exactly one of cron, every and at, not none of them"},
		{"empty job", job(``), 422, []string{"job.kind"}, "is missing"},
		{"empty cron", spec(`"cron": ""`), 422, []string{"spec.cron"}, `is empty: write five fields, such as "0 3 * * 1-5", or a nickname, such as "@daily"`},
		{"two of cron, every, at", spec(`"cron": "@daily", "every": "5m"`), 422, []string{"spec"}, "must have exactly one of cron, every and at, not cron and every"},
		{"all of cron, every, at", spec(`"cron": "@daily", "every": "5m", "at": "2090-01-01T00:00:00Z"`), 422, []string{"spec"}, ""},

		// Zones and cron.
		{"unknown zone", spec(`"cron": "@daily", "timezone": "Mars/Phobos"`), 422, []string{"spec.timezone"}, `is not an IANA time zone: "Mars/Phobos"`},
		{"local zone", spec(`"cron": "@daily", "timezone": "Local"`), 422, []string{"spec.timezone"}, ""},
		{"empty zone", spec(`"cron": "@daily", "timezone": ""`), 422, []string{"spec.timezone"}, ""},
		{"path as zone", spec(`"cron": "@daily", "timezone": "../../etc/passwd"`), 422, []string{"spec.timezone"}, ""},
		{"absolute path as zone", spec(`"cron": "@daily", "timezone": "/etc/passwd"`), 422, []string{"spec.timezone"}, ""},
		{"directory as zone", spec(`"cron": "@daily", "timezone": "Europe"`), 422, []string{"spec.timezone"}, ""},
		{"zone of every", spec(`"every": "5m", "timezone": "Nowhere"`), 422, []string{"spec.timezone"}, ""},
		{"bad cron", spec(`"cron": "every day"`), 422, []string{"spec.cron"}, ""},
		{"4 fields", spec(`"cron": "0 3 * *"`), 422, []string{"spec.cron"}, ""},
		{"7 fields", spec(`"cron": "0 0 3 * * * 2027"`), 422, []string{"spec.cron"}, ""},
		{"minute 60", spec(`"cron": "60 * * * *"`), 422, []string{"spec.cron"}, ""},
		{"TZ= prefix", spec(`"cron": "TZ=Asia/Tokyo 0 3 * * *"`), 422, []string{"spec.cron"}, ""},
		{"@every", spec(`"cron": "@every 5m"`), 422, []string{"spec.cron"}, ""},
		{"@reboot", spec(`"cron": "@reboot"`), 422, []string{"spec.cron"}, ""},
		{"30 February", spec(`"cron": "0 0 30 2 *"`), 422, []string{"spec.cron"}, ""},
		{"31 April", spec(`"cron": "0 0 31 4 *"`), 422, []string{"spec.cron"}, ""},
		{"long cron", spec(`"cron": "` + times(100, "1,") + `1 * * * *` + times(100, " ") + `"`), 422, []string{"spec.cron"}, ""},

		// Durations and instants.
		{"every 0", spec(`"every": "0s"`), 422, []string{"spec.every"}, "must be from 1s to 87600h (3650 days), not 0s"},
		{"every 0.5s", spec(`"every": "0.5s"`), 422, []string{"spec.every"}, "must be from 1s to 87600h (3650 days), not 0.5s"},
		{"every -1s", spec(`"every": "-1s"`), 422, []string{"spec.every"}, `must be a duration such as "90s", "15m", "24h" or "7d", not "-1s"`},
		{"every 1 month", spec(`"every": "1 month"`), 422, []string{"spec.every"}, `must be a duration such as "90s", "15m", "24h" or "7d", not "1 month"`},
		{"every 20y", spec(`"every": "20y"`), 422, []string{"spec.every"}, ""},
		{"every 20 years of days", spec(`"every": "7300d"`), 422, []string{"spec.every"}, "must be from 1s to 87600h (3650 days), not 175200h"},
		{"every in milliseconds", spec(`"every": "1500ms"`), 422, []string{"spec.every"}, ""},
		{"every empty", spec(`"every": ""`), 422, []string{"spec.every"}, ""},
		{"every without a unit", spec(`"every": "60"`), 422, []string{"spec.every"}, `must be a duration such as "90s", "15m", "24h" or "7d", not "60" (did you mean "60s"?)`},
		{"every number", spec(`"every": 60`), 422, []string{"spec.every"}, `must be a duration such as "90s", "15m", "24h" or "7d", not 60`},
		{"every ISO 8601", spec(`"every": "PT5M"`), 422, []string{"spec.every"}, ""},
		{"every too long for a duration", spec(`"every": "99999999999999999999h"`), 422, []string{"spec.every"}, ""},
		{"every a little under 1s", spec(`"every": "0.9999999s"`), 422, []string{"spec.every"}, ""},
		{"at tomorrow", spec(`"at": "tomorrow"`), 422, []string{"spec.at"}, `must be an instant in RFC 3339, such as "2026-11-24T03:00:00Z", not "tomorrow"`},
		{"at without a zone", spec(`"at": "2026-11-24T03:00:00"`), 422, []string{"spec.at"}, ""},
		{"at as a date", spec(`"at": "2026-11-24"`), 422, []string{"spec.at"}, ""},
		{"at with a space", spec(`"at": "2026-11-24 03:00:00Z"`), 422, []string{"spec.at"}, ""},
		{"at 30 February", spec(`"at": "2027-02-30T00:00:00Z"`), 422, []string{"spec.at"}, ""},
		{"at 24:00", spec(`"at": "2027-02-03T24:00:00Z"`), 422, []string{"spec.at"}, ""},
		{"at empty", spec(`"at": ""`), 422, []string{"spec.at"}, ""},
		{"at number", spec(`"at": 1764000000`), 422, []string{"spec.at"}, `must be an instant in RFC 3339, such as "2026-11-24T03:00:00Z", not 1764000000`},
		{"at 1969", spec(`"at": "1969-12-31T23:59:59Z"`), 422, []string{"spec.at"}, "must be between the years 1970 and 9998"},
		{"at 9999", spec(`"at": "9999-12-31T23:59:59Z"`), 422, []string{"spec.at"}, ""},
		{"at Go's zero", spec(`"at": "0001-01-01T00:00:00Z"`), 422, []string{"spec.at"}, "must be between the years 1970 and 9998"},
		{"start at Go's zero", spec(`"every": "5m", "start_at": "0001-01-01T00:00:00.0000001Z"`), 422, []string{"spec.start_at"}, ""},
		{"end at the year 0", spec(`"every": "5m", "end_at": "0000-01-01T00:00:00Z"`), 422, []string{"spec.end_at"}, ""},
		{"end before start", spec(`"every": "5m", "start_at": "2090-01-02T00:00:00Z", "end_at": "2090-01-01T00:00:00Z"`), 422, []string{"spec.end_at"}, "must be after start_at, which is 2090-01-02T00:00:00Z"},
		{"end at start", spec(`"every": "5m", "start_at": "2090-01-01T00:00:00Z", "end_at": "2090-01-01T09:00:00+09:00"`), 422, []string{"spec.end_at"}, ""},
		{"end within a microsecond of start", spec(`"every": "5m", "start_at": "2090-01-01T00:00:00.0000001Z", "end_at": "2090-01-01T00:00:00.0000009Z"`), 422, []string{"spec.end_at"}, ""},
		{"at with a window", spec(`"at": "2090-01-01T00:00:00Z", "start_at": "2080-01-01T00:00:00Z"`), 422, []string{"spec.at"}, ""},
		{"window in which nothing fires", spec(`"cron": "0 0 29 2 *", "start_at": "2089-01-01T00:00:00Z", "end_at": "2090-01-01T00:00:00Z"`), 422, []string{"spec.end_at"}, "leaves nothing to run: it is 2090-01-01T00:00:00Z, and the next run would be at 2092-02-29T00:00:00Z"},
		{"window that is over", spec(`"every": "5m", "end_at": "2020-01-01T00:00:00Z"`), 422, []string{"spec.end_at"}, ""},
		{"window shorter than every", spec(`"every": "10d", "end_at": "` + time.Now().Add(48*time.Hour).Format(time.RFC3339) + `"`), 422, []string{"spec.end_at"}, ""},
		{"time that the clocks always leave out", spec(`"cron": "*/15 2 * 3 0#2", "timezone": "America/New_York"`), 422, []string{"spec.cron"}, "never fires: for 40 years the clocks of America/New_York show none of its times"},
		{"negative jitter", spec(`"every": "5m", "jitter": "-5s"`), 422, []string{"spec.jitter"}, ""},
		{"long jitter", spec(`"every": "5m", "jitter": "25h"`), 422, []string{"spec.jitter"}, "must be from 0s to 24h, not 25h"},
		{"jitter number", spec(`"every": "5m", "jitter": 0`), 422, []string{"spec.jitter"}, ""},
		{"no runs at all", spec(`"every": "5m", "max_runs": 0`), 422, []string{"spec.max_runs"}, "must be at least 1, or null"},
		{"negative runs", spec(`"every": "5m", "max_runs": -1`), 422, []string{"spec.max_runs"}, ""},
		{"grace 0", top(`"misfire_grace": "0s"`), 422, []string{"misfire_grace"}, "must be longer than 0s and at most 87600h, or null"},
		{"grace of a nanosecond", top(`"misfire_grace": "0.000000001s"`), 422, []string{"misfire_grace"}, ""},
		{"grace too long", top(`"misfire_grace": "3651d"`), 422, []string{"misfire_grace"}, ""},
		{"stale after 0", top(`"overlap_stale_after": "0s"`), 422, []string{"overlap_stale_after"}, ""},
		{"stale after a month", top(`"overlap_stale_after": "1 month"`), 422, []string{"overlap_stale_after"}, ""},

		// Policies.
		{"misfire", top(`"misfire": "never"`), 422, []string{"misfire"}, `must be "once", "all" or "skip"`},
		{"misfire in capitals", top(`"misfire": "ONCE"`), 422, []string{"misfire"}, ""},
		{"misfire empty", top(`"misfire": ""`), 422, []string{"misfire"}, ""},
		{"misfire_limit 0", top(`"misfire_limit": 0`), 422, []string{"misfire_limit"}, "must be from 1 to 10000"},
		{"misfire_limit 10001", top(`"misfire_limit": 10001`), 422, []string{"misfire_limit"}, ""},
		{"overlap", top(`"overlap": "cancel"`), 422, []string{"overlap"}, `must be "allow", "skip" or "queue_one"`},
		{"overlap empty", top(`"overlap": ""`), 422, []string{"overlap"}, ""},

		// Names and jobs.
		{"name empty", strings.Replace(minimal("n", ""), `"n"`, `""`, 1), 422, []string{"name"}, "is missing"},
		{"name too long", minimal(times(121, "漢"), ""), 422, []string{"name"}, "must be at most 120 characters long"},
		{"name with a newline", minimal("a\nb", ""), 422, []string{"name"}, "must not contain control characters"},
		{"name with an escape", minimal("a\u009bb", ""), 422, []string{"name"}, ""},
		{"namespace in capitals", top(`"namespace": "Growth"`), 422, []string{"namespace"}, ""},
		{"namespace empty", top(`"namespace": ""`), 422, []string{"namespace"}, ""},
		{"namespace too long", top(`"namespace": "` + times(64, "n") + `"`), 422, []string{"namespace"}, ""},
		{"description too long", top(`"description": "` + times(4097, "漢") + `"`), 422, []string{"description"}, "must be at most 4096 characters long"},
		{"pause_reason too long", top(`"pause_reason": "` + times(1001, "x") + `"`), 422, []string{"pause_reason"}, ""},
		{"label without a key", top(`"labels": {"": "x"}`), 422, []string{"labels"}, "has an empty key"},
		{"label too long", top(`"labels": {"a": "` + times(254, "x") + `"}`), 422, []string{"labels.a"}, ""},
		{"label key too long", top(`"labels": {"` + times(254, "k") + `": "x"}`), 422, []string{"labels." + times(254, "k")}, ""},
		{"too many labels", top(`"labels": {` + numbered(65, `"k%d": ""`) + `}`), 422, []string{"labels"}, "has 65 entries: at most 64 are allowed"},
		{"kind empty", job(`"kind": ""`), 422, []string{"job.kind"}, "is missing"},
		{"kind too long", job(`"kind": "` + times(128, "k") + `"`), 422, []string{"job.kind"}, "must be at most 127 characters long"},
		{"kind with a control character", job(`"kind": "a\tb"`), 422, []string{"job.kind"}, "must not contain control characters"},
		{"queue empty", job(`"kind": "report", "queue": ""`), 422, []string{"job.queue"}, ""},
		{"queue in capitals", job(`"kind": "report", "queue": "Reports"`), 422, []string{"job.queue"}, ""},
		{"queue with a space", job(`"kind": "report", "queue": "a b"`), 422, []string{"job.queue"}, ""},
		{"queue with a newline at its end", job(`"kind": "report", "queue": "reports\n"`), 422, []string{"job.queue"}, ""},
		{"queue too long", job(`"kind": "report", "queue": "` + times(65, "q") + `"`), 422, []string{"job.queue"}, ""},
		{"tag too short", job(`"kind": "report", "tags": ["ok_", "ab"]`), 422, []string{"job.tags.1"}, ""},
		{"tag with a space", job(`"kind": "report", "tags": ["a b c"]`), 422, []string{"job.tags.0"}, ""},
		{"tag too long", job(`"kind": "report", "tags": ["` + times(256, "t") + `"]`), 422, []string{"job.tags.0"}, ""},
		{"tag null", job(`"kind": "report", "tags": [null]`), 422, []string{"job.tags.0"}, ""},
		{"too many tags", job(`"kind": "report", "tags": [` + numbered(51, `"tag%d"`) + `]`), 422, []string{"job.tags"}, "has 51 entries: at most 50 are allowed"},
		{"many bad tags", job(`"kind": "report", "tags": [` + numbered(9, `"%d"`) + `]`), 422, strings.Fields(numberedWords(9, "job.tags.%d")), ""},
		{"priority 0", job(`"kind": "report", "priority": 0`), 422, []string{"job.priority"}, "must be from 1, the most urgent, to 4"},
		{"priority 5", job(`"kind": "report", "priority": 5`), 422, []string{"job.priority"}, ""},
		{"max_attempts 0", job(`"kind": "report", "max_attempts": 0`), 422, []string{"job.max_attempts"}, "must be from 1 to 32767"},
		{"max_attempts 32768", job(`"kind": "report", "max_attempts": 32768`), 422, []string{"job.max_attempts"}, ""},

		// Args.
		{"args array", job(`"kind": "report", "args": []`), 422, []string{"job.args"}, "must be a JSON object"},
		{"args string", job(`"kind": "report", "args": "{}"`), 422, []string{"job.args"}, ""},
		{"args of a webhook as an array", webhook(`[]`), 422, []string{"job.args"}, "must be a JSON object"},
		{"args too large", job(`"kind": "report", "args": {"a": "` + times(64<<10, "x") + `"}`), 422, []string{"job.args"}, ""},
		{"args with NUL", job(`"kind": "report", "args": {"a": ["\u0000"]}`), 422, []string{"job.args"}, `contains a NUL character (\u0000), which PostgreSQL can't store`},
		{"args with NUL in a name", job(`"kind": "report", "args": {"\u0000": 1}`), 422, []string{"job.args"}, ""},
		{"args with 1e999999", job(`"kind": "report", "args": {"a": 1e999999}`), 422, []string{"job.args"}, "contains a number that is too long for PostgreSQL"},
		{"args with 1e-999999", job(`"kind": "report", "args": {"a": [-1E-999999]}`), 422, []string{"job.args"}, ""},
		{"args with a long number", job(`"kind": "report", "args": {"a": 1` + times(2000, "0") + `}`), 422, []string{"job.args"}, ""},
		// The table counts its own bytes and names its own column.
		{"args that grow in the database", job(`"kind": "report", "args": {"a": [` + times(9000, "1e999,") + `1]}`), 422, []string{"job.args"}, ""},

		{"webhook without a url", webhook(`{}`), 422, []string{"job.args.url"}, ""},
		{"webhook null url", webhook(`{"url": null}`), 422, []string{"job.args.url"}, "must be a string"},
		{"webhook relative url", webhook(`{"url": "/hook"}`), 422, []string{"job.args.url"}, ""},
		{"webhook ftp", webhook(`{"url": "ftp://example.com/"}`), 422, []string{"job.args.url"}, ""},
		{"webhook file", webhook(`{"url": "file:///etc/passwd"}`), 422, []string{"job.args.url"}, ""},
		{"webhook userinfo", webhook(`{"url": "https://user:secret@example.com/"}`), 422, []string{"job.args.url"}, ""},
		{"webhook number as url", webhook(`{"url": 5}`), 422, []string{"job.args.url"}, "must be a string"},
		{"webhook method", webhook(`{"url": "https://example.com/", "method": "BREW"}`), 422, []string{"job.args.method"}, ""},
		{"webhook header", webhook(`{"url": "https://example.com/", "headers": {"Host": "x"}}`), 422, []string{"job.args.headers.Host"}, ""},
		{"webhook headers as an array", webhook(`{"url": "https://example.com/", "headers": ["a"]}`), 422, []string{"job.args.headers"}, ""},
		{"webhook header with a line break", webhook(`{"url": "https://example.com/", "headers": {"X-A": "a\r\nX-B: b"}}`), 422, []string{"job.args.headers.X-A"}, ""},
		{"webhook timeout", webhook(`{"url": "https://example.com/", "timeout": "1h"}`), 422, []string{"job.args.timeout"}, ""},
		{"webhook unknown argument", webhook(`{"url": "https://example.com/", "URL": "https://example.org/"}`), 422, []string{"job.args.URL"}, "isn't an argument of webhook jobs"},
		{"listed_info date", job(`"kind": "listed_info", "args": {"date": "today"}`), 422, []string{"job.args.date"}, ""},

		// Several at once are all named.
		{"several", `{"name": "", "namespace": "X", "spec": {"cron": "x", "jitter": "99h"}, "job": {"kind": "webhook", "priority": 9, "args": {}}, "overlap": "x", "misfire": "x"}`, 422,
			[]string{"job.args.url", "job.priority", "misfire", "name", "namespace", "overlap", "spec.cron", "spec.jitter"}, ""},
	}

	// Every field of another type.
	for field, other := range map[string][]string{
		"name": {`5`, `true`, `{}`, `[]`, `["n"]`}, "namespace": {`5`, `{}`}, "description": {`5`, `[]`}, "misfire": {`1`, `{}`}, "overlap": {`[]`}, "pause_reason": {`{}`},
		"labels": {`5`, `"a:b"`, `[]`, `true`}, "spec": {`5`, `"@daily"`, `[]`, `true`}, "job": {`5`, `"report"`, `[]`, `false`},
		"paused": {`"true"`, `1`, `0`, `{}`}, "misfire_limit": {`"5"`, `1.5`, `{}`, `true`, `1e999999`, `99999999999999999999`, `-99999999999999999999`},
		"misfire_grace": {`5`, `{}`, `true`, `""`}, "overlap_stale_after": {`5`, `[]`},
		"version": {`"x"`}, "created_at": {`"x"`}, "run_count": {`1.5`},
	} {
		for _, value := range other {
			body := `{` + fmt.Sprintf("%q: %s", field, value) + `}`
			list = append(list, refusal{field + " as " + value, body, 422, []string{field}, ""})
		}
	}
	for field, other := range map[string][]string{
		"cron": {`5`, `[]`, `{}`, `true`}, "timezone": {`0`, `{}`}, "every": {`{}`, `5.5`}, "at": {`{}`, `true`}, "start_at": {`5`, `"x"`}, "end_at": {`[]`, `"2090-13-01T00:00:00Z"`},
		"jitter": {`{}`, `true`}, "max_runs": {`"5"`, `1.5`, `{}`, `1e999999`, `9223372036854775808`},
	} {
		for _, value := range other {
			list = append(list, refusal{"spec." + field + " as " + value, spec(fmt.Sprintf("%q: %s", field, value)), 422, []string{"spec." + field}, ""})
		}
	}
	for field, other := range map[string][]string{
		"kind": {`5`, `{}`, `["report"]`}, "queue": {`5`}, "priority": {`"1"`, `1.5`, `true`, `1e999999`}, "max_attempts": {`"3"`, `99999999999999999999`}, "tags": {`"a,b"`, `{}`, `5`},
	} {
		for _, value := range other {
			list = append(list, refusal{"job." + field + " as " + value, job(fmt.Sprintf("%q: %s", field, value)), 422, []string{"job." + field}, ""})
		}
	}
	list = append(list,
		refusal{"label as number", top(`"labels": {"a": "1", "b": 2}`), 422, []string{"labels.b"}, "must be a string"},
		refusal{"label as null", top(`"labels": {"a": null}`), 422, []string{"labels.a"}, "must be a string"},
		refusal{"label as object", top(`"labels": {"a": {}}`), 422, []string{"labels.a"}, ""},
		refusal{"tag as number", job(`"kind": "report", "tags": ["abc", 5]`), 422, []string{"job.tags.1"}, "must be a string"},
	)

	// NUL in every text.
	for field, body := range map[string]string{
		"name": strings.Replace(minimal("n", ""), `"n"`, `"\u0000"`, 1), "namespace": top(`"namespace": "a\u0000"`), "description": top(`"description": "a\u0000b"`),
		"pause_reason": top(`"pause_reason": "\u0000"`), "misfire": top(`"misfire": "once\u0000"`), "overlap": top(`"overlap": "allow\u0000"`),
		"spec.cron": spec(`"cron": "@daily\u0000"`), "spec.timezone": spec(`"cron": "@daily", "timezone": "UTC\u0000"`), "spec.every": spec(`"every": "5m\u0000"`),
		"spec.at": spec(`"at": "2090-01-01T00:00:00Z\u0000"`), "spec.jitter": spec(`"every": "5m", "jitter": "5s\u0000"`),
		"job.kind": job(`"kind": "report\u0000"`), "job.queue": job(`"kind": "report", "queue": "a\u0000"`), "job.tags.0": job(`"kind": "report", "tags": ["abc\u0000"]`),
		"labels.a": top(`"labels": {"a": "\u0000"}`), "labels.a\x00": top(`"labels": {"a\u0000": "x"}`),
	} {
		list = append(list, refusal{fmt.Sprintf("NUL in %q", field), body, 422, []string{field}, ""})
	}
	return list
}

func numbered(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, ",")
}

func numberedWords(n int, format string) string {
	return strings.ReplaceAll(numbered(n, format), ",", " ")
}

func TestBadDocumentsAreRefusedAndNothingIsWritten(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("kept", ""))
	f.announced()
	stored := f.stored(t)
	for _, r := range refusals() {
		for _, to := range []struct{ method, path string }{{"POST", "/v1/schedules"}, {"PUT", path(o)}} {
			t.Run(to.method+" "+r.name, func(t *testing.T) {
				p := f.do(t, to.method, to.path, r.body).refused(t, r.status, r.fields...)
				switch {
				case r.reason == "":
				case len(p.Errors) > 0:
					equal(t, "reason", p.Errors[0].Reason, r.reason)
				default:
					equal(t, "detail", p.Detail, r.reason)
				}
				if p.Detail == "" || len(p.Detail) > 1000 {
					t.Errorf("the detail has %d bytes", len(p.Detail))
				}
				if got := f.stored(t); got != stored {
					t.Error("something was written")
				}
				equal(t, "announced", len(f.announced()), 0)
			})
		}
	}
}

// What is repeated of a request is bounded, whatever the request is.
func TestARefusalIsShort(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, body := range []string{
		top(`"labels": {` + numbered(20_000, `"\u0000%d": ""`) + `}`),
		job(`"kind": "report", "tags": [` + numbered(20_000, `"%d"`) + `]`),
		job(`"kind": "report", "tags": [` + times(100_000, `"",`) + `""]`),
		top(`"labels": {"` + times(300_000, "漢") + `": 5}`),
		top(`"` + times(900_000, "x") + `": 1`),
		times(9_000, `{"`+times(50, "x")+`":`),
		`{"` + times(900_000, "x") + `": 1, "` + times(50, "x"),
		spec(`"cron": "` + times(900_000, "x") + `"`),
		spec(`"cron": "@daily", "timezone": "` + times(900_000, "x") + `"`),
	} {
		answer := f.do(t, "POST", "/v1/schedules", body)
		if answer.status != 400 && answer.status != 422 || len(answer.text) > 50_000 {
			t.Errorf("%.50s…: %d with %d bytes: %.200s", body, answer.status, len(answer.text), answer.text)
		}
	}
	p := f.do(t, "POST", "/v1/schedules", job(`"kind": "report", "tags": [`+numbered(50, `"%d"`)+`], "queue": ""`))
	var got problem
	if err := json.Unmarshal([]byte(p.text), &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "detail", got.Detail, "51 fields are wrong: these are 50 of them.")
	equal(t, "errors", len(got.Errors), 50)
}

func TestTheBodyMustBeJSON(t *testing.T) {
	t.Parallel()
	f := setup(t)
	o := f.create(t, minimal("n", ""))
	for _, contentType := range []string{
		"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "application/cbor", "application/jsonx", "x", "application/json-patch+json",
	} {
		for _, to := range []struct{ method, path string }{
			{"POST", "/v1/schedules"}, {"PUT", path(o)}, {"PATCH", path(o)}, {"POST", path(o) + "/pause"}, {"POST", "/v1/preview"},
		} {
			p := f.do(t, to.method, to.path, minimal("n", ""), "Content-Type", contentType).refused(t, http.StatusUnsupportedMediaType)
			equal(t, "detail", p.Detail, "The body must be application/json.")
		}
	}
	for i, contentType := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json", ""} {
		f.do(t, "POST", "/v1/schedules", minimal(fmt.Sprint(i), ""), "Content-Type", contentType).want(t, http.StatusCreated)
	}
	// A compressed body isn't JSON: nothing is unpacked.
	f.do(t, "POST", "/v1/schedules", "\x1f\x8b\x08\x00", "Content-Encoding", "gzip").refused(t, http.StatusBadRequest)
}
