-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Who follows what happens finds changed definitions by the transaction that
-- changed them.
CREATE INDEX schedules_changed_in_idx ON riverbeat.schedules (changed_in) WHERE changed_in IS NOT NULL;

-- And here those that are gone, for an hour.
CREATE TABLE riverbeat.deleted (
    schedule_id uuid,       -- NULL: all there were
    namespace   text        NOT NULL DEFAULT '',
    name        text        NOT NULL DEFAULT '',
    version     bigint      NOT NULL DEFAULT 0,
    deleted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_in  xid8        NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX deleted_in_idx ON riverbeat.deleted (deleted_in);
CREATE INDEX deleted_at_idx ON riverbeat.deleted (deleted_at);

-- The ids of events hold transactions' numbers, by which one could time what others
-- do. They are sealed with this, which all processes share.
CREATE TABLE riverbeat.event_key (
    only_row boolean NOT NULL DEFAULT true,
    key      bytea   NOT NULL DEFAULT sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),

    CONSTRAINT event_key_pkey PRIMARY KEY (only_row),
    CONSTRAINT event_key_only_row_check CHECK (only_row)
);
INSERT INTO riverbeat.event_key DEFAULT VALUES;

-- +goose StatementBegin
CREATE FUNCTION riverbeat.note_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO riverbeat.deleted DEFAULT VALUES;
    ELSE
        INSERT INTO riverbeat.deleted (schedule_id, namespace, name, version)
        SELECT id, namespace, name, version + 1 FROM old_rows;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION riverbeat.note_deleted() FROM PUBLIC;

CREATE TRIGGER schedules_announce_gone AFTER DELETE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.note_deleted();
CREATE TRIGGER schedules_announce_all_gone AFTER TRUNCATE ON riverbeat.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.note_deleted();

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TRIGGER schedules_announce_all_gone ON riverbeat.schedules;
DROP TRIGGER schedules_announce_gone ON riverbeat.schedules;
DROP FUNCTION riverbeat.note_deleted();
DROP TABLE riverbeat.event_key;
DROP TABLE riverbeat.deleted;
DROP INDEX riverbeat.schedules_changed_in_idx;
