-- +goose Up
SET LOCAL lock_timeout = '5s';

-- The arguments of a run that was asked for with others than its schedule's. NULL,
-- as for every run of the spec, takes no room.
ALTER TABLE riverbeat.runs
    ADD COLUMN args jsonb,
    ADD CONSTRAINT runs_args_check CHECK (args IS NULL OR jsonb_typeof(args) = 'object') NOT VALID;

-- The ledger across schedules is read from its newest line on, of one namespace too:
-- that takes 10 bytes of WAL a run more than the index had before. One by namespace
-- first, beside it, would take 81.
CREATE INDEX runs_recorded_idx ON riverbeat.runs (created_at, namespace);
DROP INDEX riverbeat.runs_created_at_idx;
ALTER INDEX riverbeat.runs_recorded_idx RENAME TO runs_created_at_idx;

-- Names in the order of their bytes, which is the same everywhere: so one index serves
-- a name, a prefix and the order.
ALTER TABLE riverbeat.schedules ALTER COLUMN name TYPE text COLLATE "C";

-- Lists. Each order ends with the id, so that a page knows where it ended, and each
-- filter that may let little through is found by its own.
CREATE INDEX schedules_name_idx ON riverbeat.schedules (name, id);
CREATE INDEX schedules_kind_idx ON riverbeat.schedules (job_kind, id);
CREATE INDEX schedules_updated_at_idx ON riverbeat.schedules (updated_at, id);
CREATE INDEX schedules_paused_idx ON riverbeat.schedules (id) WHERE paused;
-- No run touches these two.
CREATE INDEX cursors_state_idx ON riverbeat.cursors (state, schedule_id) WHERE state <> 'active';
CREATE INDEX cursors_idle_idx ON riverbeat.cursors (schedule_id) WHERE fire_at IS NULL;
-- The order of the next runs, many of which share an instant. It costs 0 to 16 bytes of
-- WAL a run more than fire_at alone; an index on next_run_at beside it would take 78.
CREATE INDEX cursors_due_idx ON riverbeat.cursors (fire_at, schedule_id) WHERE fire_at IS NOT NULL;
DROP INDEX riverbeat.cursors_fire_at_idx;
ALTER INDEX riverbeat.cursors_due_idx RENAME TO cursors_fire_at_idx;

-- Each label of each schedule, in the order in which lists are read. An index over the
-- labels themselves (GIN) would have to gather all that have a label before it knows the
-- first.
CREATE TABLE riverbeat.schedule_labels (
    key         text COLLATE "C" NOT NULL,
    value       text COLLATE "C" NOT NULL,
    schedule_id uuid NOT NULL,

    CONSTRAINT schedule_labels_pkey PRIMARY KEY (key, value, schedule_id)
);
CREATE STATISTICS riverbeat.schedule_labels_pairs (mcv) ON key, value FROM riverbeat.schedule_labels;
INSERT INTO riverbeat.schedule_labels (key, value, schedule_id)
SELECT l.key, l.value, s.id
FROM riverbeat.schedules s CROSS JOIN jsonb_each_text(s.labels) l
WHERE s.labels <> '{}';

-- +goose StatementBegin
CREATE FUNCTION riverbeat.keep_labels() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    label record;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM riverbeat.schedule_labels;
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        FOR label IN SELECT key, value FROM jsonb_each_text(OLD.labels) LOOP
            DELETE FROM riverbeat.schedule_labels l
            WHERE l.key = label.key AND l.value = label.value AND l.schedule_id = OLD.id;
        END LOOP;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO riverbeat.schedule_labels (key, value, schedule_id)
        SELECT key, value, NEW.id FROM jsonb_each_text(NEW.labels)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION riverbeat.keep_labels() FROM PUBLIC;

-- For each row, since few have labels and fewer change them: the others cost nothing.
CREATE TRIGGER schedules_labels_insert AFTER INSERT ON riverbeat.schedules
    FOR EACH ROW WHEN (NEW.labels <> '{}') EXECUTE FUNCTION riverbeat.keep_labels();
CREATE TRIGGER schedules_labels_update AFTER UPDATE OF labels ON riverbeat.schedules
    FOR EACH ROW WHEN (NEW.labels <> OLD.labels) EXECUTE FUNCTION riverbeat.keep_labels();
CREATE TRIGGER schedules_labels_delete AFTER DELETE ON riverbeat.schedules
    FOR EACH ROW WHEN (OLD.labels <> '{}') EXECUTE FUNCTION riverbeat.keep_labels();
CREATE TRIGGER schedules_labels_truncate AFTER TRUNCATE ON riverbeat.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_labels();

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.schedule_labels TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TRIGGER schedules_labels_truncate ON riverbeat.schedules;
DROP TRIGGER schedules_labels_delete ON riverbeat.schedules;
DROP TRIGGER schedules_labels_update ON riverbeat.schedules;
DROP TRIGGER schedules_labels_insert ON riverbeat.schedules;
DROP FUNCTION riverbeat.keep_labels();
DROP TABLE riverbeat.schedule_labels;
CREATE INDEX cursors_due_idx ON riverbeat.cursors (fire_at) WHERE fire_at IS NOT NULL;
DROP INDEX riverbeat.cursors_fire_at_idx;
ALTER INDEX riverbeat.cursors_due_idx RENAME TO cursors_fire_at_idx;
DROP INDEX riverbeat.cursors_idle_idx;
DROP INDEX riverbeat.cursors_state_idx;
DROP INDEX riverbeat.schedules_paused_idx;
DROP INDEX riverbeat.schedules_updated_at_idx;
DROP INDEX riverbeat.schedules_kind_idx;
DROP INDEX riverbeat.schedules_name_idx;
ALTER TABLE riverbeat.schedules ALTER COLUMN name TYPE text COLLATE "default";
CREATE INDEX runs_recorded_idx ON riverbeat.runs (created_at);
DROP INDEX riverbeat.runs_created_at_idx;
ALTER INDEX riverbeat.runs_recorded_idx RENAME TO runs_created_at_idx;
ALTER TABLE riverbeat.runs
    DROP CONSTRAINT runs_args_check,
    DROP COLUMN args;
