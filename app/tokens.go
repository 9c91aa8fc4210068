package app

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/riverbeat/riverbeat/app/schedule"
	"github.com/riverbeat/riverbeat/db"
)

// Token is what is kept of an API token; see db.Token.
type Token = db.Token

// ErrNoToken is that of a token which doesn't exist, or is revoked already.
var ErrNoToken = db.ErrNoToken

// ErrTooManyTokens refuses another token: every process keeps all of them in memory.
var ErrTooManyTokens = errors.New("there are too many valid tokens: revoke those that nobody uses")

// The bounds of tokens.
const (
	maxTokens        = 10_000 // that are valid at once
	maxTokenEntries  = 100    // namespaces, kinds or queues of one
	tokenPrefix      = "rb_"
	tokenRandomBytes = 32
	tokenDigits      = 43 // of 32 bytes in base 62
	checksumDigits   = 6  // of a CRC-32
)

// tokenForm is what scanners for leaked secrets may look for.
var tokenForm = regexp.MustCompile(`^rb_[0-9A-Za-z]{49}$`)

// newSecret is a new token: rb_, 32 random bytes in base 62, and a checksum, by which
// whoever finds it in a file knows it for one.
func newSecret() string {
	random := make([]byte, tokenRandomBytes)
	rand.Read(random) // never fails
	body := base62(new(big.Int).SetBytes(random), tokenDigits)
	return tokenPrefix + body + checksum(body)
}

func checksum(body string) string {
	return base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(body)))), checksumDigits)
}

func base62(n *big.Int, digits int) string {
	text := n.Text(62)
	return strings.Repeat("0", max(digits-len(text), 0)) + text
}

// wellFormed reports whether the text may be a token at all.
func wellFormed(secret string) bool {
	if !tokenForm.MatchString(secret) {
		return false
	}
	body := secret[len(tokenPrefix) : len(tokenPrefix)+tokenDigits]
	return checksum(body) == secret[len(tokenPrefix)+tokenDigits:] // of no secret: anybody can compute it
}

func hashOf(secret string) db.Hash { return sha256.Sum256([]byte(secret)) }

// hintLength is how much of a token is kept to know it by.
const hintLength = len(tokenPrefix) + 5

// CreateToken makes a token of what t says: name, scopes, namespaces, kinds, queues and
// expiry; the rest is ignored. secret is the token itself, which is kept nowhere. The
// error may be a *schedule.InvalidError or ErrTooManyTokens.
func (s *Service) CreateToken(ctx context.Context, t Token) (created *Token, secret string, err error) {
	if err := mayEverything(ctx); err != nil {
		return nil, "", err
	}
	if err := checkToken(&t); err != nil {
		return nil, "", err
	}
	valid, err := s.database.CountTokens(ctx)
	if err != nil {
		return nil, "", err
	}
	if valid >= maxTokens {
		return nil, "", ErrTooManyTokens
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, "", err
	}
	secret = newSecret()
	t.ID, t.Hint, t.LastUsedAt, t.RevokedAt = schedule.ID(id), secret[:hintLength], time.Time{}, time.Time{}
	err = s.database.InTx(ctx, func(tx *db.Tx) error { return tx.InsertToken(ctx, &t, hashOf(secret)) })
	if err != nil {
		return nil, "", err
	}
	return &t, secret, nil
}

// Tokens reads a page of tokens in the order in which they were made, revoked and
// expired ones too, behind the id that is the last of the page before.
func (s *Service) Tokens(ctx context.Context, after schedule.ID, limit int) (page []Token, more bool, err error) {
	if err := mayEverything(ctx); err != nil {
		return nil, false, err
	}
	page, err = s.database.Tokens(ctx, after, limit+1)
	if len(page) > limit {
		return page[:limit], true, err
	}
	return page, false, err
}

// Token reads one token. The error may be ErrNoToken.
func (s *Service) Token(ctx context.Context, id schedule.ID) (Token, error) {
	if err := mayEverything(ctx); err != nil {
		return Token{}, err
	}
	return s.database.Token(ctx, id)
}

// RevokeToken ends a token: every process refuses it within RevokedWithin. The error
// may be ErrNoToken.
func (s *Service) RevokeToken(ctx context.Context, id schedule.ID) error {
	if err := mayEverything(ctx); err != nil {
		return err
	}
	return s.database.RevokeToken(ctx, id)
}

// checkToken refuses what a token can't be, and puts its lists in order.
func checkToken(t *Token) error {
	var wrong []schedule.FieldError
	add := func(field, reason string) {
		wrong = append(wrong, schedule.FieldError{Field: field, Reason: reason})
	}
	if n := utf8.RuneCountInString(t.Name); n < 1 || n > 120 || !utf8.ValidString(t.Name) || strings.ContainsFunc(t.Name, unicode.IsControl) {
		add("name", "must be 1 to 120 characters, none of them a control character")
	}
	if len(t.Scopes) == 0 {
		add("scopes", "must name at least one of read, write and admin")
	}
	for i, scope := range t.Scopes {
		if !slices.Contains(AllScopes, Scope(scope)) {
			add(fmt.Sprintf("scopes.%d", i), "must be of read, write and admin")
		}
	}
	list := func(field string, entries *[]string, valid func(string) bool, rule string) {
		if *entries == nil {
			return
		}
		if len(*entries) == 0 || len(*entries) > maxTokenEntries {
			add(field, fmt.Sprintf("must have 1 to %d entries; leave it out for any", maxTokenEntries))
		}
		for _, entry := range *entries {
			if !valid(entry) {
				add(field, rule)
			}
		}
		slices.Sort(*entries)
		*entries = slices.Compact(*entries)
	}
	list("namespaces", &t.Namespaces, schedule.ValidNamespace, "must name namespaces: 1 to 63 lower-case letters, digits and hyphens, the first not a hyphen")
	list("kinds", &t.Kinds, validKind, "must name job kinds: 1 to 127 characters, none of them a control character")
	list("queues", &t.Queues, schedule.ValidQueue, "must name River queues: lower-case letters and digits, in groups joined by _ or -")
	if slices.Contains(t.Scopes, string(ScopeAdmin)) && (t.Kinds != nil || t.Queues != nil) {
		// They could make themselves a token without these limits.
		add("scopes", "can't have admin in a token that is limited to kinds or queues")
	}
	if !t.ExpiresAt.IsZero() && (t.ExpiresAt.Unix() < 0 || t.ExpiresAt.Year() > 9998) {
		add("expires_at", "must be between the years 1970 and 9998")
	} else if !t.ExpiresAt.IsZero() && time.Now().After(t.ExpiresAt) {
		add("expires_at", "must be in the future")
	}
	slices.Sort(t.Scopes)
	t.Scopes = slices.Compact(t.Scopes)
	return schedule.AddFields(nil, wrong)
}

func validKind(kind string) bool {
	n := utf8.RuneCountInString(kind)
	return n >= 1 && n <= 127 && utf8.ValidString(kind) && !strings.ContainsFunc(kind, unicode.IsControl)
}

// callerWith is the caller that a token is.
func callerWith(t *Token) Caller {
	c := Caller{TokenID: t.ID, Name: t.Name, Namespaces: t.Namespaces, Kinds: t.Kinds, Queues: t.Queues}
	for _, scope := range t.Scopes {
		c.Scopes = append(c.Scopes, Scope(scope))
	}
	return c
}
