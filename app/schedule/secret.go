package schedule

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// Secret is what may be seen of a secret: everything but its values.
type Secret struct {
	Namespace string
	Name      string // unique in its namespace
	Signs     bool   // its newest value is a key that webhooks can be signed with
	Versions  []SecretVersion
}

// SecretVersion is one value of a secret. The newest is the one that is used; older
// ones sign beside it until they expire.
type SecretVersion struct {
	Version   int64
	KeyID     string // of the key that it is encrypted with
	CreatedAt time.Time
	ExpiresAt time.Time // zero: it is the newest
}

// SecretUse is a place in a schedule's document that names a secret.
type SecretUse struct {
	Field string
	Name  string
	Signs bool // it must be a signing secret
}

// Limits of secrets.
const (
	MaxSecretBytes    = 8 << 10
	MaxSecretVersions = 10 // that are live at once
	DefaultGrace      = 24 * time.Hour
	MaxGrace          = 30 * 24 * time.Hour
)

// The states that callers branch on.
var (
	// ErrNoSecret: no such secret in the caller's namespace.
	ErrNoSecret = errors.New("no such secret")
	// ErrNoEncryptionKeys: the program has no keys to encrypt secrets with.
	ErrNoEncryptionKeys = errors.New("there are no encryption keys (RIVERBEAT_ENCRYPTION_KEYS)")
)

// signingPrefix begins a signing secret, as Standard Webhooks writes it.
const signingPrefix = "whsec_"

// IsSigningSecret reports whether webhooks can be signed with the value: whsec_ and
// 24 to 64 bytes in base64.
func IsSigningSecret(value string) bool {
	text, ok := strings.CutPrefix(value, signingPrefix)
	if !ok || strings.ContainsAny(text, "\r\n") {
		return false
	}
	key, err := base64.StdEncoding.DecodeString(text)
	return err == nil && len(key) >= 24 && len(key) <= 64
}

// CheckSecretValue is the reason why a value can't be a secret, or nothing. It
// never repeats the value.
func CheckSecretValue(value string) (reason string) {
	switch {
	case value == "":
		return "is missing"
	case len(value) > MaxSecretBytes:
		return "must be at most 8192 bytes"
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		return "must not contain control characters: it is sent as a header's value, or signs"
	case strings.HasPrefix(value, signingPrefix) && !IsSigningSecret(value):
		return "begins with whsec_ and must go on with 24 to 64 bytes in base64"
	}
	return ""
}
