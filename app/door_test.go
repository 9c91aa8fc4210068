package app_test

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/big"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/riverbeat/riverbeat/app"
	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
	"github.com/riverbeat/riverbeat/db/dbtest"
)

// statements counts what is sent to the database.
type statements struct{ count atomic.Int64 }

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.count.Add(1)
	return ctx
}
func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (s *statements) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	s.count.Add(1)
	return ctx
}
func (s *statements) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (s *statements) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// entrance is a service whose database says how often it is asked by doors.
type entrance struct {
	*fixture
	doors *pgxpool.Pool
	asked statements
}

func newEntrance(t *testing.T) *entrance {
	t.Helper()
	url := dbtest.URL(t)
	e := &entrance{fixture: &fixture{pool: dbtest.Open(t, url)}}
	e.Service = app.NewService(db.NewStore(e.pool), nil, app.Config{})
	config, err := db.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = &e.asked
	if e.doors, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.doors.Close)
	return e
}

// door is that of one more process, running until the test ends.
func (e *entrance) door(t *testing.T, open bool) *app.Door {
	t.Helper()
	door := app.NewDoor(db.NewStore(e.doors), open, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); door.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return door
}

func (e *entrance) token(t *testing.T, token app.Token) (schedule.ID, string) {
	t.Helper()
	token.Name, token.Scopes = "a token", []string{"read"}
	created, secret, err := e.CreateToken(operator(t), token)
	if err != nil {
		t.Fatal(err)
	}
	return created.ID, secret
}

func (e *entrance) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := e.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func lets(t *testing.T, door *app.Door, secret string, anew bool) bool {
	t.Helper()
	_, err := door.Token(t.Context(), secret, anew)
	if err != nil && !errors.Is(err, app.ErrNoEntry) {
		t.Fatal(err)
	}
	return err == nil
}

func TestATokenIsRandomAndKnownForOneByItsForm(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	seen := map[string]bool{}
	for range 50 {
		_, secret := e.token(t, app.Token{})
		if !regexp.MustCompile(`^rb_[0-9A-Za-z]{49}$`).MatchString(secret) || seen[secret[3:10]] {
			t.Fatalf("it is %s", secret)
		}
		seen[secret[3:10]] = true
		// As the README says.
		sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(secret[3:46])))).Text(62)
		if want := strings.Repeat("0", 6-len(sum)) + sum; secret[46:] != want {
			t.Errorf("the checksum of %s is %s", secret, want)
		}
	}
	var kept string
	if err := e.pool.QueryRow(t.Context(), `SELECT string_agg(t::text, '') FROM riverbeat.tokens t`).Scan(&kept); err != nil {
		t.Fatal(err)
	}
	for random := range seen {
		if strings.Contains(kept, random) {
			t.Error("more than a hint is kept of it")
		}
	}
}

func TestARevocationIsInForceOnEveryProcessWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	id, secret := e.token(t, app.Token{Namespaces: []string{"a"}, Kinds: []string{"k"}})
	doors := []*app.Door{e.door(t, false), e.door(t, true), e.door(t, false)}
	for _, door := range doors {
		caller, err := door.Token(t.Context(), secret, true)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "the caller", caller, app.Caller{TokenID: id, Name: "a token", Scopes: []app.Scope{"read"}, Namespaces: []string{"a"}, Kinds: []string{"k"}})
	}
	if err := e.RevokeToken(operator(t), id); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	for _, door := range doors {
		for lets(t, door, secret, false) {
			if since := time.Since(revoked); since > app.RevokedWithin+500*time.Millisecond {
				t.Fatalf("it lets it in %v later", since)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	// Changed by SQL, it is another within the same time.
	_, second := e.token(t, app.Token{})
	if !lets(t, doors[0], second, true) {
		t.Fatal("a new token isn't let in")
	}
	e.exec(t, `UPDATE riverbeat.tokens SET scopes = '{write}'`)
	changed := time.Now()
	for {
		caller, err := doors[0].Token(t.Context(), second, false)
		if err != nil {
			t.Fatal(err)
		}
		if caller.May(app.ScopeWrite) {
			break
		}
		if time.Since(changed) > app.RevokedWithin+500*time.Millisecond {
			t.Fatal("it is still as it was")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestATokenExpiresAtItsInstantByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := e.door(t, false)
	_, secret := e.token(t, app.Token{ExpiresAt: time.Now().Add(time.Hour)})
	before := time.Now()
	e.exec(t, `UPDATE riverbeat.tokens SET expires_at = clock_timestamp() + interval '2 s'`)
	if !lets(t, door, secret, true) {
		t.Fatal("it isn't let in before")
	}
	for lets(t, door, secret, false) {
		time.Sleep(time.Millisecond)
	}
	// The door counts from before it asked: it is early by the query's way, never late.
	if took := time.Since(before); took < time.Second || took > 5*time.Second {
		t.Errorf("it expired after %v", took)
	}
	time.Sleep(100 * time.Millisecond) // the door's clock is ahead by the query's way
	if lets(t, door, secret, true) {
		t.Error("it is let in again")
	}
}

func TestANewTokenIsLetInAtOnceAndAFloodOfWrongOnesAsksTheDatabaseSeldom(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := e.door(t, false)
	_, known := e.token(t, app.Token{})
	if !lets(t, door, known, true) {
		t.Fatal("it isn't let in")
	}
	before, begun := e.asked.count.Load(), time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var flood sync.WaitGroup
	var sent, waited atomic.Int64
	for i := range 50 {
		flood.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				// With a checksum that is right: nothing but the database tells.
				body := fmt.Sprintf("%020d%023d", i, n)
				sum := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))).Text(62)
				if _, err := door.Token(ctx, "rb_"+body+strings.Repeat("0", 6-len(sum))+sum, true); err == nil {
					t.Error("a wrong token is let in")
				}
				sent.Add(1)
			}
		})
	}
	for ctx.Err() == nil { // who is known doesn't wait for them
		at := time.Now()
		if !lets(t, door, known, false) {
			t.Error("who is known isn't let in")
		}
		waited.Store(max(waited.Load(), int64(time.Since(at))))
		time.Sleep(time.Millisecond)
	}
	flood.Wait()
	if asked, most := e.asked.count.Load()-before, int64(time.Since(begun)/(250*time.Millisecond))+2; asked > most {
		t.Errorf("%d wrong tokens asked the database %d times, over %d", sent.Load(), asked, most)
	}
	if waited := time.Duration(waited.Load()); waited > 200*time.Millisecond {
		t.Errorf("who is known waited %v", waited)
	}
	_, fresh := e.token(t, app.Token{})
	if !lets(t, door, fresh, true) {
		t.Error("a new token isn't let in")
	}
}

func TestAKnownTokenCostsAQueryEveryTwoSeconds(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := e.door(t, false)
	_, secret := e.token(t, app.Token{})
	if !lets(t, door, secret, true) {
		t.Fatal("it isn't let in")
	}
	before := e.asked.count.Load()
	for range 10_000 {
		if !lets(t, door, secret, false) {
			t.Fatal("it isn't let in")
		}
	}
	if asked := e.asked.count.Load() - before; asked > 2 {
		t.Errorf("10,000 requests asked the database %d times", asked)
	}
	// Malformed ones cost nothing.
	before = e.asked.count.Load()
	for _, wrong := range []string{"", "rb_", secret + "x", secret[:51], "xx_" + secret[3:], secret[:51] + "é", strings.Repeat("x", 1<<16)} {
		if lets(t, door, wrong, true) {
			t.Errorf("%q is let in", wrong)
		}
	}
	equal(t, "asked", e.asked.count.Load(), before)
}

func TestALastUseIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := app.NewDoor(db.NewStore(e.doors), false, slog.New(slog.DiscardHandler))
	id, secret := e.token(t, app.Token{})
	use := func() time.Time {
		t.Helper()
		if !lets(t, door, secret, true) {
			t.Fatal("it isn't let in")
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		door.Run(ctx) // what was noted is written at the end
		token, err := e.Token(operator(t), id)
		if err != nil {
			t.Fatal(err)
		}
		return token.LastUsedAt
	}
	first := use()
	if since := time.Since(first); since > 10*time.Second || since < -time.Second {
		t.Fatalf("it was used %v", first)
	}
	equal(t, "again", use(), first)
	e.exec(t, `UPDATE riverbeat.tokens SET last_used_at = last_used_at - interval '61 s'`)
	if again := use(); again.Before(first) {
		t.Errorf("a minute later it was used %v", again)
	}
}

