package app

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// How a tail follows the database.
const (
	tailPace  = 250 * time.Millisecond // between two looks while somebody listens
	tailGap   = 25 * time.Millisecond  // the least, however many hints there are
	tailRetry = time.Second            // after a look that failed
	tailIdle  = 30 * time.Second       // how long it goes on when nobody listens any more
	tailStart = 10 * time.Second       // how long a stream waits until it can begin

	// What began before is waited for this long, so that what is told comes in the
	// order of the transactions, which is the same on every process. The program's own
	// end sooner. One that takes longer is told of when it ends.
	tailPatience = 5 * time.Second

	// What can be resumed: what was told in so long a time, and so many events.
	tailWindow = 5 * time.Minute
	tailEvents = 50_000
	// tailChanges is how many changes of schedules a tail that begins looks back on.
	tailChanges = 5000

	// tailSlack is how differently two processes may have told the same: one may wait
	// for a transaction that the other one has lost its patience with.
	tailSlack = 2*tailPatience + 2*time.Second

	// tailGrain is how much earlier than its transaction got a number the database's
	// clock may have been read for a line of the ledger.
	tailGrain = 2 * time.Second
	// Nobody knows when a transaction began that was there before the tail. What it
	// has noted is looked for so far back: when it ends at once, and when it doesn't.
	tailYoung = 30 * time.Second
	tailOld   = time.Hour
)

var (
	// ErrTooManyStreams refuses a caller who has as many as there may be.
	ErrTooManyStreams = errors.New("the caller has too many streams")
	// ErrStreamEnded says that no more will come from here. Another stream may go on
	// where this one was.
	ErrStreamEnded = errors.New("the stream has ended")

	errWentBack = errors.New("the database's transactions have lower numbers than before")
)

// EventReset is the kind of an event that says that some weren't told: whoever keeps
// a copy reads all of it anew.
const EventReset = db.EverythingChanged

// Event is something that happened.
type Event struct {
	db.Event

	key   eventKey
	after position  // of who has been told it
	id    string    // the same
	told  time.Time // by the database's clock
	once  sync.Once
	text  []byte
}

// Told is an event as a stream tells it.
type Told struct {
	*Event
	ID string // a stream that goes on from here is told what comes after
}

// Text is what render makes of the event. It is asked once: all who listen share it.
func (e *Event) Text(render func(*Event) []byte) []byte {
	e.once.Do(func() { e.text = render(e) })
	return e.text
}

// Tail follows what happens, for any number of streams: it alone asks the database,
// and only while there are some.
type Tail struct {
	store *db.Store
	most  int // streams of one caller
	log   *slog.Logger
	came  chan struct{} // a stream is there
	hints chan struct{}

	dropped atomic.Int64

	mu      sync.Mutex
	streams map[schedule.ID]int // by token
	open    int
	over    bool // no more comes
	live    bool
	looks   int
	begins  int           // streams that wait for one
	news    chan struct{} // closed when there is something for those who wait

	events []*Event // those that can be resumed
	first  int      // the number of the first of them
	now    position
	nowID  string
	seal   seal
	max    uint64 // no transaction from this one on was there yet
	// Positions from before can't be resumed, nor those that wait for a transaction
	// which had ended in the first snapshot.
	since time.Time
	begun db.Snapshot

	// Only of Run: the transactions that are running, and when the last look was and
	// what the next one may find began at the earliest, by the database's clock.
	waits        map[uint64]wait
	last, oldest time.Time
}

// wait is a running transaction.
type wait struct {
	seen  time.Time // first
	since time.Time // it didn't begin before, by the database's clock
}

// NewTail is a Tail that lets a caller have so many streams at once; Run starts it.
func NewTail(store *db.Store, streams int, log *slog.Logger) *Tail {
	return &Tail{
		store: store, most: streams, log: log, came: make(chan struct{}, 1), hints: make(chan struct{}, 1),
		streams: map[schedule.ID]int{}, news: make(chan struct{}),
	}
}

// Hint says that something may have happened. It never blocks.
func (t *Tail) Hint() { signal(t.hints) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Streams is how many streams there are.
func (t *Tail) Streams() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open
}

