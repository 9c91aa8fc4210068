package db

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// SecretKey names one secret.
type SecretKey struct {
	Namespace string
	Name      string
}

// SecretValue is one value of a secret, encrypted.
type SecretValue struct {
	SecretKey
	Version int64
	Signs   bool
	KeyID   string
	Sealed  []byte
}

const lockSecret = `
SELECT pg_advisory_xact_lock(hashtextextended('riverbeat secret ' || $1 || ' ' || $2, 0))`

// LockSecret keeps others from writing the secret, which needn't exist, until the end
// of the transaction.
func (tx *Tx) LockSecret(ctx context.Context, key SecretKey) error {
	_, err := tx.Exec(ctx, lockSecret, key.Namespace, key.Name)
	return wrap(err, "lock the secret")
}

const expireSecretValues = `
UPDATE riverbeat.secrets
SET expires_at = clock_timestamp() + $3::interval
WHERE namespace = $1 AND name = $2 AND (expires_at IS NULL OR expires_at > clock_timestamp() + $3::interval)`

const insertSecretValue = `
INSERT INTO riverbeat.secrets (namespace, name, version, signs, key_id, sealed)
VALUES ($1, $2, $3, $4, $5, $6)`

// InsertSecretValue writes the newest value of a secret that the transaction holds. The
// others end after the grace, or when they would anyway.
func (tx *Tx) InsertSecretValue(ctx context.Context, v SecretValue, grace time.Duration) error {
	if _, err := tx.Exec(ctx, expireSecretValues, v.Namespace, v.Name, grace); err != nil {
		return wrap(err, "let the values before expire")
	}
	_, err := tx.Exec(ctx, insertSecretValue, v.Namespace, v.Name, v.Version, v.Signs, v.KeyID, v.Sealed)
	return wrap(err, "insert the secret's value")
}

const deleteSecret = `
DELETE FROM riverbeat.secrets
WHERE namespace = $1 AND name = $2`

// DeleteSecret removes a secret.
func (tx *Tx) DeleteSecret(ctx context.Context, key SecretKey) error {
	_, err := tx.Exec(ctx, deleteSecret, key.Namespace, key.Name)
	return wrap(err, "delete the secret")
}

// isLive is a value that is in use.
const isLive = `(expires_at IS NULL OR expires_at > (SELECT clock_timestamp()))`

const listSecrets = `
SELECT namespace, name, version, signs, key_id, created_at, expires_at
FROM riverbeat.secrets
WHERE namespace = $1 AND ` + isLive + ` AND name IN (
    SELECT DISTINCT name
    FROM riverbeat.secrets
    WHERE namespace = $1 AND name > $2 AND ($3 = '' OR name = $3) AND expires_at IS NULL
    ORDER BY name
    LIMIT $4)
ORDER BY name, version DESC`

// Secrets lists those of a namespace behind the name, ordered by name, with their live
// versions, newest first.
func (tx *Tx) Secrets(ctx context.Context, namespace, after string, limit int) ([]*schedule.Secret, error) {
	return tx.secrets(ctx, namespace, after, "", limit)
}

// Secret reads one. The error is schedule.ErrNoSecret when there is none.
func (tx *Tx) Secret(ctx context.Context, key SecretKey) (*schedule.Secret, error) {
	list, err := tx.secrets(ctx, key.Namespace, "", key.Name, 1)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, schedule.ErrNoSecret
	}
	return list[0], nil
}

func (tx *Tx) secrets(ctx context.Context, namespace, after, name string, limit int) (list []*schedule.Secret, err error) {
	rows, err := tx.Query(ctx, listSecrets, namespace, after, name, limit)
	if err != nil {
		return nil, wrap(err, "read secrets")
	}
	var (
		s       schedule.Secret
		v       schedule.SecretVersion
		expires *time.Time
	)
	_, err = pgx.ForEachRow(rows, []any{&s.Namespace, &s.Name, &v.Version, &s.Signs, &v.KeyID, &v.CreatedAt, &expires}, func() error {
		if len(list) == 0 || list[len(list)-1].Name != s.Name {
			list = append(list, &schedule.Secret{Namespace: s.Namespace, Name: s.Name, Signs: s.Signs})
		}
		v.CreatedAt, v.ExpiresAt = v.CreatedAt.UTC(), utc(expires)
		last := list[len(list)-1]
		last.Versions = append(last.Versions, v)
		return nil
	})
	return list, wrap(err, "read secrets")
}

const selectSecretValues = `
SELECT namespace, name, version, signs, key_id, sealed
FROM riverbeat.secrets
WHERE namespace = $1 AND name = ANY ($2) AND ` + isLive + `
ORDER BY name, version DESC`

// SecretValues are the live values of the secrets that there are, the newest of each
// first.
func (tx *Tx) SecretValues(ctx context.Context, namespace string, names []string) ([]SecretValue, error) {
	return tx.secretValues(ctx, selectSecretValues, namespace, names)
}

const selectOtherKeys = `
SELECT namespace, name, version, signs, key_id, sealed
FROM riverbeat.secrets
WHERE key_id <> $1 AND (namespace, name, version) > ($2, $3, $4)
ORDER BY namespace, name, version
LIMIT $5
FOR UPDATE SKIP LOCKED`

// SecretValuesOfOtherKeys are values behind that one that are encrypted with another
// key, and holds them.
func (tx *Tx) SecretValuesOfOtherKeys(ctx context.Context, keyID string, after SecretValue, limit int) ([]SecretValue, error) {
	return tx.secretValues(ctx, selectOtherKeys, keyID, after.Namespace, after.Name, after.Version, limit)
}

func (tx *Tx) secretValues(ctx context.Context, query string, args ...any) ([]SecretValue, error) {
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return nil, wrap(err, "read values of secrets")
	}
	values, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (v SecretValue, err error) {
		return v, row.Scan(&v.Namespace, &v.Name, &v.Version, &v.Signs, &v.KeyID, &v.Sealed)
	})
	return values, wrap(err, "read values of secrets")
}

const resealSecretValue = `
UPDATE riverbeat.secrets
SET key_id = $4, sealed = $5
WHERE namespace = $1 AND name = $2 AND version = $3`

// ResealSecretValue writes the same value, encrypted anew.
func (tx *Tx) ResealSecretValue(ctx context.Context, v SecretValue) error {
	_, err := tx.Exec(ctx, resealSecretValue, v.Namespace, v.Name, v.Version, v.KeyID, v.Sealed)
	return wrap(err, "write the secret's value anew")
}

const selectSecretsThatSign = `
SELECT name, signs
FROM riverbeat.secrets
WHERE namespace = $1 AND name = ANY ($2) AND expires_at IS NULL`

// SecretsThatSign says of those of the secrets that there are whether they are signing
// secrets.
func (tx *Tx) SecretsThatSign(ctx context.Context, namespace string, names []string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, selectSecretsThatSign, namespace, names)
	if err != nil {
		return nil, wrap(err, "look for secrets")
	}
	found := map[string]bool{}
	var name string
	var signs bool
	_, err = pgx.ForEachRow(rows, []any{&name, &signs}, func() error {
		found[name] = signs
		return nil
	})
	return found, wrap(err, "look for secrets")
}

const removeExpiredSecrets = `
DELETE FROM riverbeat.secrets
WHERE expires_at < (SELECT clock_timestamp())`

// RemoveExpiredSecrets removes the values whose time is over.
func (s *Store) RemoveExpiredSecrets(ctx context.Context) error {
	return s.InTx(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, removeExpiredSecrets)
		return wrap(err, "remove expired secrets")
	})
}
