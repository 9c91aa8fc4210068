package api

import (
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// What requests cost that bring no valid token.
const (
	costNoToken    = 1
	costWrongToken = 10
)

// maxBuckets is of how many tokens or addresses is remembered how much they have
// asked; those that haven't for the longest are forgotten first.
const maxBuckets = 10_000

// buckets limit how often each of many may ask.
type buckets[K comparable] struct {
	rate  rate.Limit
	burst int
	of    *lru.Cache[K, *rate.Limiter]
}

// newBuckets lets each ask so many times a second; nil, for 0, as often as they like.
func newBuckets[K comparable](perSecond int) *buckets[K] {
	if perSecond <= 0 {
		return nil
	}
	of, err := lru.New[K, *rate.Limiter](maxBuckets)
	if err != nil {
		panic(err) // the size is a constant
	}
	return &buckets[K]{rate: rate.Limit(perSecond), burst: max(2*perSecond, 2*costWrongToken), of: of}
}

// take takes so much from one's bucket, or says how long to wait until it can.
func (b *buckets[K]) take(key K, cost int) (wait time.Duration, ok bool) {
	if b == nil {
		return 0, true
	}
	bucket, ok := b.of.Get(key)
	if !ok {
		bucket = rate.NewLimiter(b.rate, b.burst)
		if before, there, _ := b.of.PeekOrAdd(key, bucket); there {
			bucket = before
		}
	}
	now := time.Now()
	reservation := bucket.ReserveN(now, cost)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// tooMany is the answer to who has to wait.
func tooMany(whose string, wait time.Duration) *problem {
	return &problem{
		Status: http.StatusTooManyRequests, Detail: "Too many requests " + whose + ": wait as long as Retry-After says.",
		retryAfter: strconv.Itoa(int(math.Ceil(wait.Seconds()))),
	}
}

// network is what counts as one address: of IPv6 those that one customer gets.
func network(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil { // of no address at all
		return netip.Prefix{}
	}
	return prefix
}
