package app

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Secrets keeps the secrets that webhooks name: encrypted, and shown to nobody but
// the webhooks. Who writes them needs the scope admin, and who asks what there are the
// scope read, in their namespace: the error may be a *ForbiddenError or
// schedule.ErrNoNamespace.
type Secrets struct {
	store *db.Store
	keys  *Keyring
}

// NewSecrets is a Secrets. Without keys it lists and deletes secrets, and the error of
// what needs one is schedule.ErrNoEncryptionKeys.
func NewSecrets(store *db.Store, keys *Keyring) *Secrets { return &Secrets{store: store, keys: keys} }

// Secrets are those of the service.
func (s *Service) Secrets() *Secrets { return s.secrets }

// SecretKey names one secret; see db.SecretKey.
type SecretKey = db.SecretKey

// Put gives a secret a new value, or makes the secret. The value before it goes on
// signing for the grace. One that the secret has already writes nothing. version is
// the one that the caller has seen, or AnyVersion. The error may be a
// *schedule.InvalidError, schedule.ErrStale or schedule.ErrNoEncryptionKeys.
func (s *Secrets) Put(ctx context.Context, key SecretKey, version int64, value string, grace time.Duration) (secret *schedule.Secret, created bool, err error) {
	if reason := schedule.CheckSecretValue(value); reason != "" {
		return nil, false, schedule.Invalid("value", reason)
	}
	return s.put(ctx, key, version, value, grace)
}

// Generate gives a secret a new value to sign with, as Put does, and says which, this
// once.
func (s *Secrets) Generate(ctx context.Context, key SecretKey, version int64, grace time.Duration) (secret *schedule.Secret, value string, created bool, err error) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	value = "whsec_" + base64.StdEncoding.EncodeToString(raw)
	secret, created, err = s.put(ctx, key, version, value, grace)
	return secret, value, created, err
}

func (s *Secrets) put(ctx context.Context, key SecretKey, version int64, value string, grace time.Duration) (secret *schedule.Secret, created bool, err error) {
	if err := may(ctx, ScopeAdmin, key.Namespace); err != nil {
		return nil, false, err
	}
	if !schedule.ValidNamespace(key.Name) { // their names look alike
		return nil, false, schedule.Invalid("name", schedule.NameRule)
	}
	if grace < 0 || grace > schedule.MaxGrace {
		return nil, false, schedule.Invalid("grace", "must be from 0s to 720h")
	}
	err = s.store.InTx(ctx, func(tx *db.Tx) error {
		created = false
		if err := tx.LockSecret(ctx, key); err != nil {
			return err
		}
		before, err := tx.SecretValues(ctx, key.Namespace, []string{key.Name})
		if err != nil {
			return err
		}
		next := db.SecretValue{SecretKey: key, Version: 1, Signs: schedule.IsSigningSecret(value)}
		if len(before) > 0 {
			next.Version = before[0].Version + 1
			// One that can't be read is replaced all the same.
			if same, err := s.open(before[0]); err == nil && same == value && (version == AnyVersion || version == before[0].Version) {
				secret, err = tx.Secret(ctx, key)
				return err
			}
		}
		switch {
		case version != AnyVersion && version != next.Version-1:
			return schedule.ErrStale
		case len(before) >= schedule.MaxSecretVersions:
			return schedule.Invalid("value", fmt.Sprintf("would be the %dth that is live at once: wait for older ones to expire", len(before)+1))
		}
		if next.KeyID, next.Sealed, err = s.keys.seal(value, about(next)); err != nil {
			return err
		}
		if err := tx.InsertSecretValue(ctx, next, grace); err != nil {
			return err
		}
		created = len(before) == 0
		secret, err = tx.Secret(ctx, key)
		return err
	})
	return secret, created, err
}

// about is what an encrypted value is bound to: moved to another row it can't be read.
func about(v db.SecretValue) string {
	return fmt.Sprintf("riverbeat secret %s %s %d", v.Namespace, v.Name, v.Version)
}

func (s *Secrets) open(v db.SecretValue) (string, error) {
	if s.keys == nil {
		return "", schedule.ErrNoEncryptionKeys
	}
	return s.keys.open(v.KeyID, v.Sealed, about(v))
}

// Get reads what may be seen of a secret. The error may be schedule.ErrNoSecret.
func (s *Secrets) Get(ctx context.Context, key SecretKey) (secret *schedule.Secret, err error) {
	if err := may(ctx, ScopeRead, key.Namespace); err != nil {
		return nil, err
	}
	err = s.store.InTx(ctx, func(tx *db.Tx) error {
		secret, err = tx.Secret(ctx, key)
		return err
	})
	return secret, err
}

