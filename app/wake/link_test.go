package wake

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAttemptsComeSoonAndThenSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog(t)
		k := newLink("test", log)
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
		k.up(t.Context())
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
		k := newLink("test", log)
		ctx, cancel := context.WithCancel(t.Context())
		k.up(ctx)
		k.failures = 10
		time.AfterFunc(time.Millisecond, cancel)
		if err := k.pause(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the pause ended with %v", err)
		}
		k.down(ctx, errors.New("closed"))
		book.expectNothing(t)
	})
}

func TestAPathThatNeverWorkedIsTriedSeldomAndWarnedOfOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog(t)
		k := newLink("test", log)
		k.down(t.Context(), errors.New("away"))
		book.expect(t, lost)
		for _, longest := range []time.Duration{6, 12, 24, 48, 60, 60, 60} {
			k.swallowed(t.Context(), 6*time.Second, "do this")
			begin := time.Now()
			if err := k.pause(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(begin); got <= longest*time.Second/2 || got > longest*time.Second {
				t.Errorf("a pause of %s, not between %s and %s", got, longest*time.Second/2, longest*time.Second)
			}
			k.down(t.Context(), errors.New("away")) // between two attempts the server restarted
			k.failures--
		}
		book.expect(t, swallowed)
		book.expectNothing(t)
		k.up(t.Context())
		book.expect(t, back)
		if k.first != firstPause || k.last != lastPause {
			t.Error("what works now is still tried seldom")
		}
	})
}
