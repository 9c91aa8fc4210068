package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// ListOrder is what a list of schedules is ordered by, and by id where that is equal.
type ListOrder string

// The orders. That of the next runs is the order in which they are due, which is that
// of next_run_at but for jitter and what waits; schedules without a next run come
// last, whatever the direction.
const (
	OrderID        ListOrder = "id"
	OrderName      ListOrder = "name" // by its bytes
	OrderNextRunAt ListOrder = "next_run_at"
	OrderUpdatedAt ListOrder = "updated_at"
)

// ListFilter says which schedules to list, and in which order. Zero fields don't
// filter.
type ListFilter struct {
	Namespaces []string // nil: all
	Name       string
	NamePrefix string
	Selector   schedule.Selector // by labels
	State      schedule.State
	Kind       string
	Search     string // within name or description, in upper or lower case

	OrderBy    ListOrder // empty: OrderID
	Descending bool
	After      *ListPlace // where the page before has ended; nil: this is the first
	Limit      int

	// Limited says that Namespaces are all that there is for who asks: then nothing
	// shows how many others there are, no short page either.
	Limited bool

	bounds *listBounds // nil: those of the program
}

// ListPlace is a place in a list of schedules: what it is ordered by, and the id.
type ListPlace struct {
	Name string
	At   time.Time
	Idle bool // among those without a next run
	ID   schedule.ID
}

// SchedulePage is a part of a list of schedules.
type SchedulePage struct {
	Schedules []*schedule.Status // without their calendars
	Next      *ListPlace         // where the next page begins; nil: this is the last
}

// listBounds are how much a page may look at.
type listBounds struct {
	few    int // schedules that a filter finds by its own index are sorted
	walk   int // rows in the order of the list, for those that the filter lets through
	gather int // schedules of somebody's namespaces are sorted, before they are told to ask for less
	count  int // schedules are counted; of more it is estimated how many they are
}

// A page of few or of a walk takes some milliseconds.
var programBounds = listBounds{few: 1000, walk: 1000, gather: 25_000, count: 10_000}

func (f *ListFilter) limits() listBounds {
	if f.bounds != nil {
		return *f.bounds
	}
	return programBounds
}

func (f *ListFilter) order() ListOrder {
	if f.OrderBy == "" {
		return OrderID
	}
	return f.OrderBy
}

// source is where rows come from: some of the schedules, with those of the filter's
// among them, by an index.
type source struct {
	part  string // of the filter: each has its own index
	table string // s, c or l: schedules, cursors or labels
	ask   func(*conditions)
}

// The other tables are read row by row, as the first one gives them: with OFFSET 0
// PostgreSQL can't turn it round and look up a few of the first for each of many.
const (
	itsCursor   = "CROSS JOIN LATERAL (SELECT * FROM riverbeat.cursors WHERE schedule_id = s.id OFFSET 0) c"
	itsSchedule = "CROSS JOIN LATERAL (SELECT * FROM riverbeat.schedules WHERE id = %s.schedule_id OFFSET 0) s"
)

var tables = map[string]struct{ name, id, join string }{
	"s": {"riverbeat.schedules", "s.id", itsCursor},
	"c": {"riverbeat.cursors", "c.schedule_id", fmt.Sprintf(itsSchedule, "c")},
	"l": {"riverbeat.schedule_labels", "l.schedule_id", fmt.Sprintf(itsSchedule, "l") + "\n" + itsCursor},
}

// The parts of a filter of which more is to be known. The rows of several values, as
// those of the last three, aren't in the order of their ids.
const (
	partNamespace  = "namespace"
	partNamespaces = "namespaces"
	partPrefix     = "prefix"
	partLabels     = "labels"
)