// List reads a page of what may be seen of a namespace's secrets, ordered by name,
// behind the name that is the last of the page before.
func (s *Secrets) List(ctx context.Context, namespace, after string, limit int) (page []*schedule.Secret, more bool, err error) {
	if err := may(ctx, ScopeRead, namespace); err != nil {
		return nil, false, err
	}
	err = s.store.InTx(ctx, func(tx *db.Tx) error {
		page, err = tx.Secrets(ctx, namespace, after, limit+1)
		return err
	})
	if len(page) > limit {
		return page[:limit], true, err
	}
	return page, false, err
}

// Delete removes a secret with all of its values. The runs that name it fail from
// then on. The error may be schedule.ErrNoSecret or schedule.ErrStale.
func (s *Secrets) Delete(ctx context.Context, key SecretKey, version int64) error {
	if err := may(ctx, ScopeAdmin, key.Namespace); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(tx *db.Tx) error {
		if err := tx.LockSecret(ctx, key); err != nil {
			return err
		}
		secret, err := tx.Secret(ctx, key)
		if err != nil {
			return err
		}
		if version != AnyVersion && version != secret.Versions[0].Version {
			return schedule.ErrStale
		}
		return tx.DeleteSecret(ctx, key)
	})
}

// Values are those of the secrets that there are, by name, the newest first: for
// webhooks and nobody else. The error says which secret can't be read, and why.
func (s *Secrets) Values(ctx context.Context, namespace string, names []string) (map[string][]string, error) {
	var sealed []db.SecretValue
	err := s.store.InTx(ctx, func(tx *db.Tx) (err error) {
		sealed, err = tx.SecretValues(ctx, namespace, names)
		return err
	})
	if err != nil {
		return nil, err
	}
	values := map[string][]string{}
	for _, v := range sealed {
		value, err := s.open(v)
		if err != nil {
			return nil, fmt.Errorf("the secret %s: %w", v.Name, err)
		}
		values[v.Name] = append(values[v.Name], value)
	}
	return values, nil
}

// reencryptBatch is how many values one transaction encrypts anew.
const reencryptBatch = 100

// Reencrypt encrypts with the first key what was encrypted with others, so that these
// can be given up. What can't be decrypted stays as it is.
func (s *Secrets) Reencrypt(ctx context.Context) (done int, err error) {
	if s.keys == nil {
		return 0, nil
	}
	current := s.keys.keys[0].id
	var after db.SecretValue
	for more := true; more; {
		n := 0
		err := s.store.InTx(ctx, func(tx *db.Tx) error {
			n = 0
			others, err := tx.SecretValuesOfOtherKeys(ctx, current, after, reencryptBatch)
			if err != nil {
				return err
			}
			more = len(others) == reencryptBatch
			for _, v := range others {
				value, err := s.open(v)
				if err != nil {
					continue
				}
				if v.KeyID, v.Sealed, err = s.keys.seal(value, about(v)); err != nil {
					return err
				}
				if err := tx.ResealSecretValue(ctx, v); err != nil {
					return err
				}
				n++
			}
			if more {
				after = others[len(others)-1]
			}
			return nil
		})
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// checkSecrets refuses a job that names secrets which its namespace doesn't have.
func (s *Service) checkSecrets(ctx context.Context, tx *db.Tx, namespace string, uses []schedule.SecretUse) error {
	if len(uses) == 0 {
		return nil
	}
	var names []string
	for _, use := range uses {
		names = append(names, use.Name)
	}
	signs, err := tx.SecretsThatSign(ctx, namespace, names)
	if err != nil {
		return err
	}
	var wrong []schedule.FieldError
	for _, use := range uses {
		switch signing, ok := signs[use.Name]; {
		case !ok:
			wrong = append(wrong, schedule.FieldError{Field: use.Field,
				Reason: fmt.Sprintf("names the secret %s, which doesn't exist in the namespace %s", use.Name, namespace)})
		case use.Signs && !signing:
			wrong = append(wrong, schedule.FieldError{Field: use.Field,
				Reason: fmt.Sprintf("names the secret %s, whose value isn't whsec_ and 24 to 64 bytes in base64", use.Name)})
		}
	}
	return schedule.AddFields(nil, wrong)
}

// checkJobSecrets is checkSecrets for the job of a schedule.
func (s *Service) checkJobSecrets(ctx context.Context, tx *db.Tx, definition *schedule.Schedule) error {
	return s.checkSecrets(ctx, tx, definition.Namespace, s.jobs.Secrets(definition.Job.Kind, definition.Job.Args))
}

// sameJob reports whether two jobs name the same secrets.
func sameJob(a, b *schedule.Job) bool { return a.Kind == b.Kind && sameJSON(a.Args, b.Args) }
