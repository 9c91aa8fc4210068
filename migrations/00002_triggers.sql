-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Version and updated_at move when the definition differs, and only then.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.set_version() RETURNS trigger
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

-- The truth: each schedule has its cursor, and a cursor whose timing, policy or
-- pause has changed is marked. What was due and not yet claimed by then is
-- recorded as missed, so that every owed occurrence is accounted for.
-- A wait on a cursor here is a wait for the dispatch that holds it.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.keep_cursors() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    CASE TG_OP
    WHEN 'INSERT' THEN
        INSERT INTO riverbeat.cursors (schedule_id, changed_at)
        SELECT id, clock_timestamp() FROM new_rows;

    WHEN 'UPDATE' THEN
        WITH touched AS (
            SELECT n.id, n.namespace, n.name, n.paused, n.at,
                   n.paused <> o.paused AS toggled,
                   ROW(n.cron, n.every, n.at, n.timezone, n.start_at, n.end_at, n.jitter, n.max_runs)
                       IS DISTINCT FROM
                   ROW(o.cron, o.every, o.at, o.timezone, o.start_at, o.end_at, o.jitter, o.max_runs) AS retimed,
                   ROW(n.misfire, n.misfire_grace, n.misfire_limit, n.overlap, n.overlap_stale_after)
                       IS DISTINCT FROM
                   ROW(o.misfire, o.misfire_grace, o.misfire_limit, o.overlap, o.overlap_stale_after) AS repoliced
            FROM new_rows n JOIN old_rows o ON o.id = n.id
            WHERE n.version <> o.version
        ), held AS (
            SELECT t.*, c.next_run_at, c.state,
                   -- What passed during a pause isn't owed, a single instant too.
                   (t.toggled AND NOT t.retimed AND t.at <= clock_timestamp()) IS TRUE AS passed
            FROM touched t JOIN riverbeat.cursors c ON c.schedule_id = t.id
            -- Any edit may mend what was set aside, also one of the job.
            WHERE t.retimed OR t.toggled OR t.repoliced OR c.state = 'invalid'
            ORDER BY t.id
            FOR UPDATE OF c
        ), missed AS (
            INSERT INTO riverbeat.runs
                (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, created_at)
            SELECT id, next_run_at, namespace, name, 'schedule', 'missed',
                   CASE WHEN retimed THEN 'superseded' ELSE 'paused' END, clock_timestamp(), clock_timestamp()
            FROM held
            WHERE (retimed OR toggled) AND next_run_at <= clock_timestamp()
            ON CONFLICT DO NOTHING
        )
        UPDATE riverbeat.cursors c
        SET dirty = NOT h.passed
                AND (c.dirty OR h.retimed OR h.repoliced OR NOT h.paused OR h.state = 'invalid'),
            -- Planning starts here: an edit of the policy alone must not move it.
            changed_at = CASE WHEN h.retimed OR h.toggled OR h.state = 'invalid'
                              THEN clock_timestamp() ELSE c.changed_at END,
            state = CASE WHEN h.passed THEN 'completed' ELSE c.state END,
            state_reason = CASE WHEN h.passed THEN 'its time passed while it was paused' ELSE c.state_reason END,
            next_run_at = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.next_run_at END,
            fire_at = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.fire_at END
        FROM held h
        -- Pausing and resuming don't bring a completed schedule back to life.
        WHERE c.schedule_id = h.id AND (h.retimed OR h.state <> 'completed');

    WHEN 'DELETE' THEN
        WITH gone AS (
            DELETE FROM riverbeat.cursors c USING old_rows o
            WHERE c.schedule_id = o.id
            RETURNING c.schedule_id, c.next_run_at, o.namespace, o.name
        )
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, created_at)
        SELECT schedule_id, next_run_at, namespace, name, 'schedule', 'missed', 'deleted',
               clock_timestamp(), clock_timestamp()
        FROM gone
        WHERE next_run_at <= clock_timestamp()
        ON CONFLICT DO NOTHING;

    WHEN 'TRUNCATE' THEN
        -- A cursor that a dispatch holds is passed over: the dispatch waits for this
        -- transaction to read the definition, finds none, and drops the cursor.
        WITH free AS (
            SELECT schedule_id FROM riverbeat.cursors FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM riverbeat.cursors c USING riverbeat.schedules s, free f
            WHERE c.schedule_id = f.schedule_id AND s.id = f.schedule_id
            RETURNING c.schedule_id, c.next_run_at, s.namespace, s.name
        )
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, created_at)
        SELECT schedule_id, next_run_at, namespace, name, 'schedule', 'missed', 'deleted',
               clock_timestamp(), clock_timestamp()
        FROM gone
        WHERE next_run_at <= clock_timestamp()
        ON CONFLICT DO NOTHING;
    END CASE;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- The hint: one small NOTIFY a statement. It must never hurt the writer: a
