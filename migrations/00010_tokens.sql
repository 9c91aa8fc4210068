-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What lets somebody in. A token is random, so its SHA-256 is enough to know it by,
-- and of no use to whoever reads it here. NULL is any, an empty list none.
CREATE TABLE riverbeat.tokens (
    id           uuid        NOT NULL DEFAULT gen_random_uuid(),
    name         text        NOT NULL,
    hash         bytea       NOT NULL,
    hint         text        NOT NULL,
    scopes       text[]      NOT NULL,
    namespaces   text[],
    kinds        text[],
    queues       text[],
    expires_at   timestamptz,
    last_used_at timestamptz,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at   timestamptz,

    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_hash_key UNIQUE (hash),
    CONSTRAINT tokens_name_check CHECK (char_length(name) BETWEEN 1 AND 120 AND name !~ '[[:cntrl:]]'),
    CONSTRAINT tokens_hash_check CHECK (octet_length(hash) = 32),
    CONSTRAINT tokens_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'write', 'admin'])
);

-- Who signed in with a browser; by the SHA-256 of what the cookie holds. One whose
-- token is gone lets nobody in.
CREATE TABLE riverbeat.sessions (
    hash       bytea       NOT NULL,
    token_id   uuid        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,

    CONSTRAINT sessions_pkey PRIMARY KEY (hash),
    CONSTRAINT sessions_hash_check CHECK (octet_length(hash) = 32)
);
CREATE INDEX sessions_token_id_idx ON riverbeat.sessions (token_id, created_at);

-- Nobody but the owner reads them, whatever rights on new tables are given by default.
REVOKE ALL ON riverbeat.tokens, riverbeat.sessions FROM PUBLIC;
-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('REVOKE ALL ON riverbeat.tokens, riverbeat.sessions FROM %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- Lists are those of the namespaces that a token sees.
CREATE INDEX schedules_namespace_idx ON riverbeat.schedules (namespace, id);

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP INDEX riverbeat.schedules_namespace_idx;
DROP TABLE riverbeat.sessions;
DROP TABLE riverbeat.tokens;