// sources are those that the filter has an index for.
func (f *ListFilter) sources() (list []source) {
	add := func(part, table, text string, values ...any) {
		list = append(list, source{part, table, func(c *conditions) { c.add(text, values...) }})
	}
	if f.Name != "" {
		add("name", "s", "s.name = %s", f.Name)
	}
	switch f.State {
	case schedule.StatePaused:
		add("state", "s", "s.paused")
	case schedule.StateCompleted, schedule.StateInvalid:
		add("state", "c", "c.state = '"+string(f.State)+"' AND c.state <> 'active'")
	}
	for _, term := range f.Selector {
		switch {
		case term.Op == schedule.TermIn && len(term.Values) == 1:
			add("label "+term.Key, "l", "l.key = %s AND l.value = %s", term.Key, term.Values[0])
		case term.Op == schedule.TermIn:
			add(partLabels, "l", "l.key = %s AND l.value = ANY(%s)", term.Key, term.Values)
		case term.Op == schedule.TermExists:
			add(partLabels, "l", "l.key = %s", term.Key)
		}
	}
	if f.Kind != "" {
		add("kind", "s", "s.job_kind = %s", f.Kind)
	}
	switch {
	case len(f.Namespaces) == 1:
		add(partNamespace, "s", "s.namespace = %s", f.Namespaces[0])
	case f.Namespaces != nil:
		list = append(list, f.gathered())
	}
	if f.NamePrefix != "" {
		list = append(list, source{partPrefix, "s", func(c *conditions) { c.addPrefix(f.NamePrefix) }})
	}
	return list
}

// gathered is all that the filter's namespaces hold.
func (f *ListFilter) gathered() source {
	return source{partNamespaces, "s", func(c *conditions) { c.add("s.namespace = ANY(%s)", f.Namespaces) }}
}

// addPrefix asks for names by their place in the index.
func (c *conditions) addPrefix(prefix string) { c.addNames(prefix, behind(prefix)) }

// addNames asks for names from the first to before the end; "": without that bound.
func (c *conditions) addNames(from, end string) {
	if from != "" {
		c.add("s.name >= %s", from)
	}
	if end != "" {
		c.add("s.name < %s", end)
	}
}

// behind is the first text, by its bytes, behind all that begin with the prefix; "":
// there is none.
func behind(prefix string) string {
	for prefix != "" {
		last, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case last == 0xD7FF:
			return prefix + "\uE000" // what is between stands for no character
		case last < utf8.MaxRune:
			return prefix + string(last+1)
		}
	}
	return ""
}

// addFilter asks for all that the filter does, of schedules s and cursors c.
func (c *conditions) addFilter(f *ListFilter) {
	switch {
	case len(f.Namespaces) == 1:
		c.add("s.namespace = %s", f.Namespaces[0])
	case f.Namespaces != nil:
		c.add("s.namespace = ANY(%s)", f.Namespaces)
	}
	if f.Name != "" {
		c.add("s.name = %s", f.Name)
	}
	if f.NamePrefix != "" {
		c.addPrefix(f.NamePrefix)
	}
	c.addSelector(f.Selector)
	switch f.State {
	case schedule.StateActive:
		c.add("c.state = 'active' AND NOT s.paused")
	case schedule.StatePaused:
		c.add("c.state = 'active' AND s.paused")
	case schedule.StateCompleted, schedule.StateInvalid:
		c.add("c.state = '" + string(f.State) + "'")
	}
	if f.Kind != "" {
		c.add("s.job_kind = %s", f.Kind)
	}
	if f.Search != "" {
		// Names are kept in an order that knows no letters beyond ASCII; the database's
		// own may.
		c.add(`strpos(lower((s.name || E'\n' || s.description) COLLATE "default"), lower(%s::text COLLATE "default")) > 0`, f.Search)
	}
}

// walk is a way through rows, in the order of the list.
type walk struct {
	table string
	by    []source // that narrow it down
	also  string   // what else is asked of the rows; "": nothing
	key   string   // the column before the id that they are ordered by; "": there is none
	idle  bool     // of those without a next run

	// The names that it goes from and ends before; "": without that bound. Where a page
	// begins among them, that takes the bound's place: of two the index would begin at
	// either.
	from, end string
}

// within reports whether the walk is within a part of the filter.
func (w *walk) within(part string) bool {
	return part == partPrefix && w.from != "" || slices.ContainsFunc(w.by, func(s source) bool { return s.part == part })
}

func (w *walk) conditions() (c conditions) {
	if w.also != "" {
		c.add(w.also)
	}
	for _, s := range w.by {
		s.ask(&c)
	}
	return c
}

