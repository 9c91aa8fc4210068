package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// KindListedInfo is the kind of the jobs that fetch the listed companies.
const KindListedInfo = "listed_info"

// The bounds of a fetch. The whole list is some 4,400 companies on a few pages.
const (
	listedJobTimeout     = 15 * time.Minute
	listedRequestTimeout = 30 * time.Second
	listedPagesMax       = 10_000
	listedPageMax        = 32 << 20 // bytes
	listedSnoozeMax      = time.Hour
	listedSnooze         = time.Minute // when a 429 doesn't say how long to wait
)

// ListedInfoConfig is where the listed companies come from and go to.
type ListedInfoConfig struct {
	BaseURL string        // of a J-Quants-style API, without /v1; empty: jobs are cancelled
	Token   string        // bearer token; empty: none is sent
	HTTP    *http.Client  // nil: a plain one. Redirects aren't followed in either case
	Pool    *pgxpool.Pool // nil: the River client's
}

// ListedInfoArgs are the arguments of a listed_info job.
type ListedInfoArgs struct {
	Date string // YYYY-MM-DD; empty: as the API decides, which is today
	Code string // of one company; empty: all
}

// DecodeListedInfoArgs reads the arguments of a listed_info job and checks them:
//
//	{"date": "2026-11-24", "code": "86970"}
//
// Both may be absent. Unknown fields are refused.
func DecodeListedInfoArgs(raw json.RawMessage) (ListedInfoArgs, []schedule.FieldError) {
	var a ListedInfoArgs
	wrong := decodeFields(raw, KindListedInfo, map[string]fieldDecoder{
		"date": required(&a.Date),
		"code": required(&a.Code),
	})
	if len(wrong) > 0 {
		return a, wrong
	}
	return a, a.Validate()
}

// required is text that isn't empty: an empty parameter is a mistake, and would
// silently mean all of them.
func required(into *string) fieldDecoder {
	return func(raw json.RawMessage) string {
		if reason := text(into)(raw); reason != "" {
			return reason
		}
		if *into == "" {
			return "must not be empty: leave it out"
		}
		return ""
	}
}

// companyCode is a TSE code: four characters, a fifth for classes of shares.
var companyCode = regexp.MustCompile(`^[0-9A-Z]{4,5}$`)

// Validate is every field that can't be accepted, by its path in a schedule's
// JSON; none if the arguments are good.
func (a ListedInfoArgs) Validate() []schedule.FieldError {
	var wrong []schedule.FieldError
	if a.Date != "" {
		if _, err := time.Parse(time.DateOnly, a.Date); err != nil {
			wrong = append(wrong, schedule.FieldError{Field: argsPath + ".date", Reason: "must be a date such as 2026-11-24"})
		}
	}
	if a.Code != "" && !companyCode.MatchString(a.Code) {
		wrong = append(wrong, schedule.FieldError{Field: argsPath + ".code", Reason: "must be 4 or 5 digits or capital letters"})
	}
	return wrong
}

// listedInfoJob keeps a job's arguments as they are: were they decoded by River,
// bad ones would be retried.
type listedInfoJob struct{ json.RawMessage }

func (listedInfoJob) Kind() string { return KindListedInfo }

type listedInfoWorker struct {
	river.WorkerDefaults[listedInfoJob]
	endpoint  string // empty: not configured
	token     string
	userAgent string
	client    *http.Client
	pool      *pgxpool.Pool
}

func newListedInfoWorker(c ListedInfoConfig, userAgent string) (*listedInfoWorker, error) {
	w := &listedInfoWorker{token: c.Token, userAgent: userAgent, client: &http.Client{}, pool: c.Pool}
	if c.HTTP != nil {
		copied := *c.HTTP
		w.client = &copied
	}
	// The token goes to the server that was configured, and to no other.
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.BaseURL == "" {
		return w, nil
	}
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the listed-company API (RIVERBEAT_JQUANTS_URL) must be an http or https URL without a query")
	}
	w.endpoint = base.JoinPath("v1", "listed", "info").String()
	return w, nil
}

func (w *listedInfoWorker) Timeout(*river.Job[listedInfoJob]) time.Duration { return listedJobTimeout }

// listedInfoOutput is what a job's output says of its last attempt.
type listedInfoOutput struct {
	Pages   int   `json:"pages"`
	Rows    int64 `json:"rows"`    // that the pages had
	Changed int64 `json:"changed"` // of these, new or different
}

