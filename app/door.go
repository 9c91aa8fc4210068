package app

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// ErrNoEntry refuses whoever has no valid token or session. It doesn't say what is
// wrong with what they have.
var ErrNoEntry = errors.New("a valid API token is needed")

// RevokedWithin is how long after its revocation a token may still let somebody in, on
// every process; so it is with a session that was signed out on another one.
const RevokedWithin = 2 * time.Second

// SessionLifetime is how long a browser stays signed in.
const SessionLifetime = 12 * time.Hour

const (
	// readsApart is how often unknown tokens and sessions may have the database asked,
	// however many come.
	readsApart = 250 * time.Millisecond
	// noteUses is how often last uses are written.
	noteUses = 15 * time.Second
)

// Door says who somebody is, by their token or session. It keeps all valid ones in
// memory, no older than RevokedWithin: a request costs no query of its own, and a flood
// of wrong tokens no more than four a second.
type Door struct {
	store   *db.Store
	open    bool
	log     *slog.Logger
	closed  atomic.Bool // a token was there once: never open again
	reads   singleflight.Group
	last    atomic.Pointer[guests]
	tried   atomic.Pointer[time.Time] // when the database was asked last
	mu      sync.Mutex
	used    map[schedule.ID]bool    // since the last uses were written
	out     map[db.Hash]time.Time   // sessions that were signed out here a moment ago
	streams map[*stream]schedule.ID // requests that a revocation is to end
}

// stream is a request that lasts.
type stream struct{ end context.CancelFunc }

// guests are who may come in, as the database said at an instant.
type guests struct {
	asked    time.Time // by the monotonic clock, before the query
	some     bool      // there is a token that isn't revoked
	tokens   map[db.Hash]*guest
	byID     map[schedule.ID]*guest
	sessions map[db.Hash]guestSession
}

type guest struct {
	caller Caller
	hash   db.Hash
	ends   time.Time // by the monotonic clock; zero: never
}

type guestSession struct {
	db.Session
	ends time.Time
}

// NewDoor is a Door. While it is open it takes whoever brings nothing for the operator
// of this machine, as long as there is no token: for a server that only this machine
// reaches.
func NewDoor(store *db.Store, open bool, log *slog.Logger) *Door {
	return &Door{
		store: store, open: open, log: log, used: map[schedule.ID]bool{}, out: map[db.Hash]time.Time{},
		streams: map[*stream]schedule.ID{},
	}
}

// Local is who comes through an open door without a token. The error is ErrNoEntry
// where it isn't open.
func (d *Door) Local(ctx context.Context) (Caller, error) {
	if !d.open || d.closed.Load() {
		return Caller{}, ErrNoEntry
	}
	if _, err := d.asOf(ctx, time.Now().Add(-RevokedWithin)); err != nil {
		return Caller{}, err
	}
	if d.closed.Load() {
		return Caller{}, ErrNoEntry
	}
	return Operator("local"), nil
}

// IsOpen reports whether, by what is known, Local lets everybody in.
func (d *Door) IsOpen() bool { return d.open && !d.closed.Load() }

// Token is who brings the token, among those that are known; one that is new by less
// than RevokedWithin may be so only to who asks anew. The error is ErrNoEntry, after the
// same work for one that is unknown, expired or revoked, or says that the database is
// away.
func (d *Door) Token(ctx context.Context, secret string, anew bool) (Caller, error) {
	if !wellFormed(secret) {
		return Caller{}, ErrNoEntry
	}
	hash := hashOf(secret)
	g, err := d.look(ctx, anew, func(all *guests) *guest { return all.tokens[hash] })
	if err != nil {
		return Caller{}, err
	}
	// The way through the map tells of hashes alone, from which no token follows. What
	// decides takes the same time whatever is compared.
	if subtle.ConstantTimeCompare(g.hash[:], hash[:]) != 1 {
		return Caller{}, ErrNoEntry
	}
	d.note(g.caller.TokenID)
	return g.caller, nil
}

// Session is who signed in to the session. The errors are as those of Token.
func (d *Door) Session(ctx context.Context, secret string, anew bool) (Caller, error) {
	hash, ok := sessionHash(secret)
	if !ok || d.isOut(hash) {
		return Caller{}, ErrNoEntry
	}
	g, err := d.look(ctx, anew, func(all *guests) *guest {
		s, ok := all.sessions[hash]
		if !ok || !time.Now().Before(s.ends) || subtle.ConstantTimeCompare(s.Hash[:], hash[:]) != 1 {
			return nil
		}
		return all.byID[s.TokenID]
	})
	if err != nil {
		return Caller{}, err
	}
	d.note(g.caller.TokenID)
	return g.caller, nil
}

// look finds a guest who hasn't expired among those that are known, or anew among those
// that the database names after the call.
func (d *Door) look(ctx context.Context, anew bool, find func(*guests) *guest) (*guest, error) {
	since := time.Now()
	if !anew {
		since = since.Add(-RevokedWithin)
	}
	all, err := d.asOf(ctx, since)
	if err != nil {
		return nil, err
	}
	if g := find(all); g != nil && (g.ends.IsZero() || time.Now().Before(g.ends)) {
		return g, nil
	}
	return nil, ErrNoEntry
}