-- payload of 8,000 bytes would abort the transaction, and a full queue every
-- commit, so it stays below 100 bytes and falls silent while the queue is half
-- full; Redis and the poll carry on.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.announce() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids      uuid[];
    versions bigint[];
    op       text := CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'updated' ELSE 'deleted' END;
BEGIN
    IF current_setting('riverbeat.announce', true) = 'off' OR pg_notification_queue_usage() > 0.5 THEN
        RETURN NULL;
    END IF;
    CASE TG_OP
    WHEN 'INSERT' THEN
        SELECT array_agg(id), array_agg(version) INTO ids, versions
        FROM (SELECT id, version FROM new_rows LIMIT 2) AS few;
    WHEN 'UPDATE' THEN
        SELECT array_agg(id), array_agg(version) INTO ids, versions
        FROM (SELECT n.id, n.version FROM new_rows n JOIN old_rows o ON o.id = n.id
              WHERE n.version <> o.version LIMIT 2) AS few;
    WHEN 'DELETE' THEN
        SELECT array_agg(id), array_agg(version + 1) INTO ids, versions
        FROM (SELECT id, version FROM old_rows LIMIT 2) AS few;
    WHEN 'TRUNCATE' THEN
        PERFORM pg_notify('riverbeat_schedules', '{}');
        RETURN NULL;
    END CASE;
    IF cardinality(ids) = 1 THEN
        PERFORM pg_notify('riverbeat_schedules',
            format('{"op":"%s","id":"%s","version":%s}', op, ids[1], versions[1]));
    ELSIF cardinality(ids) > 1 THEN
        PERFORM pg_notify('riverbeat_schedules', '{}');
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- They write with their owner's rights: nobody else hangs them on another table.
REVOKE ALL ON FUNCTION riverbeat.set_version(), riverbeat.keep_cursors(), riverbeat.announce() FROM PUBLIC;

CREATE TRIGGER schedules_set_version BEFORE INSERT OR UPDATE ON riverbeat.schedules
    FOR EACH ROW EXECUTE FUNCTION riverbeat.set_version();

CREATE TRIGGER schedules_keep_insert AFTER INSERT ON riverbeat.schedules
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_cursors();
CREATE TRIGGER schedules_keep_update AFTER UPDATE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_cursors();
CREATE TRIGGER schedules_keep_delete AFTER DELETE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_cursors();
-- Before: afterwards nobody knows what was there.
CREATE TRIGGER schedules_keep_truncate BEFORE TRUNCATE ON riverbeat.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_cursors();

-- These may be disabled without harm: changes are then found by the poll.
CREATE TRIGGER schedules_announce_insert AFTER INSERT ON riverbeat.schedules
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce();
CREATE TRIGGER schedules_announce_update AFTER UPDATE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce();
CREATE TRIGGER schedules_announce_delete AFTER DELETE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce();
CREATE TRIGGER schedules_announce_truncate AFTER TRUNCATE ON riverbeat.schedules
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce();

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TRIGGER schedules_announce_truncate ON riverbeat.schedules;
DROP TRIGGER schedules_announce_delete ON riverbeat.schedules;
DROP TRIGGER schedules_announce_update ON riverbeat.schedules;
DROP TRIGGER schedules_announce_insert ON riverbeat.schedules;
DROP TRIGGER schedules_keep_truncate ON riverbeat.schedules;
DROP TRIGGER schedules_keep_delete ON riverbeat.schedules;
DROP TRIGGER schedules_keep_update ON riverbeat.schedules;
DROP TRIGGER schedules_keep_insert ON riverbeat.schedules;
DROP TRIGGER schedules_set_version ON riverbeat.schedules;
DROP FUNCTION riverbeat.announce();
DROP FUNCTION riverbeat.keep_cursors();
DROP FUNCTION riverbeat.set_version();