// Work fetches page after page and writes each in a transaction of its own. What
// is written stays when a later page fails; the retry begins with the first page
// again and finds nothing to change there.
func (w *listedInfoWorker) Work(ctx context.Context, job *river.Job[listedInfoJob]) error {
	a, wrong := DecodeListedInfoArgs(job.Args.RawMessage)
	if err := invalid(wrong); err != nil {
		return river.JobCancel(fmt.Errorf("read the job's arguments: %w", err))
	}
	if w.endpoint == "" {
		return river.JobCancel(errors.New("no listed-company API is configured (RIVERBEAT_JQUANTS_URL)"))
	}
	output, err := w.fetchAll(ctx, a)
	if err := river.RecordOutput(ctx, output); err != nil {
		return fmt.Errorf("record the output: %w", err)
	}
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("fetch the listed companies: %w", context.Cause(ctx)) // by which River knows a stop
	}
	return err
}

func (w *listedInfoWorker) fetchAll(ctx context.Context, a ListedInfoArgs) (listedInfoOutput, error) {
	var output listedInfoOutput
	query := url.Values{}
	if a.Date != "" {
		query.Set("date", a.Date)
	}
	if a.Code != "" {
		query.Set("code", a.Code)
	}
	seen := map[string]bool{}
	for page := 1; ; page++ {
		if page > listedPagesMax {
			return output, fmt.Errorf("the listed companies have more than %d pages", listedPagesMax)
		}
		companies, next, err := w.fetch(ctx, query)
		if err != nil {
			return output, fmt.Errorf("fetch page %d of the listed companies: %w", page, err)
		}
		changed, err := w.store(ctx, companies)
		if err != nil {
			return output, fmt.Errorf("write page %d of the listed companies: %w", page, err)
		}
		output.Pages = page
		output.Rows += int64(len(companies))
		output.Changed += changed
		if next == "" {
			return output, nil
		}
		if seen[next] {
			return output, fmt.Errorf("page %d of the listed companies leads back to a page that was read", page)
		}
		seen[next] = true
		query.Set("pagination_key", next)
	}
}

// company is one row of the answer; the API has more fields than we keep.
type company struct {
	Date               string `json:"Date"`
	Code               string `json:"Code"`
	CompanyName        string `json:"CompanyName"`
	CompanyNameEnglish string `json:"CompanyNameEnglish"`
	Sector17Code       string `json:"Sector17Code"`
	Sector17CodeName   string `json:"Sector17CodeName"`
	Sector33Code       string `json:"Sector33Code"`
	Sector33CodeName   string `json:"Sector33CodeName"`
	ScaleCategory      string `json:"ScaleCategory"`
	MarketCode         string `json:"MarketCode"`
	MarketCodeName     string `json:"MarketCodeName"`
}

// columns are the company's fields in the order of listed_info's columns.
func (c *company) columns() [11]string {
	return [11]string{
		c.Date, c.Code, c.CompanyName, c.CompanyNameEnglish, c.Sector17Code, c.Sector17CodeName,
		c.Sector33Code, c.Sector33CodeName, c.ScaleCategory, c.MarketCode, c.MarketCodeName,
	}
}

// fetch gets one page. Its errors never contain the token, nor what the server
// wrote beside its status.
func (w *listedInfoWorker) fetch(parent context.Context, query url.Values) (companies []company, next string, err error) {
	ctx, cancel := context.WithTimeout(parent, listedRequestTimeout)
	defer cancel()

	address := w.endpoint
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, "", fmt.Errorf("write the request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", w.userAgent)
	if w.token != "" {
		req.Header.Set("Authorization", "Bearer "+w.token)
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return nil, "", transportError(ctx, err, listedRequestTimeout)
	}
	defer resp.Body.Close()

	if resp.StatusCode == http.StatusTooManyRequests {
		return nil, "", river.JobSnooze(snoozeFor(resp.Header.Get("Retry-After"), time.Now()))
	}
	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("the API answered with %s",
			strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, listedPageMax+1))
	if err != nil {
		return nil, "", fmt.Errorf("read the answer: %w", transportError(ctx, err, listedRequestTimeout))
	}
	if len(body) > listedPageMax {
		return nil, "", fmt.Errorf("the answer is larger than %d MiB", listedPageMax>>20)
	}
	return decodePage(body)
}

