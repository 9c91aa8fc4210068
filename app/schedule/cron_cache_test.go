package schedule

import (
	"fmt"
	"sync"
	"testing"
)

func TestReadExpressionsAreKeptWithinABound(t *testing.T) {
	t.Parallel()
	var c cronCache
	often := "*/5 * * * *"
	first, err := c.parse(often)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 * maxCrons {
		if _, err := c.parse(fmt.Sprintf("%d %d %d * *", i%60, i/60%24, 1+i/1440%28)); err != nil {
			t.Fatal(err)
		}
		if again, _ := c.parse(often); again != first {
			t.Fatalf("after %d others, what is read over and over was read anew", i)
		}
		if kept := len(c.newer) + len(c.older); kept > 2*maxCrons {
			t.Fatalf("%d are kept", kept)
		}
	}
	if _, err := c.parse("61 * * * *"); err == nil {
		t.Error("61 minutes were read")
	}
	if _, err := c.parse("61 * * * *"); err == nil {
		t.Error("61 minutes were read the second time")
	}
}

func TestExpressionsAreReadByManyAtOnce(t *testing.T) {
	t.Parallel()
	var c cronCache
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 5000 {
				expr := fmt.Sprintf("%d %d * * *", i%60, i/60%24)
				got, err := c.parse(expr)
				want, _ := ParseCron(expr)
				if err != nil || *got != *want {
					t.Errorf("%q: got %v, %v, want %v", expr, got, err, want)
					return
				}
			}
		})
	}
	all.Wait()
}
