-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Which release of the world's time zone rules the next runs are planned by. One
-- row for ever. Who reads it to place cursors holds the advisory lock of db/zones.go.
CREATE TABLE riverbeat.zone_data (
    only_row   boolean     NOT NULL DEFAULT true,
    newest     text        NOT NULL DEFAULT '', -- that a scheduler has used; '': none yet
    replanned  text        NOT NULL DEFAULT '', -- by which all that was planned before is planned anew
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT zone_data_pkey PRIMARY KEY (only_row),
    CONSTRAINT zone_data_only_row_check CHECK (only_row),
    CONSTRAINT zone_data_newest_check CHECK (newest ~ '^([0-9]{4}[a-z]{1,2})?$'),
    CONSTRAINT zone_data_replanned_check CHECK (replanned ~ '^([0-9]{4}[a-z]{1,2})?$')
);
INSERT INTO riverbeat.zone_data DEFAULT VALUES;

-- What a scheduler with older rules plans stays dirty, with its next run. This
-- index has only what such a scheduler may plan, however many those are.
CREATE INDEX cursors_unplanned_idx ON riverbeat.cursors (changed_at) WHERE dirty AND next_run_at IS NULL;

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.zone_data TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP INDEX riverbeat.cursors_unplanned_idx;
DROP TABLE riverbeat.zone_data;