// decodePage reads an answer and refuses it whole if anything in it is wrong.
func decodePage(body []byte) (companies []company, next string, err error) {
	var page struct {
		Info          *[]company `json:"info"`
		PaginationKey string     `json:"pagination_key"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		var wrongType *json.UnmarshalTypeError
		if errors.As(err, &wrongType) && wrongType.Field != "" {
			return nil, "", fmt.Errorf("the answer's %s is of type %s, not %s", wrongType.Field, wrongType.Value, wrongType.Type.Kind())
		}
		return nil, "", errors.New("the answer isn't a JSON object as expected")
	}
	if page.Info == nil {
		return nil, "", errors.New(`the answer has no "info"`)
	}
	for n, c := range *page.Info {
		if c.Code == "" {
			return nil, "", fmt.Errorf("row %d has no Code", n+1)
		}
		if _, err := time.Parse(time.DateOnly, c.Date); err != nil {
			return nil, "", fmt.Errorf("row %d (Code %.20q) has the Date %.20q, which isn't YYYY-MM-DD", n+1, c.Code, c.Date)
		}
		for _, value := range c.columns() {
			if strings.ContainsRune(value, 0) { // PostgreSQL has no room for it
				return nil, "", fmt.Errorf("row %d (Code %.20q) contains a NUL", n+1, c.Code)
			}
		}
	}
	return *page.Info, page.PaginationKey, nil
}

// snoozeFor is how long a Retry-After header asks to wait, within bounds.
func snoozeFor(header string, now time.Time) time.Duration {
	wait, ok := retryAfter(header, now)
	if !ok {
		wait = listedSnooze
	}
	return min(max(wait, time.Second), listedSnoozeMax)
}

// retryAfter reads a Retry-After header: seconds, or a date.
func retryAfter(header string, now time.Time) (wait time.Duration, ok bool) {
	if seconds, err := strconv.ParseUint(strings.TrimSpace(header), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(header); err == nil {
		return at.Sub(now), true
	}
	return 0, false
}

// Only what differs is written, so a repeated page costs no row versions and
// updated_at says when something changed.
const upsertListedInfo = `
INSERT INTO riverbeat.listed_info AS old (
    date, code, company_name, company_name_english, sector17_code, sector17_name,
    sector33_code, sector33_name, scale_category, market_code, market_name
)
SELECT d::date, c, n, e, s17, s17n, s33, s33n, sc, m, mn
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
    $7::text[], $8::text[], $9::text[], $10::text[], $11::text[]
) AS new (d, c, n, e, s17, s17n, s33, s33n, sc, m, mn)
ON CONFLICT ON CONSTRAINT listed_info_pkey DO UPDATE SET
    company_name = excluded.company_name,
    company_name_english = excluded.company_name_english,
    sector17_code = excluded.sector17_code,
    sector17_name = excluded.sector17_name,
    sector33_code = excluded.sector33_code,
    sector33_name = excluded.sector33_name,
    scale_category = excluded.scale_category,
    market_code = excluded.market_code,
    market_name = excluded.market_name,
    updated_at = now()
WHERE (old.company_name, old.company_name_english, old.sector17_code, old.sector17_name,
       old.sector33_code, old.sector33_name, old.scale_category, old.market_code, old.market_name)
    IS DISTINCT FROM
      (excluded.company_name, excluded.company_name_english, excluded.sector17_code, excluded.sector17_name,
       excluded.sector33_code, excluded.sector33_name, excluded.scale_category, excluded.market_code, excluded.market_name)`

// store writes one page, all of it or nothing, and counts what was new or
// different. A company that the page has twice is as its later row says.
func (w *listedInfoWorker) store(ctx context.Context, companies []company) (changed int64, err error) {
	if len(companies) == 0 {
		return 0, nil
	}
	type key struct{ date, code string }
	latest := make(map[key]company, len(companies))
	for _, c := range companies {
		latest[key{c.Date, c.Code}] = c
	}
	rows := make([]company, 0, len(latest))
	for _, c := range latest {
		rows = append(rows, c)
	}
	// Two jobs that write the same rows lock them in the same order.
	slices.SortFunc(rows, func(a, b company) int {
		return cmp.Or(cmp.Compare(a.Date, b.Date), cmp.Compare(a.Code, b.Code))
	})
	arrays := make([]any, 11)
	for column := range arrays {
		values := make([]string, len(rows))
		for n := range rows {
			values[n] = rows[n].columns()[column]
		}
		arrays[column] = values
	}
	tag, err := w.pool.Exec(ctx, upsertListedInfo, arrays...)
	if err != nil {
		return 0, err
	}
	return tag.RowsAffected(), nil
}