// asOf is who may come in, as the database says at since or later. All who wait for it
// share one query, and those come at a distance.
func (d *Door) asOf(ctx context.Context, since time.Time) (*guests, error) {
	for {
		all := d.last.Load()
		if all != nil && !all.asked.Before(since) {
			return all, nil
		}
		shared := d.reads.DoChan("", func() (any, error) {
			if tried := d.tried.Load(); tried != nil {
				time.Sleep(readsApart - time.Since(*tried)) // not at all when it was long ago
			}
			return nil, d.read(context.WithoutCancel(ctx))
		})
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case result := <-shared:
			if result.Err != nil {
				return nil, result.Err
			}
		}
	}
}

// read asks the database who may come in.
func (d *Door) read(ctx context.Context) error {
	asked := time.Now()
	d.tried.Store(&asked)
	tokens, sessions, some, err := d.store.Valid(ctx)
	if err != nil {
		return err
	}
	all := &guests{
		asked: asked, some: some, tokens: make(map[db.Hash]*guest, len(tokens)), byID: make(map[schedule.ID]*guest, len(tokens)),
		sessions: make(map[db.Hash]guestSession, len(sessions)),
	}
	for i := range tokens {
		g := &guest{caller: callerWith(&tokens[i].Token), hash: tokens[i].Hash}
		if tokens[i].Left >= 0 {
			g.ends = asked.Add(tokens[i].Left)
		}
		all.tokens[g.hash], all.byID[g.caller.TokenID] = g, g
	}
	for _, s := range sessions {
		all.sessions[s.Hash] = guestSession{s, asked.Add(s.Left)}
	}
	d.last.Store(all)
	if some && !d.closed.Swap(true) && d.open {
		d.log.Info("there is an API token: from now on one is needed, on this machine too")
	}
	d.endStreams(all)
	return nil
}

// SignIn is a new session for whoever has the token: the secret that its cookie holds.
// The errors are as those of Token.
func (d *Door) SignIn(ctx context.Context, token string) (secret string, err error) {
	caller, err := d.Token(ctx, token, true)
	if err != nil {
		return "", err
	}
	random := make([]byte, 32)
	rand.Read(random) // never fails
	secret = base64.RawURLEncoding.EncodeToString(random)
	hash, _ := sessionHash(secret)
	return secret, d.store.InsertSession(ctx, hash, caller.TokenID, SessionLifetime)
}

// SignOut ends a session: here at once, elsewhere within RevokedWithin.
func (d *Door) SignOut(ctx context.Context, secret string) error {
	hash, ok := sessionHash(secret)
	if !ok {
		return nil
	}
	// Only of one that there is: what anybody sends isn't kept.
	if _, err := d.Session(ctx, secret, true); errors.Is(err, ErrNoEntry) {
		return nil
	} else if err != nil {
		return err
	}
	if err := d.store.DeleteSession(ctx, hash); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for other, at := range d.out { // the database has told of those
		if now.Sub(at) > 2*RevokedWithin {
			delete(d.out, other)
		}
	}
	d.out[hash] = now
	return nil
}

func (d *Door) isOut(hash db.Hash) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, out := d.out[hash]
	return out
}

func sessionHash(secret string) (db.Hash, bool) {
	random, err := base64.RawURLEncoding.Strict().DecodeString(secret)
	return hashOf(secret), err == nil && len(random) == 32
}

// Until is a context that ends with a request's own, or when its caller's token is
// revoked or expires: for answers that last. stop must be called.
func (d *Door) Until(ctx context.Context, caller Caller) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	one := &stream{cancel}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.streams[one] = caller.TokenID
	return ctx, func() {
		cancel()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.streams, one)
	}
}

// endStreams ends those of callers who aren't among the guests any more.
func (d *Door) endStreams(all *guests) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for one, id := range d.streams {
		g := all.byID[id]
		if id.IsZero() && !d.closed.Load() || g != nil && (g.ends.IsZero() || now.Before(g.ends)) {
			continue
		}
		one.end()
	}
}

func (d *Door) note(id schedule.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.used[id] = true
}

// Run writes when tokens were used last and looks after requests that last, until the
// context ends.
func (d *Door) Run(ctx context.Context) {
	notes, looks := time.NewTicker(noteUses), time.NewTicker(RevokedWithin)
	defer notes.Stop()
	defer looks.Stop()
	for {
		select {
		case <-ctx.Done():
			d.noteUsed(context.WithoutCancel(ctx))
			return
		case <-notes.C:
			d.noteUsed(ctx)
		case <-looks.C:
			d.mu.Lock()
			some := len(d.streams) > 0
			d.mu.Unlock()
			if some {
				_, _ = d.asOf(ctx, time.Now().Add(-RevokedWithin/2)) // an outage ends nobody's stream
			}
		}
	}
}

func (d *Door) noteUsed(ctx context.Context) {
	d.mu.Lock()
	var ids []schedule.ID
	for id := range d.used {
		ids = append(ids, id)
	}
	clear(d.used)
	d.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	slices.SortFunc(ids, func(a, b schedule.ID) int { return slices.Compare(a[:], b[:]) }) // who locks rows does it in this order
	if err := d.store.TokensUsed(ctx, ids); err != nil {
		d.log.Debug("can't note when tokens were used", "err", err)
	}
}
