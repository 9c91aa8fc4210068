-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Each change of a schedule: what it left, and what stood there before.
CREATE TABLE riverbeat.revisions (
    id          bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    schedule_id uuid        NOT NULL,
    version     bigint      NOT NULL,
    namespace   text        NOT NULL,
    op          text        NOT NULL,
    how         text        NOT NULL,
    actor       text        NOT NULL,
    changed_at  timestamptz NOT NULL,
    -- The row as the change left it; of a deletion, the row that is gone.
    definition  jsonb       NOT NULL,
    -- What the columns held before that an update has changed: definition || was is
    -- the row before it.
    was         jsonb       NOT NULL,

    CONSTRAINT revisions_pkey PRIMARY KEY (id),
    CONSTRAINT revisions_op_check CHECK (op IN ('created', 'updated', 'deleted')),
    CONSTRAINT revisions_how_check CHECK (how IN ('api', 'sql', 'apply', 'import'))
);
CREATE INDEX revisions_schedule_idx ON riverbeat.revisions (schedule_id, id);
CREATE INDEX revisions_changed_at_idx ON riverbeat.revisions (changed_at);

-- Who changed it, and how, says the transaction by its settings; plain SQL has no need
-- to, and a way that there isn't must not hurt the writer.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.revise() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    how   text := coalesce(nullif(current_setting('riverbeat.how', true), ''), 'sql');
    actor text := coalesce(nullif(current_setting('riverbeat.actor', true), ''), session_user);
BEGIN
    IF how NOT IN ('api', 'sql', 'apply', 'import') THEN
        how := 'sql';
    END IF;
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
        SELECT id, version, namespace, 'created', how, actor, clock_timestamp(), to_jsonb(n), '{}'
        FROM new_rows n;

    WHEN 'UPDATE' THEN
        WITH changed AS MATERIALIZED (
            SELECT n.id, n.version, n.namespace, to_jsonb(n) AS definition, to_jsonb(o) AS before
            FROM new_rows n JOIN old_rows o ON o.id = n.id
            WHERE n.version <> o.version
        )
        INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
        SELECT id, version, namespace, 'updated', how, actor, clock_timestamp(), definition,
               (SELECT jsonb_object_agg(key, value) FROM jsonb_each(before) WHERE value IS DISTINCT FROM definition -> key)
        FROM changed;

    WHEN 'DELETE' THEN
        INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
        SELECT id, version + 1, namespace, 'deleted', how, actor, clock_timestamp(), to_jsonb(o), '{}'
        FROM old_rows o;

    WHEN 'TRUNCATE' THEN
        INSERT INTO riverbeat.revisions (schedule_id, version, namespace, op, how, actor, changed_at, definition, was)
        SELECT id, version + 1, namespace, 'deleted', how, actor, clock_timestamp(), to_jsonb(s), '{}'
        FROM riverbeat.schedules s;
    END CASE;
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION riverbeat.revise() FROM PUBLIC;

CREATE TRIGGER schedules_revise_insert AFTER INSERT ON riverbeat.schedules
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.revise();
CREATE TRIGGER schedules_revise_update AFTER UPDATE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.revise();
CREATE TRIGGER schedules_revise_delete AFTER DELETE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.revise();
-- Before: afterwards nobody knows what was there.
CREATE TRIGGER schedules_revise_truncate BEFORE TRUNCATE ON riverbeat.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.revise();

-- What the planner knows of tables that were filled a moment ago is that they are tiny:
-- it would read all of them for each row of a statement that writes 10,000. Where they
-- must be read whole all the same, that has a price that would have the plan compiled.
ALTER FUNCTION riverbeat.keep_cursors() SET enable_seqscan = off;
ALTER FUNCTION riverbeat.keep_cursors() SET jit = off;
ALTER FUNCTION riverbeat.keep_excluded() SET enable_seqscan = off;
ALTER FUNCTION riverbeat.keep_excluded() SET jit = off;
ALTER FUNCTION riverbeat.keep_labels() SET enable_seqscan = off;
ALTER FUNCTION riverbeat.keep_labels() SET jit = off;

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.revisions TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
ALTER FUNCTION riverbeat.keep_labels() RESET enable_seqscan;
ALTER FUNCTION riverbeat.keep_labels() RESET jit;
ALTER FUNCTION riverbeat.keep_excluded() RESET enable_seqscan;
ALTER FUNCTION riverbeat.keep_excluded() RESET jit;
ALTER FUNCTION riverbeat.keep_cursors() RESET enable_seqscan;
ALTER FUNCTION riverbeat.keep_cursors() RESET jit;
DROP TRIGGER schedules_revise_truncate ON riverbeat.schedules;
DROP TRIGGER schedules_revise_delete ON riverbeat.schedules;
DROP TRIGGER schedules_revise_update ON riverbeat.schedules;
DROP TRIGGER schedules_revise_insert ON riverbeat.schedules;
DROP FUNCTION riverbeat.revise();
DROP TABLE riverbeat.revisions;
