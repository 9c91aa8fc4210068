package wake

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestAttemptsComeSoonAndThenSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog(t)
		var connected atomic.Bool
		k := newLink("test", log, &connected)
		pause := func() time.Duration {
			t.Helper()
			begin := time.Now()
			if err := k.pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin)
		}
		expect := func(longest time.Duration) {
			t.Helper()
			k.down(t.Context(), errors.New("away"))
			if got := pause(); got <= longest/2 || got > longest {
				t.Errorf("a pause of %s, not between %s and %s", got, longest/2, longest)
			}
		}

		if got := pause(); got != 0 {
			t.Errorf("the first attempt waited %s", got)
		}
		for _, longest := range []time.Duration{100, 200, 400, 800, 1000, 1000, 1000} {
			expect(longest * time.Millisecond)
		}
		if connected.Load() {
			t.Error("connected while away")
		}
		k.up(t.Context())
		if !connected.Load() {
			t.Error("not connected when up")
		}
		time.Sleep(steady - time.Nanosecond)
		expect(time.Second) // it didn't hold
		k.up(t.Context())
		time.Sleep(steady)
		expect(100 * time.Millisecond)
		k.up(t.Context())
		k.up(t.Context())
		for range 3 {
			book.expect(t, lost)
			book.expect(t, back)
		}
		book.expectNothing(t)
	})
}

func TestAStopIsNotALoss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog(t)
		var connected atomic.Bool
		k := newLink("test", log, &connected)
		ctx, cancel := context.WithCancel(t.Context())
		k.up(ctx)
		k.failures = 10
		time.AfterFunc(time.Millisecond, cancel)
		if err := k.pause(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the pause ended with %v", err)
		}
		k.down(ctx, errors.New("closed"))
		if connected.Load() {
			t.Error("still connected")
		}
		book.expectNothing(t)
	})
}
