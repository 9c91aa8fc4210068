package db

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// AlertKey names one alert.
type AlertKey struct {
	Namespace string
	Name      string
}

const alertColumns = `
a.namespace, a.name, a.troubles, a.labels, a.webhook, a.version, a.created_at, a.updated_at`

func scanAlert(row pgx.CollectableRow) (*schedule.Alert, error) {
	a := &schedule.Alert{}
	var webhook []byte
	var troubles []string
	err := row.Scan(&a.Namespace, &a.Name, &troubles, &a.Labels, &webhook, &a.Version, &a.CreatedAt, &a.UpdatedAt)
	a.Webhook = json.RawMessage(webhook)
	for _, trouble := range troubles {
		a.On = append(a.On, schedule.Trouble(trouble))
	}
	a.CreatedAt, a.UpdatedAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC()
	return a, err
}

// alertValues are the parameters $1 to $5 of insertAlert and updateAlert.
func alertValues(a *schedule.Alert) []any {
	troubles := make([]string, len(a.On))
	for i, trouble := range a.On {
		troubles[i] = string(trouble)
	}
	return []any{a.Namespace, a.Name, troubles, a.Labels, []byte(a.Webhook)}
}

const insertAlert = `
INSERT INTO riverbeat.alerts (namespace, name, troubles, labels, webhook)
VALUES ($1, $2, $3, $4, $5)`

// InsertAlert writes a new alert. The error is schedule.ErrStale when somebody else has
// made one of the name meanwhile.
func (tx *Tx) InsertAlert(ctx context.Context, a *schedule.Alert) error {
	_, err := tx.Exec(ctx, insertAlert, alertValues(a)...)
	if UniqueViolation(err) == "alerts_pkey" {
		return schedule.ErrStale
	}
	return wrap(err, "insert the alert")
}

const updateAlert = `
UPDATE riverbeat.alerts
SET troubles = $3, labels = $4, webhook = $5, version = version + 1, updated_at = clock_timestamp()
WHERE namespace = $1 AND name = $2`

// UpdateAlert writes what the alert says.
func (tx *Tx) UpdateAlert(ctx context.Context, a *schedule.Alert) error {
	_, err := tx.Exec(ctx, updateAlert, alertValues(a)...)
	return wrap(err, "update the alert")
}

const deleteAlert = `
DELETE FROM riverbeat.alerts
WHERE namespace = $1 AND name = $2`

// DeleteAlert removes an alert.
func (tx *Tx) DeleteAlert(ctx context.Context, key AlertKey) error {
	_, err := tx.Exec(ctx, deleteAlert, key.Namespace, key.Name)
	return wrap(err, "delete the alert")
}

const selectAlert = `
SELECT ` + alertColumns + `
FROM riverbeat.alerts a
WHERE a.namespace = $1 AND a.name = $2`

// Alert reads one alert. The error is schedule.ErrNoAlert when there is none.
func (tx *Tx) Alert(ctx context.Context, key AlertKey) (*schedule.Alert, error) {
	return tx.alert(ctx, selectAlert, key)
}

// LockAlert reads one alert and holds it until the end of the transaction.
func (tx *Tx) LockAlert(ctx context.Context, key AlertKey) (*schedule.Alert, error) {
	return tx.alert(ctx, selectAlert+"\nFOR UPDATE", key)
}

func (tx *Tx) alert(ctx context.Context, query string, key AlertKey) (*schedule.Alert, error) {
	rows, err := tx.Query(ctx, query, key.Namespace, key.Name)
	if err != nil {
		return nil, wrap(err, "read the alert")
	}
	alert, err := pgx.CollectExactlyOneRow(rows, scanAlert)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, schedule.ErrNoAlert
	}
	return alert, wrap(err, "read the alert")
}

const countAlerts = `
SELECT count(*)
FROM riverbeat.alerts
WHERE namespace = $1`

// CountAlerts is how many alerts the namespace has.
func (tx *Tx) CountAlerts(ctx context.Context, namespace string) (n int, err error) {
	err = tx.QueryRow(ctx, countAlerts, namespace).Scan(&n)
	return n, wrap(err, "count alerts")
}

const listAlerts = `
SELECT ` + alertColumns + `
FROM riverbeat.alerts a
WHERE a.namespace = $1 AND a.name > $2
ORDER BY a.name
LIMIT $3`

// Alerts lists those of a namespace behind the name, ordered by name.
func (tx *Tx) Alerts(ctx context.Context, namespace, after string, limit int) ([]*schedule.Alert, error) {
	return tx.alerts(ctx, listAlerts, namespace, after, limit)
}

const alertsOfNamespaces = `
SELECT ` + alertColumns + `
FROM riverbeat.alerts a
WHERE a.namespace = ANY ($1)
ORDER BY a.namespace, a.name`

// AlertsOf are those of the namespaces.
func (tx *Tx) AlertsOf(ctx context.Context, namespaces []string) ([]*schedule.Alert, error) {
	return tx.alerts(ctx, alertsOfNamespaces, namespaces)
}

func (tx *Tx) alerts(ctx context.Context, query string, args ...any) ([]*schedule.Alert, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap(err, "list alerts")
	}
	list, err := pgx.CollectRows(rows, scanAlert)
	return list, wrap(err, "list alerts")
}
