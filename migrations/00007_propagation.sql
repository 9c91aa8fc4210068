-- +goose Up
SET LOCAL lock_timeout = '5s';

-- The transactions in which a definition changed last and its cursor was planned
-- last. A scheduler has a change in force once both are visible in the snapshot of
-- its last look. NULL: longer ago than this migration.
ALTER TABLE riverbeat.schedules ADD COLUMN changed_in xid8;
ALTER TABLE riverbeat.cursors ADD COLUMN planned_in xid8;

-- As before, and says in which transaction.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.set_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.version := 1;
        NEW.created_at := clock_timestamp();
        NEW.updated_at := NEW.created_at;
        NEW.changed_in := pg_current_xact_id();
        RETURN NEW;
    END IF;
    IF NEW.id IS DISTINCT FROM OLD.id THEN
        RAISE EXCEPTION 'the id of a schedule never changes: insert a new one instead'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_id_check';
    END IF;
    NEW.version := OLD.version;
    NEW.created_at := OLD.created_at;
    NEW.updated_at := OLD.updated_at;
    NEW.changed_in := OLD.changed_in;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.version := OLD.version + 1;
        NEW.updated_at := clock_timestamp();
        NEW.changed_in := pg_current_xact_id();
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- The schedulers that are alive, what they say of themselves and of their last
-- look, and who waits for them to say it. All of it is said anew within seconds,
-- so nothing is lost with a crash that empties these tables.
CREATE UNLOGGED TABLE riverbeat.schedulers (
    id         uuid             NOT NULL,
    host       text             NOT NULL,
    pid        integer          NOT NULL,
    started_at timestamptz      NOT NULL,
    seen_at    timestamptz      NOT NULL DEFAULT clock_timestamp(),
    version    text             NOT NULL,
    tzdata     text             NOT NULL,
    paths      jsonb            NOT NULL DEFAULT '[]',
    looked_at  timestamptz,      -- at or before the snapshot
    snapshot   pg_snapshot,
    lag        double precision NOT NULL DEFAULT 0, -- seconds

    CONSTRAINT schedulers_pkey PRIMARY KEY (id)
);

CREATE UNLOGGED TABLE riverbeat.waits (
    id          uuid        NOT NULL,
    schedule_id uuid,       -- NULL: the snapshots are enough
    changed_at  timestamptz,
    asked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    until       timestamptz NOT NULL,

    CONSTRAINT waits_pkey PRIMARY KEY (id)
);

CREATE UNLOGGED TABLE riverbeat.learnt (
    schedule_id  uuid   NOT NULL,
    scheduler_id uuid   NOT NULL,
    version      bigint NOT NULL,
    path         text   NOT NULL,
    since        timestamptz NOT NULL,

    CONSTRAINT learnt_pkey PRIMARY KEY (schedule_id, scheduler_id)
);

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.schedulers TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TABLE riverbeat.learnt;
DROP TABLE riverbeat.waits;
DROP TABLE riverbeat.schedulers;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.set_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.version := 1;
        NEW.created_at := clock_timestamp();
        NEW.updated_at := NEW.created_at;
        RETURN NEW;
    END IF;
    IF NEW.id IS DISTINCT FROM OLD.id THEN
        RAISE EXCEPTION 'the id of a schedule never changes: insert a new one instead'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_id_check';
    END IF;
    NEW.version := OLD.version;
    NEW.created_at := OLD.created_at;
    NEW.updated_at := OLD.updated_at;
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.version := OLD.version + 1;
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
ALTER TABLE riverbeat.cursors DROP COLUMN planned_in;
ALTER TABLE riverbeat.schedules DROP COLUMN changed_in;