func TestAnOpenDoorClosesForGoodWithTheFirstToken(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door, closed := e.door(t, true), e.door(t, false)
	for range 3 {
		caller, err := door.Local(t.Context())
		if err != nil || !caller.MayEverything() || caller.Name != "local" {
			t.Fatalf("it lets in %v, %v", caller, err)
		}
	}
	if _, err := closed.Local(t.Context()); !errors.Is(err, app.ErrNoEntry) {
		t.Errorf("a closed one says %v", err)
	}
	id, _ := e.token(t, app.Token{})
	made := time.Now()
	for door.IsOpen() {
		_, err := door.Local(t.Context())
		if since := time.Since(made); err == nil && since > app.RevokedWithin+500*time.Millisecond {
			t.Fatalf("it is open %v later", since)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := e.RevokeToken(operator(t), id); err != nil {
		t.Fatal(err)
	}
	time.Sleep(app.RevokedWithin) // so that it asks anew
	if _, err := door.Local(t.Context()); !errors.Is(err, app.ErrNoEntry) {
		t.Errorf("it opens again: %v", err)
	}
	// One that starts by then finds none that counts; an expired one does.
	if _, err := e.door(t, true).Local(t.Context()); err != nil {
		t.Error(err)
	}
	e.token(t, app.Token{})
	e.exec(t, `UPDATE riverbeat.tokens SET expires_at = now() - interval '1 day' WHERE revoked_at IS NULL`)
	if _, err := e.door(t, true).Local(t.Context()); !errors.Is(err, app.ErrNoEntry) {
		t.Errorf("with an expired token it says %v", err)
	}
}

func TestASessionEndsWithItsSignOutItsTokenAndItsTime(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	here, there := e.door(t, false), e.door(t, false)
	id, secret := e.token(t, app.Token{})
	signIn := func() string {
		t.Helper()
		session, err := here.SignIn(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		for _, door := range []*app.Door{here, there} {
			if caller, err := door.Session(t.Context(), session, true); err != nil || caller.TokenID != id {
				t.Fatalf("it lets in %v, %v", caller, err)
			}
		}
		return session
	}
	gone := func(session string, within time.Duration, doors ...*app.Door) {
		t.Helper()
		begun := time.Now()
		for _, door := range doors {
			for {
				_, err := door.Session(t.Context(), session, false)
				if errors.Is(err, app.ErrNoEntry) {
					break
				}
				if since := time.Since(begun); err != nil || since > within {
					t.Fatalf("%v later: %v", since, err)
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	const soon = app.RevokedWithin + 500*time.Millisecond
	if _, err := here.SignIn(t.Context(), "rb_x"); !errors.Is(err, app.ErrNoEntry) {
		t.Errorf("with no token it says %v", err)
	}
	out := signIn()
	if err := here.SignOut(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	gone(out, 0, here)
	gone(out, soon, there)
	for _, nothing := range []string{"", "x", out, secret, strings.Repeat("A", 43), strings.Repeat("A", 42) + "B"} { // the last isn't canonical
		if err := here.SignOut(t.Context(), nothing); err != nil {
			t.Error(err)
		}
		gone(nothing, 0, here)
	}

	overdue := signIn()
	e.exec(t, `UPDATE riverbeat.sessions SET expires_at = clock_timestamp()`)
	gone(overdue, soon, here, there)
	revoked := signIn()
	if err := e.RevokeToken(operator(t), id); err != nil {
		t.Fatal(err)
	}
	gone(revoked, soon, here, there)

	// They are no more than so many, and what is overdue is removed.
	_, secret = e.token(t, app.Token{})
	for range 105 {
		if _, err := here.SignIn(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	var sessions int
	if err := e.pool.QueryRow(t.Context(), `SELECT count(*) FROM riverbeat.sessions WHERE token_id <> $1`, [16]byte(id)).Scan(&sessions); err != nil {
		t.Fatal(err)
	}
	equal(t, "sessions", sessions, 100)
}

func TestWhatLastsEndsWithItsToken(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door, open := e.door(t, false), e.door(t, true)
	local, err := open.Local(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lasting, stop := open.Until(t.Context(), local)
	defer stop()
	id, secret := e.token(t, app.Token{})
	_, other := e.token(t, app.Token{})
	var contexts []context.Context
	for _, token := range []string{secret, other} {
		caller, err := door.Token(t.Context(), token, true)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := door.Until(t.Context(), caller)
		defer stop()
		contexts = append(contexts, ctx)
	}
	if err := e.RevokeToken(operator(t), id); err != nil {
		t.Fatal(err)
	}
	for what, ctx := range map[string]context.Context{"the revoked token's": contexts[0], "that of who needed none": lasting} {
		select {
		case <-ctx.Done():
		case <-time.After(3 * app.RevokedWithin):
			t.Errorf("%s goes on", what)
		}
	}
	if contexts[1].Err() != nil {
		t.Error("the other token's has ended too")
	}
}

func TestManyComeThroughTheDoorAtOnce(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := e.door(t, true)
	var tokens []string
	for range 4 {
		_, secret := e.token(t, app.Token{})
		tokens = append(tokens, secret)
	}
	session, err := door.SignIn(t.Context(), tokens[0])
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 200 {
				caller, err := door.Token(t.Context(), tokens[(i+n)%4], n%50 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				_, stop := door.Until(t.Context(), caller)
				if _, err := door.Session(t.Context(), session, false); err != nil && n > 100 {
					t.Error(err)
				}
				_, _ = door.Local(t.Context())
				stop()
			}
		})
	}
	all.Wait()
}

func TestWithoutTheDatabaseTheDoorSaysSoAndAsksSeldom(t *testing.T) {
	t.Parallel()
	e := newEntrance(t)
	door := e.door(t, false)
	_, secret := e.token(t, app.Token{})
	e.doors.Close()
	begun := time.Now()
	for range 5 {
		_, err := door.Token(t.Context(), secret, false)
		if err == nil || errors.Is(err, app.ErrNoEntry) {
			t.Fatalf("it says %v", err)
		}
	}
	if took := time.Since(begun); took < time.Second {
		t.Errorf("it asked five times in %v", took)
	}
}

// Whatever is added to the service asks on whose behalf it is done.
func TestWithoutACallerTheServiceDoesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	status := f.create(t, "n")
	exempt := map[string]bool{
		"AnnounceAnew": true, // it tells what was done already
		"Secrets":      true, // they ask for themselves
		"Once":         true, // what it does asks
	}
	service := reflect.ValueOf(f.Service)
	refused := 0
	for i := range service.NumMethod() {
		name, method := service.Type().Method(i).Name, service.Method(i)
		if exempt[name] {
			continue
		}
		for _, ctx := range []context.Context{t.Context(), app.WithCaller(t.Context(), app.Caller{}), app.WithCaller(t.Context(), app.Caller{Scopes: app.AllScopes, Namespaces: []string{}})} {
			args := make([]reflect.Value, method.Type().NumIn())
			for n := range args {
				args[n] = reflect.Zero(method.Type().In(n))
				switch method.Type().In(n) {
				case reflect.TypeFor[context.Context]():
					args[n] = reflect.ValueOf(ctx)
				case reflect.TypeFor[app.Key]():
					args[n] = reflect.ValueOf(key(status))
				}
			}
			call := method.Call
			if method.Type().IsVariadic() {
				call = method.CallSlice
			}
			results := call(args)
			err, _ := results[len(results)-1].Interface().(error)
			var forbidden *app.ForbiddenError
			switch {
			case errors.As(err, &forbidden):
				refused++
			case app.CallerOf(ctx).May(app.ScopeRead) && (errors.Is(err, schedule.ErrNotFound) || errors.Is(err, schedule.ErrNoCalendar) || errors.Is(err, schedule.ErrNoNamespace)):
				refused++
			case app.CallerOf(ctx).May(app.ScopeRead) && err == nil:
				for _, result := range results {
					if result.Kind() == reflect.Slice && result.Len() > 0 && result.Index(0).Type() != reflect.TypeFor[app.Scheduler]() {
						t.Errorf("%s shows %v", name, result.Index(0))
					}
				}
			default:
				t.Errorf("%s says %v", name, err)
			}
		}
	}
	if refused < 40 {
		t.Errorf("only %d calls were refused", refused)
	}
}
