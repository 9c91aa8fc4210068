-- +goose Up
SET LOCAL lock_timeout = '5s';

CREATE SCHEMA IF NOT EXISTS riverbeat;

-- What users write, through the API or with plain SQL.
CREATE TABLE riverbeat.schedules (
    id                  uuid        NOT NULL DEFAULT gen_random_uuid(),
    namespace           text        NOT NULL DEFAULT 'default',
    name                text        NOT NULL,
    description         text        NOT NULL DEFAULT '',
    labels              jsonb       NOT NULL DEFAULT '{}',

    cron                text,
    every               interval,
    at                  timestamptz,
    timezone            text        NOT NULL DEFAULT 'UTC',
    start_at            timestamptz,
    end_at              timestamptz,
    jitter              interval    NOT NULL DEFAULT '0',
    max_runs            bigint,

    job_kind            text        NOT NULL,
    job_args            jsonb       NOT NULL DEFAULT '{}',
    job_queue           text        NOT NULL DEFAULT 'default',
    job_priority        smallint    NOT NULL DEFAULT 1,
    job_max_attempts    smallint    NOT NULL DEFAULT 25,
    job_tags            text[]      NOT NULL DEFAULT '{}',

    misfire             text        NOT NULL DEFAULT 'once',
    misfire_grace       interval,
    misfire_limit       integer     NOT NULL DEFAULT 100,
    overlap             text        NOT NULL DEFAULT 'allow',
    overlap_stale_after interval,

    paused              boolean     NOT NULL DEFAULT false,
    pause_reason        text        NOT NULL DEFAULT '',

    -- Kept by a trigger; what a client writes here is ignored.
    version             bigint      NOT NULL DEFAULT 1,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at          timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT schedules_pkey PRIMARY KEY (id),
    CONSTRAINT schedules_name_key UNIQUE (namespace, name),
    CONSTRAINT schedules_namespace_check CHECK (namespace ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT schedules_name_check CHECK (char_length(name) BETWEEN 1 AND 120 AND name !~ '[[:cntrl:]]'),
    CONSTRAINT schedules_description_check CHECK (char_length(description) <= 4096),
    -- Strict, since otherwise an array passes for the strings in it; and silent,
    -- since what isn't an object is to be refused, not to raise an error.
    CONSTRAINT schedules_labels_check CHECK (
        jsonb_typeof(labels) = 'object'
        AND NOT jsonb_path_exists(labels, 'strict $.* ? (@.type() <> "string")', '{}', true)),
    CONSTRAINT schedules_spec_check CHECK (num_nonnulls(cron, every, at) = 1),
    CONSTRAINT schedules_cron_check CHECK (octet_length(cron) BETWEEN 1 AND 256),
    -- Elapsed time has no months: they differ in length.
    CONSTRAINT schedules_every_check CHECK (
        every BETWEEN interval '1 second' AND interval '3650 days'
        AND extract(year FROM every) = 0 AND extract(month FROM every) = 0),
    -- Instants that neither JSON nor Go can show would take a whole batch with them.
    -- The zone is named: without it the bounds would be those of whoever migrates.
    CONSTRAINT schedules_at_check CHECK (at >= '1970-01-01 00:00Z' AND at < '9999-01-01 00:00Z'),
    CONSTRAINT schedules_timezone_check CHECK (char_length(timezone) BETWEEN 1 AND 64),
    CONSTRAINT schedules_window_check CHECK (
        (start_at >= '1970-01-01 00:00Z' AND start_at < '9999-01-01 00:00Z') IS NOT FALSE
        AND (end_at >= '1970-01-01 00:00Z' AND end_at < '9999-01-01 00:00Z') IS NOT FALSE
        AND (start_at < end_at) IS NOT FALSE
        AND (at IS NULL OR num_nonnulls(start_at, end_at) = 0)),
    CONSTRAINT schedules_jitter_check CHECK (
        jitter BETWEEN interval '0' AND interval '24 hours'
        AND extract(year FROM jitter) = 0 AND extract(month FROM jitter) = 0),
    CONSTRAINT schedules_max_runs_check CHECK (max_runs >= 1),
    CONSTRAINT schedules_job_kind_check CHECK (
        char_length(job_kind) BETWEEN 1 AND 127 AND job_kind !~ '[[:cntrl:]]'),
    CONSTRAINT schedules_job_args_check CHECK (
        jsonb_typeof(job_args) = 'object' AND octet_length(job_args::text) <= 2097152),
    CONSTRAINT schedules_job_queue_check CHECK (
        char_length(job_queue) <= 64 AND job_queue ~ '^[a-z0-9]+([_|\-]?[a-z0-9]+)*$'),
    CONSTRAINT schedules_job_priority_check CHECK (job_priority BETWEEN 1 AND 4),
    CONSTRAINT schedules_job_max_attempts_check CHECK (job_max_attempts >= 1),
    CONSTRAINT schedules_job_tags_check CHECK (
        cardinality(job_tags) = 0 OR cardinality(job_tags) <= 50
        AND array_to_string(job_tags, ',', ',')
            ~ '^[A-Za-z0-9_][A-Za-z0-9_-]{1,253}[A-Za-z0-9_](,[A-Za-z0-9_][A-Za-z0-9_-]{1,253}[A-Za-z0-9_])*$'
        -- One tag with a comma in it isn't two tags.
        AND regexp_count(array_to_string(job_tags, ','), ',') = cardinality(job_tags) - 1),
    CONSTRAINT schedules_misfire_check CHECK (misfire IN ('once', 'all', 'skip')),
    CONSTRAINT schedules_misfire_grace_check CHECK (
        misfire_grace > interval '0' AND misfire_grace <= interval '3650 days'
        AND extract(year FROM misfire_grace) = 0 AND extract(month FROM misfire_grace) = 0),
    CONSTRAINT schedules_misfire_limit_check CHECK (misfire_limit BETWEEN 1 AND 10000),
    CONSTRAINT schedules_overlap_check CHECK (overlap IN ('allow', 'skip', 'queue_one')),
    CONSTRAINT schedules_overlap_stale_after_check CHECK (
        overlap_stale_after > interval '0' AND overlap_stale_after <= interval '3650 days'
        AND extract(year FROM overlap_stale_after) = 0 AND extract(month FROM overlap_stale_after) = 0),
    CONSTRAINT schedules_pause_reason_check CHECK (char_length(pause_reason) <= 1000)
);

-- What the scheduler writes: one narrow row a schedule, apart from the
-- definition, so that firing fires no trigger and never rewrites the wide row.
CREATE TABLE riverbeat.cursors (
    schedule_id     uuid        NOT NULL,
    next_run_at     timestamptz,
    fire_at         timestamptz,
    dirty           boolean     NOT NULL DEFAULT true,
    changed_at      timestamptz NOT NULL,
    planned_version bigint      NOT NULL DEFAULT 0,
    last_run_at     timestamptz,
    last_job_id     bigint,
    run_count       bigint      NOT NULL DEFAULT 0,
    held            timestamptz,
    state           text        NOT NULL DEFAULT 'active',
    state_reason    text        NOT NULL DEFAULT '',

    CONSTRAINT cursors_pkey PRIMARY KEY (schedule_id),
    CONSTRAINT cursors_state_check CHECK (state IN ('active', 'completed', 'invalid')),
    CONSTRAINT cursors_fire_at_check CHECK (fire_at IS NULL OR next_run_at IS NOT NULL)
);

CREATE INDEX cursors_fire_at_idx ON riverbeat.cursors (fire_at) WHERE fire_at IS NOT NULL;
CREATE INDEX cursors_dirty_idx ON riverbeat.cursors (changed_at) WHERE dirty;

-- The ledger: what became of each occurrence. No foreign key: a cascade from a
-- DELETE would deadlock with dispatch, and runs outlive their schedule.
CREATE TABLE riverbeat.runs (
    schedule_id   uuid        NOT NULL,
    scheduled_for timestamptz NOT NULL,
    namespace     text        NOT NULL,
    schedule_name text        NOT NULL,
    reason        text        NOT NULL,
    outcome       text        NOT NULL,
    why           text        NOT NULL DEFAULT '',
    job_id        bigint,
    -- A stretch of occurrences missed together is one row that ends at until.
    until         timestamptz,
    count         bigint,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT runs_pkey PRIMARY KEY (schedule_id, scheduled_for),
    CONSTRAINT runs_reason_check CHECK (reason IN ('schedule', 'catch_up', 'manual', 'backfill')),
    CONSTRAINT runs_outcome_check CHECK (outcome IN ('enqueued', 'skipped', 'missed')),
    CONSTRAINT runs_job_check CHECK ((outcome = 'enqueued') = (job_id IS NOT NULL)),
    CONSTRAINT runs_why_check CHECK ((outcome = 'enqueued') = (why = ''))
);

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TABLE riverbeat.runs;
DROP TABLE riverbeat.cursors;
DROP TABLE riverbeat.schedules;
-- The schema stays: goose's own version table may live in it.