// Dropped is how many streams were ended because they were too slow.
func (t *Tail) Dropped() int64 { return t.dropped.Load() }

// Run follows what happens until the context ends, and every stream with it.
func (t *Tail) Run(ctx context.Context) {
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.over = true
		t.publish()
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.came:
			t.follow(ctx)
		}
	}
}

// follow looks until nobody has listened for a while.
func (t *Tail) follow(ctx context.Context) {
	begin, told := true, false
	for used := time.Now(); !t.idle(&used); {
		step, pace := t.look, tailPace
		if begin {
			step = t.begin
		}
		switch err := step(ctx); {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errWentBack):
			begin = true
		case err != nil:
			if !told {
				t.log.Warn("can't look for events: trying again", "err", err)
			}
			told, pace = true, tailRetry
		default:
			begin, told = false, false
		}
		if !t.rest(ctx, pace) {
			return
		}
	}
}

// idle reports whether nobody has listened for a while. Then nothing is kept.
func (t *Tail) idle(used *time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open > 0 {
		*used = time.Now()
	}
	if time.Since(*used) < tailIdle {
		return false
	}
	t.live, t.first, t.events = false, t.first+len(t.events), nil
	return true
}

// rest waits for a hint, or for the pace.
func (t *Tail) rest(ctx context.Context, pace time.Duration) bool {
	for _, wait := range []struct {
		long  time.Duration
		hints chan struct{}
	}{{tailGap, nil}, {pace - tailGap, t.hints}} {
		timer := time.NewTimer(wait.long)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		case <-wait.hints:
		}
	}
	return true
}

// publish has the lock.
func (t *Tail) publish() {
	close(t.news)
	t.news = make(chan struct{})
}

// begin looks back on what can be resumed.
func (t *Tail) begin(ctx context.Context) error {
	changes, now, key, err := t.store.NewestChanges(ctx, tailChanges)
	if err != nil {
		return err
	}
	seal, err := newSeal(key)
	if err != nil {
		return fmt.Errorf("use the key of events' ids: %w", err)
	}
	since := now.Add(-tailWindow)
	sight, err := t.store.Events(ctx, 0, changes, since)
	if err != nil {
		return err
	}
	// All changes of the window were read if one was that is older, or there are no more.
	whole := !sight.TooMany && (changes == 0 || slices.ContainsFunc(sight.Events, func(e db.Event) bool {
		return e.At.Before(since) && (e.Kind == db.ScheduleCreated || e.Kind == db.ScheduleUpdated)
	}))
	begun := position{at: sight.Now, next: sight.Snapshot.Max()}
	t.waits, t.last, t.oldest = map[uint64]wait{}, sight.Now, sight.Now
	for _, transaction := range sight.Snapshot.Running() {
		t.waits[transaction] = wait{time.Now(), sight.Now.Add(-tailOld)}
		begun.next, t.oldest = min(begun.next, transaction), sight.Now.Add(-tailYoung)
	}
	past := slices.DeleteFunc(sight.Events, func(e db.Event) bool { return e.Transaction >= begun.next || e.At.Before(since) })

	t.mu.Lock()
	defer t.mu.Unlock()
	t.first, t.events, t.seal = t.first+len(t.events)+1, nil, seal
	t.since, t.begun, t.max = since.Add(tailSlack), sight.Snapshot, sight.Snapshot.Max()
	if whole {
		t.add(past, position{at: sight.Now}, func(e *Event) time.Time { return e.At })
	} else {
		t.since = sight.Now
	}
	t.moved(begun)
	t.publish()
	return nil
}

