package schedule

import (
	"strings"
	"testing"
	"time"
)

func TestParseLanguageChoosesWhatTheHeaderWantsMost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		header string
		want   Language
	}{
		{"", English},
		{"en", English},
		{"ja", Japanese},
		{"JA", Japanese},
		{"ja-JP", Japanese},
		{"ja-Jpan-JP-x-osaka", Japanese},
		{"ja,en-US;q=0.9,en;q=0.8", Japanese},
		{"ja, en-US; q=0.9, en; q=0.8", Japanese},
		{"ja\t;\tq=0.9\t,\ten\t;\tq=0.8", Japanese},
		{"en-US,en;q=0.9,ja;q=0.8", English},
		{"en;q=0.8,ja;q=0.9", Japanese},
		{"en;q=0.899,ja;q=0.9", Japanese},
		{"en;q=0.8, ja;Q=0.9", Japanese},
		{"fr-FR, de;q=0.9", English},
		{"fr, ja;q=0.1", Japanese},
		{"fr, en;q=0.1, ja;q=0.2", Japanese},

		// Of equals, the one named first.
		{"en, ja", English},
		{"ja, en", Japanese},
		{"ja;q=0.5, en;q=0.5", Japanese},
		{"ja;q=1.000, en;q=1.0", Japanese},
		{"fr, en;q=0.5, ja;q=0.50", English},

		// * is every language that isn't named.
		{"*", English},
		{"*;q=0.5", English},
		{"ja, *", Japanese},
		{"*, ja", Japanese},
		{"ja, *;q=0.5", Japanese},
		{"ja;q=0.5, *;q=0.8", English},
		{"en;q=0.5, *;q=0.8", Japanese},
		{"en;q=0, *", Japanese},
		{"ja;q=0, *", English},
		{"*;q=0, ja;q=0.001", Japanese},

		// A quality of 0 is "not this one".
		{"ja;q=0", English},
		{"ja;q=0, en;q=0", English},
		{"en;q=0", English},
		{"en;q=0, ja;q=0.1", Japanese},

		// The best of several of the same language counts.
		{"en-GB;q=0.1, ja;q=0.5, en-US;q=0.9", English},
		{"ja-JP;q=0.1, en;q=0.5, ja;q=0.9", Japanese},

		// What can't be read is passed over.
		{",,ja,,", Japanese},
		{";q=1, ja;q=0.1", Japanese},
		{"ja;q=1.1, en;q=0.1", English},
		{"ja;q=2, en;q=0.1", English},
		{"ja;q=-1, en;q=0.1", English},
		{"ja;q=+1, en;q=0.1", English},
		{"ja;q=0.9999, en;q=0.1", English},
		{"ja;q=1.001, en;q=0.1", English},
		{"ja;q=, en;q=0.1", English},
		{"ja;q, en;q=0.1", English},
		{"ja;, en;q=0.1", English},
		{"ja;q=1e0, en;q=0.1", English},
		{"ja;q=.9, en;q=0.1", English},
		{"ja;q=NaN, en;q=0.1", English},
		{"ja;q=0x1, en;q=0.1", English},
		{"ja;q=\uff11, en;q=0.1", English},
		{"ja;q=0.9;q=1, en;q=0.1", English},
		{"ja;level=1, en;q=0.1", English},
		{"en;q=0., ja;q=0.1", Japanese},
		{"ja;q=1., en;q=0.1", Japanese},
		{"ja q=1, en;q=0.1", English},
		{"jam, en;q=0.1", English},
		{"ja_JP, en;q=0.1", English},
		{"-ja, en;q=0.1", English},
		{"japanese", English},
		{"\xff\xfe, ja", Japanese},
		{"ja\x00", English},

		{"ja" + strings.Repeat(" ", 998), Japanese},
		{"ja" + strings.Repeat(" ", 999), English},
		{"ja," + strings.Repeat(",", 1<<20), English},
		{strings.Repeat("ja;q=0.1,", 100), Japanese},
	} {
		if got := ParseLanguage(test.header); got != test.want {
			t.Errorf("%.60q is %s, want %s", test.header, got, test.want)
		}
	}
}

func TestParseLanguageBoundsItsWork(t *testing.T) {
	t.Parallel()
	for _, header := range []string{
		strings.Repeat("ja;q=0.1,", 1<<20),
		strings.Repeat(",", maxAcceptLanguage),
		strings.Repeat("a;", maxAcceptLanguage/2),
		"ja;q=" + strings.Repeat("0", maxAcceptLanguage-5),
	} {
		// The least of several, because the machine may be busy.
		least := time.Hour
		for range 20 {
			start := time.Now()
			ParseLanguage(header)
			least = min(least, time.Since(start))
		}
		if least > time.Millisecond {
			t.Errorf("%.20q takes %v", header, least)
		}
	}
}
