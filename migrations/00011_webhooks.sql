-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What webhooks are signed with and what their headers must not show, encrypted: each
-- row is one value. The newest has no end; older ones sign beside it until theirs.
-- No role is granted anything: only the owner reads it.
CREATE TABLE riverbeat.secrets (
    namespace  text        NOT NULL,
    name       text        NOT NULL,
    version    bigint      NOT NULL,
    signs      boolean     NOT NULL,
    key_id     text        NOT NULL, -- of the key in RIVERBEAT_ENCRYPTION_KEYS
    sealed     bytea       NOT NULL, -- bound to namespace, name and version
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz,

    CONSTRAINT secrets_pkey PRIMARY KEY (namespace, name, version),
    CONSTRAINT secrets_namespace_check CHECK (namespace ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT secrets_name_check CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT secrets_version_check CHECK (version >= 1)
);
CREATE INDEX secrets_expires_at_idx ON riverbeat.secrets (expires_at) WHERE expires_at IS NOT NULL;

-- Whom to tell of trouble. An alert is about the schedules of its namespace that have
-- all of its labels; without labels, about all of them.
CREATE TABLE riverbeat.alerts (
    namespace  text        NOT NULL DEFAULT 'default',
    name       text        NOT NULL,
    troubles   text[]      NOT NULL DEFAULT '{failed,missed,invalid}',
    labels     jsonb       NOT NULL DEFAULT '{}',
    webhook    jsonb       NOT NULL, -- args of a webhook job, without a body
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT alerts_pkey PRIMARY KEY (namespace, name),
    CONSTRAINT alerts_namespace_check CHECK (namespace ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT alerts_name_check CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT alerts_troubles_check CHECK (cardinality(troubles) > 0 AND troubles <@ '{failed,missed,invalid}'),
    CONSTRAINT alerts_labels_check CHECK (
        jsonb_typeof(labels) = 'object'
        AND NOT jsonb_path_exists(labels, 'strict $.* ? (@.type() <> "string")', '{}', true)),
    CONSTRAINT alerts_webhook_check CHECK (jsonb_typeof(webhook) = 'object')
);
CREATE INDEX alerts_created_at_idx ON riverbeat.alerts (created_at);

-- Which schedules are in trouble, of those that an alert is about. One that is over
-- stays for a while, so that what is looked at twice is told once.
CREATE TABLE riverbeat.troubles (
    schedule_id uuid        NOT NULL,
    trouble     text        NOT NULL,
    since       timestamptz,          -- null: it is over
    seen_at     timestamptz NOT NULL, -- of the last thing that was taken into account,
    seen_id     bigint      NOT NULL, -- and of several at that instant

    CONSTRAINT troubles_pkey PRIMARY KEY (trouble, schedule_id),
    CONSTRAINT troubles_trouble_check CHECK (trouble IN ('failed', 'missed', 'invalid'))
);
CREATE INDEX troubles_over_idx ON riverbeat.troubles (seen_at) WHERE since IS NULL;

-- Up to where whoever looks for trouble has looked. Whoever locks the row is the one
-- that looks.
CREATE TABLE riverbeat.lookout (
    singleton       boolean     NOT NULL DEFAULT true,
    jobs_at         timestamptz NOT NULL DEFAULT '1970-01-01 00:00Z', -- when River finished them
    jobs_id         bigint      NOT NULL DEFAULT 0,
    runs_at         timestamptz NOT NULL DEFAULT '1970-01-01 00:00Z', -- when they were recorded as missed
    runs_schedule   uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- These two are gone through over and over, some at a time.
    invalid_after   uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    trouble_after   text        NOT NULL DEFAULT '',
    troubled_after  uuid        NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',

    CONSTRAINT lookout_pkey PRIMARY KEY (singleton),
    CONSTRAINT lookout_singleton_check CHECK (singleton)
);
INSERT INTO riverbeat.lookout DEFAULT VALUES;

-- Both hold few rows, and cost a write that isn't about them the look at its predicate.
-- The first is by an expression for the planner not to take runs_created_at_idx, which
-- holds all of them, for as good.
CREATE INDEX runs_missed_idx ON riverbeat.runs ((created_at AT TIME ZONE 'UTC'), schedule_id) WHERE outcome = 'missed';
CREATE INDEX cursors_invalid_idx ON riverbeat.cursors (schedule_id) WHERE state = 'invalid';

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.alerts, riverbeat.troubles TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP INDEX riverbeat.cursors_invalid_idx;
DROP INDEX riverbeat.runs_missed_idx;
DROP TABLE riverbeat.lookout;
DROP TABLE riverbeat.troubles;
DROP TABLE riverbeat.alerts;
DROP TABLE riverbeat.secrets;
