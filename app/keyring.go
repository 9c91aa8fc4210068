package app

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// Keyring encrypts secrets with its first key and decrypts them with any of its keys.
// Nil has none. It never shows them.
type Keyring struct{ keys []encryptionKey }

type encryptionKey struct {
	id   string
	aead cipher.AEAD
}

var keyIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// ParseKeyring reads id:key pairs, separated by commas, whose keys are 32 bytes in
// base64. The error repeats none of them.
func ParseKeyring(text string) (*Keyring, error) {
	k := &Keyring{}
	for pair := range strings.SplitSeq(text, ",") {
		id, encoded, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || !keyIDPattern.MatchString(id) {
			return nil, errors.New("each key must be an id, a colon and the key")
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("the key %s must be 32 bytes in base64", id)
		}
		if k.find(id) != nil {
			return nil, fmt.Errorf("the key %s is there twice", id)
		}
		block, err := aes.NewCipher(raw)
		if err != nil {
			return nil, fmt.Errorf("use the key %s: %w", id, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("use the key %s: %w", id, err)
		}
		k.keys = append(k.keys, encryptionKey{id: id, aead: aead})
	}
	return k, nil
}

// String is for logs: it shows no key.
func (k *Keyring) String() string {
	if k == nil {
		return ""
	}
	return "***"
}

// GoString is String for %#v.
func (k *Keyring) GoString() string { return k.String() }

// LogValue is slog.LogValuer.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

func (k *Keyring) find(id string) cipher.AEAD {
	if k == nil {
		return nil
	}
	if i := slices.IndexFunc(k.keys, func(key encryptionKey) bool { return key.id == id }); i >= 0 {
		return k.keys[i].aead
	}
	return nil
}

// seal encrypts with the first key; it can be opened with the same words about it only.
func (k *Keyring) seal(value, about string) (keyID string, sealed []byte, err error) {
	if k == nil || len(k.keys) == 0 {
		return "", nil, schedule.ErrNoEncryptionKeys
	}
	return k.keys[0].id, k.keys[0].aead.Seal(nil, nil, []byte(value), []byte(about)), nil //nolint:gosec // this AEAD makes its nonce itself
}

func (k *Keyring) open(keyID string, sealed []byte, about string) (string, error) {
	aead := k.find(keyID)
	if aead == nil {
		return "", fmt.Errorf("the encryption key %s isn't among those that this process has", keyID)
	}
	value, err := aead.Open(nil, nil, sealed, []byte(about))
	if err != nil {
		return "", fmt.Errorf("it can't be decrypted with the key %s", keyID)
	}
	return string(value), nil
}
