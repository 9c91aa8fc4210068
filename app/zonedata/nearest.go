package zonedata

import (
	"fmt"
	"regexp"
	"strings"
)

// hint is what to add to the refusal of a name, of maxName bytes at most: the
// zone that was probably meant, or nothing.
func (d *Data) hint(name string) string {
	if len(name) < 3 {
		return ""
	}
	if offset := offsetName.FindStringSubmatch(name); offset != nil {
		return d.offsetHint(offset[1], offset[2], offset[3])
	}
	zone := d.nearest(name)
	if meant := abbreviations[strings.ToUpper(name)]; d.zones[meant] != nil {
		zone = meant
	}
	if zone != "" {
		return fmt.Sprintf(" (did you mean %q?)", zone)
	}
	return ""
}

// abbreviations that are like no zone's name and stand for one time only, as IST
// and BST don't.
var abbreviations = map[string]string{
	"JST": "Asia/Tokyo", "KST": "Asia/Seoul", "EDT": "America/New_York", "PDT": "America/Los_Angeles", "NZST": "Pacific/Auckland", "NZDT": "Pacific/Auckland",
}

// offsetName is an offset written as a zone: "UTC+9", "GMT-3", "+09:00".
var offsetName = regexp.MustCompile(`^(?i:UTC|GMT)?([+-])0?([0-9]{1,2})(?::?([0-9]{2}))?$`)

// offsetHint knows that IANA's names of offsets follow POSIX, where west is plus:
// who asks for UTC+9 gets it with Etc/GMT-9, and the opposite with GMT+9, which
// would seem to be the nearest.
func (d *Data) offsetHint(sign, hours, minutes string) string {
	if minutes != "" && minutes != "00" {
		return ""
	}
	if hours == "0" {
		return ` (did you mean "UTC"?)`
	}
	turned := map[string]string{"+": "-", "-": "+"}[sign]
	zone := "Etc/GMT" + turned + hours
	if d.zones[zone] == nil {
		return ""
	}
	return fmt.Sprintf(" (UTC%s%s is %q, whose sign is the other way round)", sign, hours, zone)
}

// likeness is how near a zone's name is, best first: of a better kind, then
// fewer letters apart, then shorter.
type likeness struct{ kind, apart, length int }

const (
	sameLetters  = iota // europe/berlin, America/New York
	sameCity            // Tokyo, posix/Asia/Tokyo
	typingError         // Europe/Berln, Tokio
	samePrefix          // EST5, PST
	nothingAlike        // no suggestion is better than a wrong one
)

func (a likeness) better(b likeness) bool {
	if a.kind != b.kind {
		return a.kind < b.kind
	}
	if a.apart != b.apart {
		return a.apart < b.apart
	}
	return a.length < b.length
}

// nearest is the zone whose name is most like the one given, or "". Of several
// that are equally like it is the first by name.
func (d *Data) nearest(name string) string {
	best, bestIs := "", likeness{kind: nothingAlike}
	given := fold(name)
	for _, zone := range d.names {
		if is := alike(given, fold(zone)); is.better(bestIs) {
			best, bestIs = zone, is
		}
	}
	return best
}

// fold makes spellings comparable.
func fold(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "_") }

func city(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// offsets are names that end in one: a letter more or less there is another time.
var offsets = regexp.MustCompile(`[0-9]$`)

// short is how many letters a name needs before one that is wrong may be a typing
// error: PST is not EST.
const short = 5

func alike(given, zone string) likeness {
	is := likeness{kind: nothingAlike, length: len(zone)}
	if given == zone {
		is.kind = sameLetters
		return is
	}
	if city(given) == city(zone) {
		is.kind, is.apart = sameCity, distance(given, zone, len(given)+len(zone))
		return is
	}
	if offsets.MatchString(zone) {
		return is
	}
	limit := min(max(1, len(given)/4), 3)
	is.apart = limit + 1
	if len(zone) >= short {
		is.apart = distance(given, zone, limit)
	}
	if !strings.Contains(given, "/") && len(city(zone)) >= short {
		is.apart = min(is.apart, distance(given, city(zone), limit))
	}
	switch {
	case is.apart <= limit:
		is.kind = typingError
	case strings.Contains(given, "/") || strings.Contains(zone, "/"):
	case strings.HasPrefix(given, zone) || strings.HasPrefix(zone, given):
		is.kind, is.apart = samePrefix, max(len(given), len(zone))-min(len(given), len(zone))
	}
	return is
}

// distance is how many letters have to be put in, left out, replaced or swapped
// with their neighbor to make a into b (optimal string alignment), or more than
// the limit when it is more than that.
func distance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) > limit {
		return limit + 1
	}
	// Three rows of the table: i-2, i-1 and i letters of a.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
