package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/riverbeat/riverbeat/app"
)

// keyring is an *app.Keyring as a flag, which shows no key.
type keyring struct{ keys **app.Keyring }

func (k *keyring) Set(text string) (err error) {
	*k.keys, err = app.ParseKeyring(text)
	return err
}

func (k *keyring) String() string {
	if k.keys == nil {
		return ""
	}
	return (*k.keys).String()
}

func (k *keyring) Type() string { return "id:key pairs whose keys are 32 bytes in base64" }

// reencrypt has the secrets encrypted with the first key, so that the others can be
// given up once the log says so.
func (s *server) reencrypt(ctx context.Context) error {
	done, err := s.secrets.Reencrypt(ctx)
	switch {
	case err != nil && ctx.Err() == nil:
		s.log.Warn("can't encrypt the secrets with the first key: the next start tries again", "err", err)
	case done > 0:
		s.log.Info("secrets are encrypted with the first key now", "values", done)
	}
	return nil
}

// devKey is the encryption key of `riverbeat dev`, which is made once and kept beside
// its data.
func devKey(dir string) (*app.Keyring, error) {
	path := filepath.Join(dir, "encryption-key")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		raw := make([]byte, 32)
		_, _ = rand.Read(raw) // never fails
		text = []byte("dev:" + base64.StdEncoding.EncodeToString(raw))
		if err = os.MkdirAll(dir, 0o711); err == nil { //nolint:gosec // PostgreSQL, as another user, must get through
			err = os.WriteFile(path, text, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keep an encryption key: %w", err)
	}
	keys, err := app.ParseKeyring(string(text))
	if err != nil {
		return nil, fmt.Errorf("read the encryption key in %s: %w", path, err)
	}
	return keys, nil
}

// backends are the servers that this process works with, as host:port: no webhook
// may reach them. Sockets in the file system aren't reached by webhooks anyway.
func (s *server) backends() (hosts []string) {
	add := func(host string, port uint16) {
		if !strings.HasPrefix(host, "/") {
			hosts = append(hosts, net.JoinHostPort(host, strconv.Itoa(int(port))))
		}
	}
	for _, url := range []string{s.config.DatabaseURL, s.config.ListenDatabaseURL} {
		config, err := pgx.ParseConfig(url)
		if url == "" || err != nil {
			continue
		}
		add(config.Host, config.Port)
		for _, other := range config.Fallbacks {
			add(other.Host, other.Port)
		}
	}
	if s.redis != nil {
		hosts = append(hosts, s.redis.Options().Addr)
	}
	return hosts
}