// look tells what was committed since the last one.
func (t *Tail) look(ctx context.Context) error {
	before := t.now // only here and in begin does it change
	sight, err := t.store.Events(ctx, before.next, before.next, t.oldest.Add(-tailGrain))
	if err != nil {
		return err
	}
	if sight.Snapshot.Max() < t.max {
		return errWentBack
	}
	if sight.Now.Before(t.last) { // the database's clock was set back
		if sight, err = t.store.Events(ctx, before.next, before.next, sight.Now.Add(-tailYoung)); err != nil {
			return err
		}
	}
	after, ended := t.wait(&sight)
	late, overflow, err := t.noted(ctx, ended)
	if err != nil {
		return err
	}
	told := func(*Event) time.Time { return sight.Now }

	t.mu.Lock()
	defer t.mu.Unlock()
	t.max = sight.Snapshot.Max()
	if overflow = overflow || sight.TooMany && after.next > before.next; overflow {
		t.events = append(t.events, &Event{
			Event: db.Event{Kind: EventReset, Transaction: before.next, At: sight.Now}, after: after, id: t.seal.text(&after), told: sight.Now,
		})
		t.since = sight.Now.Add(tailSlack)
	} else {
		// What ended late comes first: all that comes then is after it.
		at := position{at: sight.Now, next: before.next, late: slices.Clone(before.late)}
		for _, transaction := range ended {
			at.late = slices.DeleteFunc(at.late, func(other uint64) bool { return other == transaction })
			t.add(late[transaction], at, told)
		}
		fresh := slices.DeleteFunc(sight.Events, func(e db.Event) bool { return e.Transaction >= after.next })
		t.add(fresh, position{at: sight.Now, late: after.late}, told)
	}
	t.moved(after)
	t.last, t.oldest = sight.Now, sight.Now
	for transaction, w := range t.waits {
		if transaction >= after.next && w.since.Before(t.oldest) {
			t.oldest = w.since
		}
	}
	return nil
}

// wait says how far all is told after the sight, and which of the transactions that
// were late have ended. What has been running for long isn't waited for.
func (t *Tail) wait(sight *db.Sight) (after position, ended []uint64) {
	running := sight.Snapshot.Running()
	for transaction := range t.waits {
		if !slices.Contains(running, transaction) && !slices.Contains(t.now.late, transaction) {
			delete(t.waits, transaction)
		}
	}
	for _, transaction := range running {
		if _, ok := t.waits[transaction]; !ok {
			t.waits[transaction] = wait{time.Now(), t.last}
		}
	}
	after = position{at: sight.Now, next: sight.Snapshot.Max()}
	for _, transaction := range running {
		if time.Since(t.waits[transaction].seen) < tailPatience || len(after.late) == maxLate {
			after.next = transaction
			break
		}
		after.late = append(after.late, transaction)
	}
	for _, transaction := range t.now.late {
		if !slices.Contains(running, transaction) {
			ended = append(ended, transaction)
		}
	}
	return after, ended
}

// noted looks for what late transactions have noted, now that they have ended.
func (t *Tail) noted(ctx context.Context, transactions []uint64) (events map[uint64][]db.Event, overflow bool, err error) {
	if len(transactions) == 0 {
		return nil, false, nil
	}
	type name struct {
		row uint64
		key eventKey
	}
	told := make(map[name]bool, len(t.events))
	for _, e := range t.events {
		told[name{e.Row, e.key}] = true
	}
	events = map[uint64][]db.Event{}
	for _, transaction := range transactions {
		sight, err := t.store.Events(ctx, transaction, transaction, t.waits[transaction].since.Add(-tailGrain))
		if err != nil {
			return nil, false, err
		}
		if sight.TooMany {
			overflow = true
			continue
		}
		for _, e := range sight.Events {
			// What it did on a savepoint has a number of its own, which was passed over: it
			// is among what nobody was told, and isn't another late one's.
			this := name{e.Row, keyOf(&e)}
			if e.Row != transaction && (e.Row >= t.now.next || e.At.Before(t.since) || told[this] || slices.Contains(t.now.late, e.Row)) {
				continue
			}
			told[this], e.Transaction = true, transaction
			events[transaction] = append(events[transaction], e)
		}
	}
	return events, overflow, nil
}

