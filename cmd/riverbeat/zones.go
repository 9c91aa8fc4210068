package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/riverbeat/riverbeat/app/api"
	"github.com/riverbeat/riverbeat/app/zonedata"
)

// zonesOld is the age at which a newer release of the time zone data is likely to
// be out: there are some five a year, rarely half a year apart.
const zonesOld = 180 * 24 * time.Hour

func logZones(log *slog.Logger, zones *zonedata.Data, now time.Time) {
	log.Info("time zone data", "version", zones.Version(), "source", zones.Source(), "age_days", days(now.Sub(zones.Released())))
	if err := zonesCheck(zones, "", now).Err; err != nil {
		log.Warn("the time zone data are old: update the system's, riverbeat, or what "+variable("zoneinfo")+" names", "err", err)
	}
}

func registerZones(registry *prometheus.Registry, zones *zonedata.Data) {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "riverbeat_tzdata_info", Help: "1, with the version of the time zone data and where they are from.",
		ConstLabels: prometheus.Labels{"version": zones.Version(), "source": zones.Source()},
	})
	info.Set(1)
	registry.MustRegister(info, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "riverbeat_tzdata_age_seconds", Help: "Time since the time zone data in use were released.",
	}, func() float64 { return time.Since(zones.Released()).Seconds() }))
}

// zonesCheck says whether the time zone data are older than the newest that a
// scheduler has used, or so old that clocks may have been changed without riverbeat
// knowing.
func zonesCheck(zones *zonedata.Data, newest string, now time.Time) api.Check {
	age := now.Sub(zones.Released())
	check := api.Check{Part: "tzdata", Detail: fmt.Sprintf("%s, %d days old", zones.Version(), days(age))}
	switch {
	case zonedata.Compare(zones.Version(), newest) < 0:
		check.Err = fmt.Errorf("%s (%s) is older than %s, which another scheduler has used: update these data and start again", zones.Version(), zones.Source(), newest)
	case age > zonesOld:
		check.Err = fmt.Errorf("%s (%s) was released %d days ago: a newer release may be out", zones.Version(), zones.Source(), days(age))
	}
	return check
}

func days(age time.Duration) int { return int(age / (24 * time.Hour)) }
