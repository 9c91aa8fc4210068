package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riverbeat/riverbeat/app/zonedata"
)

// freshZones is time zone data of today, in which Berlin is that many hours ahead
// for ever. With them no test depends on how long ago the built-in data were
// released.
func freshZones(t *testing.T, hours int32) string {
	t.Helper()
	return freshZonesSeconds(t, hours*3600)
}

func freshZonesSeconds(t *testing.T, ahead int32) string {
	t.Helper()
	dir := t.TempDir()
	header := "TZif2" + strings.Repeat("\x00", 15+4*4) + "\x00\x00\x00\x01\x00\x00\x00\x04"
	block := string(binary.BigEndian.AppendUint32(nil, uint32(ahead))) + "\x00\x00ABC\x00"
	for name, content := range map[string]string{
		"tzdata.zi": "# version " + freshVersion() + "\n", "Europe/Berlin": header + block + header + block + "\n\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freshVersion() string { return fmt.Sprintf("%dz", time.Now().UTC().Year()) }

func TestTheNewestZoneDataAreUsedAndShown(t *testing.T) {
	t.Parallel()
	dir := freshZones(t, 7)
	p := newHouse(t).start("ZONEINFO=" + dir)
	p.said(`"msg":"time zone data"`, `"version":"`+freshVersion()+`"`, `"source":"ZONEINFO `+dir+`"`, `"age_days":0`)
	if got := p.ask("GET", "/readyz", nil, 200); got["checks"].(map[string]any)["tzdata"] != "ok: "+freshVersion()+", 0 days old" {
		t.Errorf("readyz says %v", got)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		fmt.Sprintf("riverbeat_tzdata_info{source=%q,version=%q} 1\n", "ZONEINFO "+dir, freshVersion()), "\nriverbeat_tzdata_age_seconds ",
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("the metrics lack %q", want)
		}
	}
	preview := func(zone string, status int) string {
		return fmt.Sprint(p.ask("POST", "/v1/preview", map[string]any{
			"spec": map[string]any{"cron": "0 9 * * *", "timezone": zone}, "from": "2026-01-01T12:00:00Z", "count": 1,
		}, status))
	}
	if got := preview("Europe/Berlin", 200); !strings.Contains(got, "2026-01-02T02:00:00Z") {
		t.Errorf("by the data of ZONEINFO Berlin's nine o'clock is at 02:00 UTC, not %s", got)
	}
	if got := preview("US/Pacific", 200); !strings.Contains(got, "2026-01-01T17:00:00Z") {
		t.Errorf("what they lack comes from the built-in data, not %s", got)
	}
	if got := preview("Tokyo", 422); !strings.Contains(got, `is not an IANA time zone: "Tokyo" (did you mean "Asia/Tokyo"?)`) {
		t.Errorf("the refusal is %s", got)
	}
}

func TestOldZoneDataAreToldOf(t *testing.T) {
	t.Parallel()
	zones, err := zonedata.Newest("")
	if err != nil {
		t.Fatal(err)
	}
	for age, old := range map[time.Duration]bool{0: false, zonesOld: false, zonesOld + 24*time.Hour: true} {
		now := zones.Released().Add(age)
		check := zonesCheck(zones, zones.Version(), now)
		if check.Part != "tzdata" || check.Required || (check.Err != nil) != old {
			t.Errorf("after %s the check is %+v", age, check)
		}
		if old && !strings.Contains(check.Err.Error(), zones.Version()+" ("+zones.Source()+") was released 181 days ago") {
			t.Errorf("after %s the check says %v", age, check.Err)
		}
		if want := fmt.Sprintf("%s, %d days old", zones.Version(), days(age)); check.Detail != want {
			t.Errorf("after %s the detail is %q", age, check.Detail)
		}
		if err := zonesCheck(zones, "9999z", now).Err; err == nil || !strings.Contains(err.Error(), "is older than 9999z, which another scheduler has used") {
			t.Errorf("beside newer data the check says %v", err)
		}
		var log bytes.Buffer
		logZones(slog.New(slog.NewJSONHandler(&log, nil)), zones, now)
		if strings.Contains(log.String(), `"level":"WARN"`) != old || !strings.Contains(log.String(), fmt.Sprintf(`"age_days":%d`, days(age))) {
			t.Errorf("after %s the log is %s", age, &log)
		}
	}
}
