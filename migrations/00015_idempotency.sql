-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What requests with an Idempotency-Key were answered with, written by the transaction
-- that did what they asked for.
CREATE TABLE riverbeat.idempotency_keys (
    caller     uuid        NOT NULL, -- the token's id; zeros: who came without one
    key        text        NOT NULL,
    request    bytea       NOT NULL, -- SHA-256 of what was asked
    status     integer     NOT NULL,
    headers    jsonb       NOT NULL,
    body       bytea,                -- NULL: it held a secret
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (caller, key),
    CONSTRAINT idempotency_keys_key_check CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_request_check CHECK (octet_length(request) = 32)
);
CREATE INDEX idempotency_keys_created_at_idx ON riverbeat.idempotency_keys (created_at);

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TABLE riverbeat.idempotency_keys;