// add appends events in the order of their transactions. Without a next, all before
// each of them is told. It has the lock.
func (t *Tail) add(events []db.Event, at position, told func(*Event) time.Time) {
	batch := make([]*Event, len(events))
	for i, e := range events {
		batch[i] = &Event{Event: e, key: keyOf(&e)}
	}
	slices.SortFunc(batch, func(a, b *Event) int {
		return cmp.Or(cmp.Compare(a.Transaction, b.Transaction), bytes.Compare(a.key[:], b.key[:]))
	})
	for _, e := range batch {
		p := at
		if p.next == 0 {
			n, _ := slices.BinarySearch(at.late, e.Transaction)
			p.next, p.late = e.Transaction, at.late[:n]
		}
		p.inside, p.last = e.Transaction, e.key
		e.after, e.id, e.told = p, t.seal.text(&p), told(e)
	}
	t.events = append(t.events, batch...)
}

// moved has the lock.
func (t *Tail) moved(to position) {
	t.now, t.nowID, t.live = to, t.seal.text(&to), true
	t.looks++
	if t.begins > 0 || len(t.events) > 0 && t.events[len(t.events)-1].told.Equal(to.at) {
		t.publish()
	}
	drop := 0
	for drop < len(t.events) && (len(t.events)-drop > tailEvents || to.at.Sub(t.events[drop].told) > tailWindow) {
		if until := t.events[drop].told.Add(tailSlack); until.After(t.since) {
			t.since = until
		}
		drop++
	}
	t.events, t.first = t.events[drop:], t.first+drop
}

// EventFilter says which events a stream is told. Zero fields don't filter.
type EventFilter struct {
	Namespace string
	Schedule  Key // its namespace isn't looked at
}

// Stream is told what happens. It is for one goroutine.
type Stream struct {
	tail   *Tail
	caller Caller
	filter EventFilter
	resume *position
	before []Told // what is to be told first
	next   int    // the number of the first event that it hasn't looked at
	id     string
}

// Open is a stream of the events that the caller may see: those after the one whose
// ID is given, if any, else those from now on. Where those aren't known any more, it
// begins with EventReset. It is to be closed. The error may be ErrTooManyStreams or
// ErrStreamEnded, a *ForbiddenError or schedule.ErrNoNamespace.
func (t *Tail) Open(ctx context.Context, filter EventFilter, after string) (*Stream, error) {
	switch caller := CallerOf(ctx); {
	case !caller.May(ScopeRead):
		return nil, &ForbiddenError{Scope: ScopeRead}
	case filter.Namespace != "" && !caller.Sees(filter.Namespace):
		return nil, schedule.ErrNoNamespace
	}
	s := &Stream{tail: t, caller: CallerOf(ctx), filter: filter}
	if err := t.enter(s.caller.TokenID); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, after); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (t *Tail) enter(token schedule.ID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.over:
		return ErrStreamEnded
	case t.streams[token] >= t.most:
		return ErrTooManyStreams
	}
	t.streams[token]++
	t.open++
	signal(t.came)
	return nil
}

// Close ends the stream.
func (s *Stream) Close() {
	t := s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open--
	if t.streams[s.caller.TokenID]--; t.streams[s.caller.TokenID] == 0 {
		delete(t.streams, s.caller.TokenID)
	}
}

// begin waits until events come, and finds the place where the stream begins.
func (s *Stream) begin(ctx context.Context, after string) error {
	limited, cancel := context.WithTimeout(ctx, tailStart)
	defer cancel()
	t := s.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begins++
	defer func() { t.begins-- }()
	looked, unread := t.looks, error(nil)
	ready := func() bool {
		if !t.live || after == "" || unread != nil {
			return t.live
		}
		if s.resume == nil {
			var p position
			if p, unread = t.seal.position(after); unread != nil {
				return true
			}
			s.resume = &p
		}
		// Another process may have seen more than this one: until two looks later, of
		// which the second began after this.
		return t.looks >= looked+2 && (t.now.next >= max(s.resume.next, s.resume.inside+1) || t.max < s.resume.next)
	}
	for !ready() {
		if t.over {
			return ErrStreamEnded
		}
		signal(t.came)
		t.Hint()
		news := t.news
		t.mu.Unlock()
		select {
		case <-limited.Done():
		case <-news:
		}
		t.mu.Lock()
		if limited.Err() != nil {
			return fmt.Errorf("wait for a look at the events: %w", limited.Err())
		}
	}
	s.next, s.id = t.first+len(t.events), t.nowID
	if after == "" {
		return nil
	}
	if why := s.unknown(); why != "" {
		t.log.Debug("a stream of events begins anew", "why", why)
		s.resume, s.before = nil, []Told{{&Event{Event: db.Event{Kind: EventReset, At: t.now.at}}, t.nowID}}
		s.id = "" // it hasn't been told that
		return nil
	}
	s.next, s.id = t.first, after
	s.finish()
	return nil
}

