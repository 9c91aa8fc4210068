package schedule

import "strings"

// Language is a language that Describe speaks, by its BCP 47 tag.
type Language string

// The languages.
const (
	English  Language = "en"
	Japanese Language = "ja"
)

// maxAcceptLanguage is far more than any browser sends.
const maxAcceptLanguage = 1000

// ParseLanguage chooses the language that an Accept-Language header (RFC 9110,
// 12.5.4) wants most: the one with the higher quality, of equals the one named
// first. It is English when the header wants neither, is longer than 1,000 bytes
// or can't be read; an entry that can't be read is passed over.
func ParseLanguage(acceptLanguage string) Language {
	if len(acceptLanguage) > maxAcceptLanguage {
		return English
	}
	// In thousandths; -1 is not named.
	english, japanese, others := -1, -1, 0
	japaneseFirst := false
	for entry := range strings.SplitSeq(acceptLanguage, ",") {
		tag, weight, weighted := strings.Cut(entry, ";")
		quality, ok := 1000, true
		if weighted {
			quality, ok = parseQuality(trimSpace(weight))
		}
		if !ok {
			continue
		}
		primary, _, _ := strings.Cut(trimSpace(tag), "-")
		switch {
		case strings.EqualFold(primary, string(English)):
			english = max(english, quality)
		case strings.EqualFold(primary, string(Japanese)):
			japaneseFirst = japaneseFirst || english < 0
			japanese = max(japanese, quality)
		case primary == "*":
			others = max(others, quality)
		}
	}
	if english < 0 && japanese < 0 {
		return English
	}
	if english < 0 {
		english = others
	}
	if japanese < 0 {
		japanese = others
	}
	if japanese > english || japanese == english && japanese > 0 && japaneseFirst {
		return Japanese
	}
	return English
}

// parseQuality reads q=0.8 as 800: at most three decimals, at most 1.
func parseQuality(text string) (thousandths int, ok bool) {
	if len(text) < len("q=0") || !strings.EqualFold(text[:2], "q=") {
		return 0, false
	}
	whole, decimals, _ := strings.Cut(text[2:], ".")
	if len(decimals) > 3 || whole != "0" && whole != "1" {
		return 0, false
	}
	thousandths, ok = number(whole + (decimals + "000")[:3])
	return thousandths, ok && thousandths <= 1000
}

func trimSpace(text string) string { return strings.Trim(text, " \t") }
