package wake

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
)

var (
	// errSilent ends a connection over which nothing comes any more.
	errSilent = errors.New("heartbeats are sent and don't come back")
	// errSwallowed is the same on a path that has never worked, so that there is
	// little hope in trying again: a pooler that shares sessions answers LISTEN and
	// forgets it.
	errSwallowed = errors.New("heartbeats are sent and have never come back")
	// errDenied is in the errors of heartbeats that aren't allowed.
	errDenied = errors.New("no heartbeats are possible")
)

// lastSwallowedPause is the longest pause on a path that has never worked, whose
// first is as long as a path may be silent. Each attempt costs a session.
const lastSwallowedPause = time.Minute

// heartbeatLimit ends the wait for one that can't be sent.
const heartbeatLimit = 5 * time.Second

// path keeps one connection up that hears messages, and proves that it does. A
// connection that only listens can't tell that the other end is gone: it sends
// nothing, so nothing fails, and silence looks like a quiet day. So heartbeats go
// all the way round: out over another connection, and back over this one.
type path struct {
	*pulse
	link    *link
	channel string    // of the heartbeats, which is this path's alone
	begin   time.Time // heartbeats carry the time since then, by this process's clock

	// open connects and hears both channels. What it returns ends with the context.
	open func(context.Context) (wire, error)
	// send sends a message over another connection.
	send func(ctx context.Context, channel, payload string) error
	// onMessage is called for what isn't a heartbeat, onChange with the zero Change
	// once for every connection.
	onMessage func(payload string)
	onChange  func(schedule.Change)
	hint      string // what to do when messages are swallowed

	// Of the present connection:
	looked  bool  // nobody knows what was said before it, and that was made up for
	deaf    bool  // the last check found it silent
	denied  bool  // heartbeats aren't allowed
	sendErr error // of the latest heartbeat

	deniedTold bool
}

// wire is one connection.
type wire struct {
	receive func(context.Context) (message, error)
	close   func()
	denied  error // if set, heartbeats can't be heard, but messages can
}

type message struct{ channel, payload string }

// heartbeat is one that was sent, or couldn't be.
type heartbeat struct {
	at  time.Time
	err error
}

func newPath(name string, log *slog.Logger, p *pulse, interval time.Duration, prefix string) *path {
	if interval <= 0 {
		interval = DefaultHeartbeat
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	now := time.Now()
	p.start(now, interval)
	return &path{pulse: p, link: newLink(name, log), channel: prefix + hex.EncodeToString(id[:]), begin: now}
}

// run keeps the path up until the context ends.
func (p *path) run(ctx context.Context) {
	for p.link.pause(ctx) == nil {
		p.connect(ctx)
	}
}

// connect opens a connection and follows it until it breaks, falls silent, or the
// context ends.
func (p *path) connect(stop context.Context) {
	ctx, cancel := context.WithCancel(stop)
	defer cancel()
	wire, err := p.open(ctx)
	if err != nil {
		p.troubled("")
		p.link.down(stop, err)
		return
	}
	defer wire.close()
	p.opened(time.Now())
	p.looked, p.deaf, p.denied, p.sendErr = false, false, false, nil

	messages, broken, beats := make(chan message), make(chan error, 1), make(chan heartbeat)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	all.Go(func() { broken <- hear(ctx, wire, messages) })
	if wire.denied == nil {
		all.Go(func() { p.pulsate(ctx, beats) })
	} else {
		p.deny(ctx, wire.denied)
	}

	err = p.follow(ctx, messages, broken, beats)
	if errors.Is(err, errSwallowed) {
		p.closed(time.Now(), "what is sent doesn't come back: "+p.hint)
		p.link.swallowed(stop, maxMissed*p.interval, p.hint)
		return
	}
	p.closed(time.Now(), "")
	p.link.down(stop, err)
}

// hear passes on what comes, until the connection breaks.
func hear(ctx context.Context, wire wire, messages chan<- message) error {
	for {
		m, err := wire.receive(ctx)
		if err != nil {
			return err
		}
		select {
		case messages <- m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// pulsate sends heartbeats, the first at once.
func (p *path) pulsate(ctx context.Context, beats chan<- heartbeat) {
	tick := time.NewTicker(p.interval)
	defer tick.Stop()
	for {
		at := time.Now()
		limited, cancel := context.WithTimeout(ctx, heartbeatLimit)
		err := p.send(limited, p.channel, strconv.FormatInt(int64(at.Sub(p.begin)), 10))
		cancel()
		select {
		case beats <- heartbeat{at, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// follow acts on what happens, one thing at a time, until the connection is to be
// given up, and says why.
func (p *path) follow(ctx context.Context, messages <-chan message, broken <-chan error, beats <-chan heartbeat) error {
	check := time.NewTicker(p.interval / 4)
	defer check.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-broken:
			return err
		case m := <-messages:
			p.heardOne(ctx, m)
		case b := <-beats:
			p.sentOne(ctx, b)
		case <-check.C:
			if err := p.check(ctx); err != nil {
				return err
			}
		}
	}
}

func (p *path) heardOne(ctx context.Context, m message) {
	now := time.Now()
	p.message(now)
	if m.channel != p.channel {
		p.onMessage(m.payload)
		return
	}
	nanoseconds, err := strconv.ParseInt(m.payload, 10, 64)
	roundTrip := now.Sub(p.begin) - time.Duration(nanoseconds)
	if err != nil || roundTrip < 0 {
		return // not from us
	}
	p.denied = false
	p.proven(now, roundTrip)
	p.link.up(ctx)
	p.look()
}

func (p *path) sentOne(ctx context.Context, b heartbeat) {
	p.sendErr = b.err
	switch {
	case b.err == nil:
		p.sent(b.at)
	case ctx.Err() != nil: // the context's end broke it
	case errors.Is(b.err, errDenied):
		p.deny(ctx, b.err)
	default:
		p.look()
	}
}

// look has everything looked at, once for each connection: when it is proven, or
// when it can't be for now but may well hear. Where messages are swallowed nothing
// is new and nobody looks.
func (p *path) look() {
	if !p.looked {
		p.looked = true
		p.onChange(schedule.Change{})
	}
}

// deny takes the connection for good, because nothing better can be had.
func (p *path) deny(ctx context.Context, err error) {
	p.denied = true
	p.troubled("connected, and heartbeats that would prove it are denied")
	p.look()
	p.link.up(ctx)
	if !p.deniedTold {
		p.deniedTold = true
		p.link.log.WarnContext(ctx, "wake path can't be proven, because its heartbeats are denied; messages are heard all the same",
			"path", p.link.path, "channel", p.channel, "err", err)
	}
}

// check is called four times in an interval. An error gives the connection up.
func (p *path) check(ctx context.Context) error {
	now := time.Now()
	if p.silent(now) {
		// Twice in a row: a process that was itself suspended first gets a moment
		// to read what has come meanwhile.
		if !p.deaf {
			p.deaf = true
			return nil
		}
		if p.everProven() {
			return errSilent
		}
		return errSwallowed
	}
	p.deaf = false
	if p.stale(now) && !p.denied {
		// What can't be sent can't come back: that says nothing about this
		// connection, which stays. So does one over which something else comes.
		err := p.sendErr
		if err == nil && p.hearing(now) {
			err = errSilent
		}
		if err != nil {
			p.link.warn(ctx, "wake path can't be proven; messages may be heard all the same", "err", err)
		}
	}
	return nil
}