// finish has the rest of the transaction told that the stream is inside of, first of
// all: a position names one such transaction alone. It has the lock.
func (s *Stream) finish() {
	p := *s.resume
	if p.inside == 0 {
		return
	}
	for _, e := range s.tail.events {
		if e.Transaction == p.inside && s.sees(e) {
			p.last = e.key
			s.before = append(s.before, Told{e, s.tail.seal.text(&p)})
		}
	}
	p.next = max(p.next, p.inside+1)
	p.inside = 0
	s.resume = &p
}

// unknown says why what comes after the position isn't known here, or nothing.
func (s *Stream) unknown() string {
	t, p := s.tail, s.resume
	if p == nil {
		return "its id can't be read"
	}
	ended := func(transaction uint64) bool { return transaction < p.next && t.begun.Sees(transaction) }
	switch {
	case p.at.Before(t.since):
		return "it is from before what is known"
	case t.max < p.next:
		return "it is of another database, or of times to come"
	case slices.ContainsFunc(p.late, ended), p.inside != 0 && ended(p.inside):
		return "it waits for a transaction that ended before the first look"
	}
	return ""
}

// ID is where a stream goes on that has been told as much as this one; empty: not
// before it is told what Next returns.
func (s *Stream) ID() string { return s.id }

// mostTold is how many events Next returns at once.
const mostTold = 1000

// Next waits for the next events, in order, but no longer than so long: then there
// are none. The error is ErrStreamEnded, or the context's.
func (s *Stream) Next(ctx context.Context, long time.Duration) (events []Told, err error) {
	if events, s.before = s.before, nil; len(events) > 0 {
		s.id = events[len(events)-1].ID
		return events, nil
	}
	timer := time.NewTimer(long)
	defer timer.Stop()
	for late := false; ; {
		s.tail.mu.Lock()
		over, first, all, news, id := s.tail.over, s.tail.first, s.tail.events, s.tail.news, s.tail.nowID
		s.tail.mu.Unlock()
		if s.next < first {
			s.Slow()
			return nil, ErrStreamEnded
		}
		for s.next < first+len(all) && len(events) < mostTold {
			if e := all[s.next-first]; s.sees(e) {
				s.id = s.after(e)
				events = append(events, Told{e, s.id})
			}
			s.next++
		}
		if s.next == first+len(all) {
			s.id = id
		}
		switch {
		case len(events) > 0:
			return events, nil
		case over:
			return nil, ErrStreamEnded
		case late:
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			late = true
		case <-news:
		}
	}
}

// after is where the stream is once it has told the event. One that was late where
// the stream comes from may have come in its order here: then what came after it was
// told already.
func (s *Stream) after(e *Event) string {
	if s.resume == nil || e.after.next >= s.resume.next {
		return e.id
	}
	p := position{at: s.resume.at, next: s.resume.next, inside: e.Transaction, last: e.key}
	for _, transaction := range s.resume.late {
		if transaction > e.Transaction || slices.Contains(e.after.late, transaction) {
			p.late = append(p.late, transaction)
		}
	}
	return s.tail.seal.text(&p)
}

func (s *Stream) sees(e *Event) bool {
	switch {
	case s.resume != nil && s.resume.holds(e.Transaction, &e.key):
		return false
	case e.Kind == EventReset:
		return true
	case !s.caller.Sees(e.Namespace), s.filter.Namespace != "" && e.Namespace != s.filter.Namespace:
		return false
	case !s.filter.Schedule.ID.IsZero():
		return e.ScheduleID == s.filter.Schedule.ID
	default:
		return s.filter.Schedule.Name == "" || e.ScheduleName == s.filter.Schedule.Name
	}
}

// Slow counts a stream that is ended because its reader is too slow.
func (s *Stream) Slow() { s.tail.dropped.Add(1) }
