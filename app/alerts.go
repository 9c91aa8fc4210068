package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// webhookKind is the kind of the jobs that carry alerts.
const webhookKind = "webhook"

// AlertKey names one alert; see db.AlertKey.
type AlertKey = db.AlertKey

// PutAlert writes what an alert says, or makes it. One that says the same writes
// nothing. version is the one that the caller has seen, or AnyVersion. The error may be
// a *schedule.InvalidError or schedule.ErrStale.
func (s *Service) PutAlert(ctx context.Context, alert schedule.Alert, version int64) (written *schedule.Alert, created bool, err error) {
	if err := may(ctx, ScopeWrite, alert.Namespace); err != nil {
		return nil, false, err
	}
	if err := CallerOf(ctx).CheckKind("webhook", webhookKind); err != nil {
		return nil, false, err
	}
	if err := schedule.AddFields(alert.Validate(), inWebhook(s.jobs.CheckArgs(webhookKind, alert.Webhook))); err != nil {
		return nil, false, err
	}
	key := AlertKey{Namespace: alert.Namespace, Name: alert.Name}
	err = s.act(ctx, func(tx *db.Tx) error {
		created = false
		before, err := tx.LockAlert(ctx, key)
		created = errors.Is(err, schedule.ErrNoAlert)
		switch {
		case created && version != AnyVersion:
			return schedule.ErrStale
		case created:
		case err != nil:
			return err
		case version != AnyVersion && version != before.Version:
			return schedule.ErrStale
		case slices.Equal(before.On, alert.On) && maps.Equal(before.Labels, alert.Labels) && sameJSON(before.Webhook, alert.Webhook):
			written = before
			return nil
		}
		var invalid *schedule.InvalidError
		err = s.checkSecrets(ctx, tx, alert.Namespace, s.jobs.Secrets(webhookKind, alert.Webhook))
		if errors.As(err, &invalid) {
			return &schedule.InvalidError{Fields: inWebhook(invalid.Fields)}
		}
		if err != nil {
			return err
		}
		if created {
			n, err := tx.CountAlerts(ctx, alert.Namespace)
			if err != nil {
				return err
			}
			if n >= schedule.MaxAlerts {
				return schedule.Invalid("name", fmt.Sprintf("would be the %dth alert of the namespace", n+1))
			}
			err = tx.InsertAlert(ctx, &alert)
			if err != nil {
				return err
			}
		} else if err := tx.UpdateAlert(ctx, &alert); err != nil {
			return err
		}
		written, err = tx.Alert(ctx, key)
		return err
	})
	return written, created, err
}

// inWebhook renames the fields of a webhook job's args to where an alert has them.
func inWebhook(wrong []schedule.FieldError) []schedule.FieldError {
	renamed := slices.Clone(wrong)
	for i, f := range renamed {
		renamed[i].Field = "webhook" + strings.TrimPrefix(f.Field, "job.args")
	}
	return renamed
}

// Alert reads one alert. The error may be schedule.ErrNoAlert.
func (s *Service) Alert(ctx context.Context, key AlertKey) (alert *schedule.Alert, err error) {
	if err := may(ctx, ScopeRead, key.Namespace); err != nil {
		return nil, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		alert, err = tx.Alert(ctx, key)
		return err
	})
	return alert, err
}

// Alerts reads a page of a namespace's alerts, ordered by name, behind the name that is
// the last of the page before.
func (s *Service) Alerts(ctx context.Context, namespace, after string, limit int) (page []*schedule.Alert, more bool, err error) {
	if err := may(ctx, ScopeRead, namespace); err != nil {
		return nil, false, err
	}
	err = s.read(ctx, func(tx *db.Tx) error {
		page, err = tx.Alerts(ctx, namespace, after, limit+1)
		return err
	})
	if len(page) > limit {
		return page[:limit], true, err
	}
	return page, false, err
}

// DeleteAlert removes an alert. The error may be schedule.ErrNoAlert or
// schedule.ErrStale.
func (s *Service) DeleteAlert(ctx context.Context, key AlertKey, version int64) error {
	if err := may(ctx, ScopeWrite, key.Namespace); err != nil {
		return err
	}
	return s.act(ctx, func(tx *db.Tx) error {
		alert, err := tx.LockAlert(ctx, key)
		if err != nil {
			return err
		}
		if version != AnyVersion && version != alert.Version {
			return schedule.ErrStale
		}
		return tx.DeleteAlert(ctx, key)
	})
}