// walks are the ways through all that the filter may let through, in the order of the
// list, one behind the other.
func (f *ListFilter) walks(sources []source) []walk {
	switch order := f.order(); {
	case order == OrderName:
		w := walk{table: "s", key: "s.name", by: slices.DeleteFunc(slices.Clone(sources), func(s source) bool { return s.part != partNamespace })}
		if f.NamePrefix != "" {
			w.from, w.end = f.NamePrefix, behind(f.NamePrefix)
		}
		return []walk{w}
	case order == OrderUpdatedAt:
		return []walk{{table: "s", key: "s.updated_at"}}
	case order == OrderNextRunAt && (f.State == "" || f.State == schedule.StateActive):
		return []walk{
			{table: "c", also: "c.fire_at IS NOT NULL", key: "c.fire_at"},
			{table: "c", also: "c.fire_at IS NULL", idle: true},
		}
	}
	// By id. One namespace comes first for who sees no other; else the part of the filter
	// that is likely to let least through.
	by := slices.DeleteFunc(slices.Clone(sources), func(s source) bool {
		return s.part == partNamespaces || s.part == partPrefix || s.part == partLabels || f.Limited && s.part != partNamespace
	})
	w := walk{table: "s", idle: f.order() == OrderNextRunAt}
	if len(by) > 0 {
		w.table, w.by = by[0].table, by[:1]
	}
	return []walk{w}
}

// direction is the words for the filter's.
func (f *ListFilter) direction() (word, compare string) {
	if f.Descending {
		return " DESC", "<"
	}
	return "", ">"
}

// What pages read is bounded when they read it in the order of an index. PostgreSQL
// doesn't know that the bound is what matters: it may gather all that an index has of
// a value first, or read a whole table, where it expects that to be no more work.
const byIndexAlone = `
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)`

// byIndex has the rest of the transaction read by indexes, row by row.
func (tx *Tx) byIndex(ctx context.Context) error {
	_, err := tx.Exec(ctx, byIndexAlone)
	return wrap(err, "read by indexes")
}

// ListSchedules lists a part of the schedules that the filter lets through. The work
// for it is bounded: a page may be short, or empty, and have a Next all the same, but
// not for who is Limited. Those get a *schedule.InvalidError where all that is theirs
// is too much to be sorted.
func (tx *Tx) ListSchedules(ctx context.Context, f ListFilter) (page SchedulePage, err error) {
	if f.Namespaces != nil && len(f.Namespaces) == 0 {
		return page, nil
	}
	if err := tx.byIndex(ctx); err != nil {
		return page, err
	}
	bounds, sources := f.limits(), f.sources()
	walks := f.walks(sources)
	if slices.ContainsFunc(sources, func(s source) bool { return !walks[0].within(s.part) }) {
		least, n, err := tx.least(ctx, sources, bounds.few)
		if err != nil {
			return page, err
		}
		if n <= bounds.few {
			return tx.sorted(ctx, &f, least, bounds.few)
		}
	}
	after := f.After
	for i, w := range walks {
		if after != nil && after.Idle != w.idle && i+1 < len(walks) {
			continue
		}
		list, end, err := tx.walk(ctx, &f, w, after, f.Limit-len(page.Schedules), bounds.walk)
		if err != nil {
			return SchedulePage{}, err
		}
		if page.Schedules = append(page.Schedules, list...); len(page.Schedules) > f.Limit {
			page.Schedules = page.Schedules[:f.Limit]
			page.Next = f.placeOf(page.Schedules[f.Limit-1])
			return page, nil
		}
		if end != nil && f.Limited && !w.within(partNamespace) {
			return tx.gather(ctx, &f, bounds.gather)
		}
		if end != nil {
			page.Next = end
			return page, nil
		}
		after = nil
	}
	return page, nil
}

func (f *ListFilter) placeOf(s *schedule.Status) *ListPlace {
	p := &ListPlace{ID: s.Schedule.ID}
	switch f.order() {
	case OrderName:
		p.Name = s.Schedule.Name
	case OrderUpdatedAt:
		p.At = s.Schedule.UpdatedAt
	case OrderNextRunAt:
		p.At, p.Idle = s.Cursor.FireAt, s.Cursor.FireAt.IsZero()
	}
	return p
}

// least is the source that has the fewest rows; n is how many, or more than most.
func (tx *Tx) least(ctx context.Context, sources []source, most int) (least source, n int, err error) {
	var c conditions
	counts := make([]string, len(sources))
	for i, s := range sources {
		c.texts = nil
		s.ask(&c)
		counts[i] = fmt.Sprintf("(SELECT count(*) FROM (SELECT FROM %s %s%s LIMIT %d) few)", tables[s.table].name, s.table, c.where(), most+1)
	}
	var found []int
	if err := tx.QueryRow(ctx, "SELECT ARRAY["+strings.Join(counts, ",\n    ")+"]", c.args...).Scan(&found); err != nil {
		return least, 0, wrap(err, "weigh a filter")
	}
	i := slices.Index(found, slices.Min(found))
	return sources[i], found[i], nil
}

