package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// SecretReader reads secrets of a namespace: of each that exists its live values,
// the newest first. Its error is shown to who may see the job.
type SecretReader func(ctx context.Context, namespace string, names []string) (map[string][]string, error)

// secretValues are the values of secrets by their names, the newest first.
type secretValues map[string][]string

// readSecrets reads what the arguments name. A secret that is missing may yet be
// made, so the error is one to retry.
func (w *webhookWorker) readSecrets(ctx context.Context, a WebhookArgs, namespace string) (secretValues, error) {
	uses := a.secrets()
	if len(uses) == 0 {
		return nil, nil
	}
	if namespace == "" {
		return nil, errors.New("the job names a secret, and belongs to no schedule whose namespace could have it")
	}
	if w.secrets == nil {
		return nil, errors.New("the job names a secret, and this worker can't read any")
	}
	var names []string
	for _, use := range uses {
		if !slices.Contains(names, use.Name) {
			names = append(names, use.Name)
		}
	}
	values, err := w.secrets(ctx, namespace, names)
	if err != nil {
		return nil, fmt.Errorf("read the job's secrets: %w", err)
	}
	for _, use := range uses {
		if len(values[use.Name]) == 0 {
			return nil, fmt.Errorf("the secret %s doesn't exist in the namespace %s", use.Name, namespace)
		}
		if use.Signs && !schedule.IsSigningSecret(values[use.Name][0]) {
			return nil, fmt.Errorf("the secret %s isn't a signing secret: whsec_ and 24 to 64 bytes in base64", use.Name)
		}
	}
	return values, nil
}

// leastHidden is the shortest part of a secret that is looked for: shorter ones
// stand in many texts.
const leastHidden = 6

// hide takes the secrets out of what a receiver has sent back: whole, and without
// what stands before a space, as in "Bearer ".
func (values secretValues) hide(body []byte) []byte {
	for _, of := range values {
		for _, value := range of {
			parts := append([]string{value}, strings.Fields(value)...)
			for _, part := range parts {
				if len(part) >= leastHidden || part == value {
					body = bytes.ReplaceAll(body, []byte(part), []byte("***"))
				}
			}
		}
	}
	return body
}

// sign is the header webhook-signature of Standard Webhooks: a signature with each
// secret, so that receivers that know any of them can check it.
func sign(secrets []string, id string, at time.Time, body []byte) (string, error) {
	var signatures []string
	for _, secret := range secrets {
		if !schedule.IsSigningSecret(secret) {
			continue // an older version that was something else
		}
		key, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return "", errors.New("it can't be read") // the library's error may repeat it
		}
		signature, err := key.Sign(id, at, body)
		if err != nil {
			return "", err
		}
		signatures = append(signatures, signature)
	}
	return strings.Join(signatures, " "), nil
}
