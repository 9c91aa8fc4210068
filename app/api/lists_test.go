package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestListsAreOrderedAsIsAskedFor(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i, name := range []string{"b", "a", "Ünter", "d"} {
		f.create(t, minimal(name, fmt.Sprintf(`"every": "%dh"`, 4-i)))
	}
	f.do(t, "POST", "/v1/schedules/name:a/pause", "").want(t, http.StatusOK)
	f.do(t, "PATCH", "/v1/schedules/name:b", `{"description": "the Best of all"}`).want(t, http.StatusOK)
	for order, want := range map[string]string{
		"id": "b a Ünter d", "id desc": "d Ünter a b", "name": "a b d Ünter", "name desc": "Ünter d b a",
		"next_run_at": "d Ünter b a", "next_run_at desc": "b Ünter d a", "updated_at": "Ünter d a b", "updated_at desc": "b a d Ünter",
	} {
		for size := range 5 {
			var got []string
			query := fmt.Sprintf("?order_by=%s&page_size=%d", url.QueryEscape(order), size+1)
			for token := ""; ; {
				page := f.list(t, query+token)
				got = append(got, names(page.list("schedules"))...)
				next := page.text("next_page_token")
				if next == "" {
					break
				}
				token = "&page_token=" + url.QueryEscape(next)
			}
			equal(t, query, strings.Join(got, " "), want)
		}
	}
	for query, want := range map[string]string{
		"?q=BEST": "b", "?q=nt": "Ünter", "?q=nothing": "", "?q=best&order_by=name": "b", "?q=%25": "", "?selector=team%3Dgrowth": "",
	} {
		equal(t, query, strings.Join(names(f.list(t, query).list("schedules")), " "), want)
	}
	for query, field := range map[string]string{
		"?order_by=created_at": "order_by", "?order_by=name,id": "order_by", "?order_by=NAME": "order_by", "?order_by=name%20desc%20desc": "order_by",
		"?selector=team%20a": "selector", "?count=maybe": "count", "?q=%00": "q", "?q=" + strings.Repeat("x", 121): "q",
	} {
		f.do(t, "GET", "/v1/schedules"+query, "").refused(t, http.StatusUnprocessableEntity, field)
	}
}

func TestAPageTokenIsOfItsFilterAndOrder(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for i := range 4 {
		f.create(t, `{"name": "n`+fmt.Sprint(i)+`", "labels": {"team": "a"}, "spec": {"every": "5m"}, "job": {"kind": "report"}}`)
	}
	queries := []string{
		"order_by=name", "order_by=id", "order_by=name%20desc", "order_by=next_run_at", "order_by=updated_at", "kind=report", "label=team:a", "name_prefix=n",
		"namespace=default", "state=active", "q=n",
	}
	for _, one := range queries {
		token := url.QueryEscape(f.list(t, "?page_size=1&"+one).text("next_page_token"))
		for _, other := range queries {
			answer := f.do(t, "GET", "/v1/schedules?page_size=2&"+other+"&page_token="+token, "")
			if one == other {
				equal(t, one, len(answer.want(t, http.StatusOK).object(t).list("schedules")), 2)
			} else {
				answer.refused(t, http.StatusUnprocessableEntity, "page_token")
			}
		}
		// The same labels, however they are written, are the same list.
		if one == "label=team:a" {
			f.list(t, "?selector=team%3Da&page_token="+token)
		}
	}
}

func TestTheTotalIsSaidWhenItIsAskedFor(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.exec(t, `INSERT INTO riverbeat.schedules (name, every, job_kind) SELECT 'n' || n, '5m', CASE WHEN n % 2 = 0 THEN 'report' ELSE 'mail' END FROM generate_series(1, 11000) n`)
	f.exec(t, `ANALYZE`)
	page := f.list(t, "?count=true&kind=report&page_size=2")
	equal(t, "total", page["total"], any(json.Number("5500")))
	equal(t, "estimated", page["total_is_estimate"], any(false))
	equal(t, "nothing", f.list(t, "?count=true&name=nobody")["total"], any(json.Number("0")))
	page = f.list(t, "?count=true&page_size=2")
	equal(t, "estimated", page["total_is_estimate"], any(true))
	if n := page.number(t, "total"); n < 10_000 || n > 12_000 {
		t.Errorf("about %d", n)
	}
	page = f.list(t, "?count=true&page_size=2&page_token="+page.text("next_page_token"))
	equal(t, "on the second page", page["total_is_estimate"], any(true))
	for _, query := range []string{"?page_size=2", "?page_size=2&count=false"} {
		for _, field := range []string{"total", "total_is_estimate"} {
			if value, ok := f.list(t, query)[field]; ok {
				t.Errorf("%s: %s is %v", query, field, value)
			}
		}
	}
	if !slices.Equal(names(f.list(t, "?page_size=2").list("schedules")), names(f.list(t, "?page_size=2&count=true").list("schedules"))) {
		t.Error("a count changes the page")
	}
}