// gather sorts all schedules of the filter's namespaces, if they aren't too many.
func (tx *Tx) gather(ctx context.Context, f *ListFilter, most int) (SchedulePage, error) {
	all := f.gathered()
	_, n, err := tx.least(ctx, []source{all}, most)
	if err != nil {
		return SchedulePage{}, err
	}
	if n > most {
		return SchedulePage{}, schedule.Invalid("order_by", fmt.Sprintf("can't be had of more than %d schedules with a filter that lets so little through: filter by namespace, or order by id or name", most))
	}
	return tx.sorted(ctx, f, all, most)
}

// rows is the FROM that reads a source which has no more than most rows. The bound is
// said, so that nobody expects more of it.
func (s *source) rows(most int) (from string, c conditions) {
	s.ask(&c)
	table := tables[s.table]
	from = fmt.Sprintf("FROM (SELECT * FROM %s %s%s LIMIT %d) %[2]s %[5]s", table.name, s.table, c.where(), most, table.join)
	c.texts = nil
	return from, c
}

// sorted is a page of a source that has no more than most rows.
func (tx *Tx) sorted(ctx context.Context, f *ListFilter, s source, most int) (page SchedulePage, err error) {
	from, c := s.rows(most)
	c.addFilter(f)
	word, compare := f.direction()
	key := map[ListOrder]string{OrderName: "s.name", OrderUpdatedAt: "s.updated_at", OrderNextRunAt: "c.fire_at"}[f.order()]
	order := "ORDER BY "
	switch {
	case f.order() == OrderNextRunAt:
		order += "c.fire_at IS NULL, "
		if f.After != nil && !f.After.Idle {
			c.add("(c.fire_at IS NULL OR (c.fire_at, s.id) "+compare+" (%s, %s))", f.After.At, [16]byte(f.After.ID))
		} else if f.After != nil {
			c.add("c.fire_at IS NULL AND s.id "+compare+" %s", [16]byte(f.After.ID))
		}
	case f.After != nil:
		c.addAfter(f.After, key, "s.id", compare)
	}
	if key != "" {
		order += key + word + ", "
	}
	page.Schedules, err = tx.statuses(ctx, from+c.where()+"\n"+order+"s.id"+word+fmt.Sprintf("\nLIMIT %d", f.Limit+1), c.args)
	if len(page.Schedules) > f.Limit {
		page.Schedules = page.Schedules[:f.Limit]
		page.Next = f.placeOf(page.Schedules[f.Limit-1])
	}
	return page, err
}

// addAfter asks for what comes behind the place, in an order of the key, if there is
// one, and the id.
func (c *conditions) addAfter(p *ListPlace, key, id, compare string) {
	switch key {
	case "":
		c.add(id+" "+compare+" %s", [16]byte(p.ID))
	case "s.name":
		c.add("(s.name, s.id) "+compare+" (%s, %s)", p.Name, [16]byte(p.ID))
	default:
		c.add("("+key+", "+id+") "+compare+" (%s, %s)", p.At, [16]byte(p.ID))
	}
}

// walk looks at rows in the order of the list, at most most of them, for limit
// schedules and one more. end is the last place that it has looked at; nil: it has
// looked at all there are, or has found them.
func (tx *Tx) walk(ctx context.Context, f *ListFilter, w walk, after *ListPlace, limit, most int) (list []*schedule.Status, end *ListPlace, err error) {
	table := tables[w.table]
	word, compare := f.direction()
	most = max(most, limit+1) // a page that nothing is left out of is never short
	c := w.conditions()
	switch {
	case after == nil:
	case w.from != "" && !f.Descending && after.Name < w.from, w.end != "" && f.Descending && after.Name >= w.end:
		// The names begin behind it.
	default:
		c.addAfter(after, w.key, table.id, compare)
		if f.Descending {
			w.end = ""
		} else {
			w.from = ""
		}
	}
	c.addNames(w.from, w.end)
	order := "\nORDER BY "
	if w.key != "" {
		order += w.key + word + ", "
	}
	order += table.id + word
	rows := fmt.Sprintf("FROM %s %s%s%s", table.name, w.table, c.where(), order)
	wanted := conditions{args: c.args}
	wanted.addFilter(f)
	list, err = tx.statuses(ctx, fmt.Sprintf("FROM (SELECT %s.* %s LIMIT %d) %[1]s %[4]s", w.table, rows, most, table.join)+
		wanted.where()+order+fmt.Sprintf("\nLIMIT %d", limit+1), wanted.args)
	if err != nil || len(list) > limit {
		return list, nil, err
	}
	end = &ListPlace{Idle: w.idle}
	var at *time.Time
	var name *string
	var id [16]byte
	key, place := "NULL::timestamptz", any(&at)
	switch w.key {
	case "":
	case "s.name":
		key, place = w.key, &name
	default:
		key = w.key
	}
	err = tx.QueryRow(ctx, fmt.Sprintf("SELECT %s, %s %s OFFSET %d LIMIT 1", key, table.id, rows, most-1), c.args...).Scan(place, &id)
	if errors.Is(err, pgx.ErrNoRows) {
		return list, nil, nil
	}
	end.At, end.Name, end.ID = utc(at), value(name), id
	return list, end, wrap(err, "list schedules")
}

func (tx *Tx) statuses(ctx context.Context, from string, args []any) ([]*schedule.Status, error) {
	rows, err := tx.Query(ctx, "SELECT "+scheduleColumns+", "+cursorColumns+"\n"+from, args...)
	if err != nil {
		return nil, wrap(err, "list schedules")
	}
	list, err := pgx.CollectRows(rows, scanStatus)
	return list, wrap(err, "list schedules")
}

// CountSchedules is how many schedules the filter lets through: exact, or an estimate
// by PostgreSQL's statistics where no index finds less than too many to count.
func (tx *Tx) CountSchedules(ctx context.Context, f ListFilter) (n int64, estimated bool, err error) {
	if f.Namespaces != nil && len(f.Namespaces) == 0 {
		return 0, false, nil
	}
	if err := tx.byIndex(ctx); err != nil {
		return 0, false, err
	}
	bounds := f.limits()
	sources := f.sources()
	if !f.Limited {
		sources = append(sources, source{table: "s", ask: func(*conditions) {}})
	}
	least, few, err := tx.least(ctx, sources, bounds.count)
	if err != nil {
		return 0, false, err
	}
	if few <= bounds.count {
		from, c := least.rows(bounds.count)
		c.addFilter(&f)
		err = tx.QueryRow(ctx, "SELECT count(*) "+from+c.where(), c.args...).Scan(&n)
		return n, false, wrap(err, "count schedules")
	}
	sel := f.Selector
	f.Selector = nil
	var c conditions
	c.addFilter(&f)
	estimate, err := tx.estimate(ctx, "riverbeat.schedules s JOIN riverbeat.cursors c ON c.schedule_id = s.id"+c.where(), c.args)
	for _, term := range sel {
		// Of what a label isn't there is no statistic: most schedules aren't it.
		if term.Op == schedule.TermNotIn || term.Op == schedule.TermAbsent {
			continue
		}
		l := conditions{}
		l.add("l.key = %s", term.Key)
		if term.Op == schedule.TermIn {
			l.add("l.value = ANY(%s)", term.Values)
		}
		var having, all float64
		if err == nil {
			having, err = tx.estimate(ctx, "riverbeat.schedule_labels l"+l.where(), l.args)
		}
		if err == nil {
			all, err = tx.estimate(ctx, "riverbeat.schedules s", nil)
		}
		estimate *= min(having/max(all, 1), 1)
	}
	return int64(math.Round(estimate)), true, err
}

// estimate is how many rows PostgreSQL expects.
func (tx *Tx) estimate(ctx context.Context, from string, args []any) (float64, error) {
	var text []byte
	if err := tx.QueryRow(ctx, "EXPLAIN (FORMAT JSON) SELECT FROM "+from, args...).Scan(&text); err != nil {
		return 0, wrap(err, "estimate a number of rows")
	}
	var plans []struct {
		Plan struct {
			Rows float64 `json:"Plan Rows"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil || len(plans) == 0 {
		return 0, fmt.Errorf("read an estimate: %w", err)
	}
	return plans[0].Plan.Rows, nil
}
