-- +goose Up
SET LOCAL lock_timeout = '5s';

-- An occurrence that overlap = 'queue_one' holds back: since when, which paces the
-- re-checks, and why it is to run. Behind it next_run_at goes on, or has ended.
ALTER TABLE riverbeat.cursors
    ADD COLUMN held_since  timestamptz,
    ADD COLUMN held_reason text,
    ADD COLUMN share       integer,
    DROP CONSTRAINT cursors_fire_at_check,
    ADD CONSTRAINT cursors_fire_at_check CHECK (fire_at IS NULL OR next_run_at IS NOT NULL OR held IS NOT NULL),
    ADD CONSTRAINT cursors_held_check CHECK (
        num_nonnulls(held, held_since, held_reason) IN (0, 3) AND (held_reason IN ('schedule', 'catch_up')) IS NOT FALSE),
    ADD CONSTRAINT cursors_share_check CHECK (share IS NULL OR share > 0 AND fire_at IS NOT NULL);

-- A cursor that owes missed runs waits for its slot: fire_at is the slot, and share
-- how many of them it makes up for there.
CREATE INDEX cursors_slot_idx ON riverbeat.cursors (fire_at) WHERE share IS NOT NULL;

-- The last slot that was dealt and how many runs of it are taken. One row for ever,
-- which whoever deals holds until the commit: the rate is that of all schedulers.
CREATE TABLE riverbeat.catch_up (
    only_row boolean     NOT NULL DEFAULT true,
    slot     timestamptz,
    taken    integer     NOT NULL DEFAULT 0,

    CONSTRAINT catch_up_pkey PRIMARY KEY (only_row),
    CONSTRAINT catch_up_only_row_check CHECK (only_row)
);
INSERT INTO riverbeat.catch_up DEFAULT VALUES;

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.catch_up TO %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd

-- The last run's job, which overlap asks for, is the cursor's or a newer one of
-- these: the runs of the spec would have to be walked through, past all that were
-- skipped, to find the last one that ran.
CREATE INDEX runs_beside_idx ON riverbeat.runs (schedule_id, job_id) WHERE reason IN ('manual', 'backfill');

-- As before, and what is held is accounted for with what is due.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.keep_cursors() RETURNS trigger
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
            SELECT t.*, c.next_run_at, c.state, c.held AS waits, c.held_reason,
                   -- What passed during a pause isn't owed, a single instant too.
                   (t.toggled AND NOT t.retimed AND t.at <= clock_timestamp()) IS TRUE AS passed
            FROM touched t JOIN riverbeat.cursors c ON c.schedule_id = t.id
            -- Any edit may mend what was set aside, also one of the job.
            WHERE t.retimed OR t.toggled OR t.repoliced OR c.state = 'invalid'
            ORDER BY t.id
            FOR UPDATE OF c
        ), missed AS (
            INSERT INTO riverbeat.runs
                (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count, created_at)
            SELECT id, o.scheduled_for, namespace, name, o.reason, 'missed',
                   CASE WHEN retimed THEN 'superseded' ELSE 'paused' END, o.until, o.count, clock_timestamp()
            FROM held CROSS JOIN LATERAL (
                VALUES (next_run_at, 'schedule', clock_timestamp(), NULL::bigint), (waits, held_reason, NULL, 1)
            ) AS o (scheduled_for, reason, until, count)
            WHERE (retimed OR toggled) AND o.scheduled_for <= clock_timestamp()
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
            fire_at = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.fire_at END,
            share = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.share END,
            held = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.held END,
            held_since = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.held_since END,
            held_reason = CASE WHEN h.retimed OR h.toggled THEN NULL ELSE c.held_reason END
        FROM held h
        -- Pausing and resuming don't bring a completed schedule back to life.
        WHERE c.schedule_id = h.id AND (h.retimed OR h.state <> 'completed');

    WHEN 'DELETE' THEN
        WITH gone AS (
            DELETE FROM riverbeat.cursors c USING old_rows o
            WHERE c.schedule_id = o.id
            RETURNING c.schedule_id, c.next_run_at, c.held, c.held_reason, o.namespace, o.name
        )
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count, created_at)
        SELECT schedule_id, o.scheduled_for, namespace, name, o.reason, 'missed', 'deleted', o.until, o.count, clock_timestamp()
        FROM gone CROSS JOIN LATERAL (
            VALUES (next_run_at, 'schedule', clock_timestamp(), NULL::bigint), (held, held_reason, NULL, 1)
        ) AS o (scheduled_for, reason, until, count)
        WHERE o.scheduled_for <= clock_timestamp()
        ON CONFLICT DO NOTHING;

    WHEN 'TRUNCATE' THEN
        -- A cursor that a dispatch holds is passed over: the dispatch waits for this
        -- transaction to read the definition, finds none, and drops the cursor.
        WITH free AS (
            SELECT schedule_id FROM riverbeat.cursors FOR UPDATE SKIP LOCKED
        ), gone AS (
            DELETE FROM riverbeat.cursors c USING riverbeat.schedules s, free f
            WHERE c.schedule_id = f.schedule_id AND s.id = f.schedule_id
            RETURNING c.schedule_id, c.next_run_at, c.held, c.held_reason, s.namespace, s.name
        )
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count, created_at)
        SELECT schedule_id, o.scheduled_for, namespace, name, o.reason, 'missed', 'deleted', o.until, o.count, clock_timestamp()
        FROM gone CROSS JOIN LATERAL (
            VALUES (next_run_at, 'schedule', clock_timestamp(), NULL::bigint), (held, held_reason, NULL, 1)
        ) AS o (scheduled_for, reason, until, count)
        WHERE o.scheduled_for <= clock_timestamp()
        ON CONFLICT DO NOTHING;
    END CASE;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.keep_excluded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edited     boolean := TG_TABLE_NAME = 'schedules';
    namespaces text[];
    names      text[];
    ids        uuid[];
BEGIN
    IF edited THEN
        SELECT array_agg(n.id) INTO ids
        FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE (n.exclude, n.on_excluded) IS DISTINCT FROM (o.exclude, o.on_excluded);
    ELSE
        IF TG_OP = 'INSERT' THEN
            SELECT array_agg(n.namespace), array_agg(n.name) INTO namespaces, names FROM new_rows n;
        ELSE
            SELECT array_agg(n.namespace), array_agg(n.name) INTO namespaces, names
            FROM new_rows n JOIN old_rows o ON (o.namespace, o.name) = (n.namespace, n.name)
            WHERE n.version <> o.version;
        END IF;
        SELECT array_agg(s.id) INTO ids
        FROM riverbeat.schedules s
        WHERE s.exclude <> '{}' AND s.exclude && names AND EXISTS (
            SELECT FROM unnest(namespaces, names) AS c (namespace, name)
            WHERE c.namespace = s.namespace AND s.exclude @> ARRAY[c.name]);
    END IF;
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    WITH held AS (
        SELECT c.schedule_id, c.next_run_at, c.held AS waits, c.held_reason, s.namespace, s.name
        FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
        WHERE c.schedule_id = ANY (ids)
            -- A single instant that is over stays over, whatever a calendar says now.
            AND (edited OR s.at IS NULL OR c.last_run_at IS NULL AND (c.state <> 'completed' OR s.at > clock_timestamp()))
        ORDER BY c.schedule_id
        FOR UPDATE OF c
    ), missed AS (
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, count, created_at)
        SELECT schedule_id, o.scheduled_for, namespace, name, o.reason, 'missed', 'superseded', o.until, o.count, clock_timestamp()
        FROM held CROSS JOIN LATERAL (
            VALUES (next_run_at, 'schedule', clock_timestamp(), NULL::bigint), (waits, held_reason, NULL, 1)
        ) AS o (scheduled_for, reason, until, count)
        WHERE o.scheduled_for <= clock_timestamp()
        ON CONFLICT DO NOTHING
    )
    UPDATE riverbeat.cursors c
    SET dirty = true, changed_at = clock_timestamp(), next_run_at = NULL, fire_at = NULL, share = NULL,
        held = NULL, held_since = NULL, held_reason = NULL
    FROM held h
    WHERE c.schedule_id = h.schedule_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.keep_cursors() RETURNS trigger
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

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION riverbeat.keep_excluded() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edited     boolean := TG_TABLE_NAME = 'schedules';
    namespaces text[];
    names      text[];
    ids        uuid[];
BEGIN
    IF edited THEN
        SELECT array_agg(n.id) INTO ids
        FROM new_rows n JOIN old_rows o ON o.id = n.id
        WHERE (n.exclude, n.on_excluded) IS DISTINCT FROM (o.exclude, o.on_excluded);
    ELSE
        IF TG_OP = 'INSERT' THEN
            SELECT array_agg(n.namespace), array_agg(n.name) INTO namespaces, names FROM new_rows n;
        ELSE
            SELECT array_agg(n.namespace), array_agg(n.name) INTO namespaces, names
            FROM new_rows n JOIN old_rows o ON (o.namespace, o.name) = (n.namespace, n.name)
            WHERE n.version <> o.version;
        END IF;
        SELECT array_agg(s.id) INTO ids
        FROM riverbeat.schedules s
        WHERE s.exclude <> '{}' AND s.exclude && names AND EXISTS (
            SELECT FROM unnest(namespaces, names) AS c (namespace, name)
            WHERE c.namespace = s.namespace AND s.exclude @> ARRAY[c.name]);
    END IF;
    IF ids IS NULL THEN
        RETURN NULL;
    END IF;
    WITH held AS (
        SELECT c.schedule_id, c.next_run_at, s.namespace, s.name
        FROM riverbeat.cursors c JOIN riverbeat.schedules s ON s.id = c.schedule_id
        WHERE c.schedule_id = ANY (ids)
            -- A single instant that is over stays over, whatever a calendar says now.
            AND (edited OR s.at IS NULL OR c.last_run_at IS NULL AND (c.state <> 'completed' OR s.at > clock_timestamp()))
        ORDER BY c.schedule_id
        FOR UPDATE OF c
    ), missed AS (
        INSERT INTO riverbeat.runs
            (schedule_id, scheduled_for, namespace, schedule_name, reason, outcome, why, until, created_at)
        SELECT schedule_id, next_run_at, namespace, name, 'schedule', 'missed', 'superseded', clock_timestamp(), clock_timestamp()
        FROM held
        WHERE next_run_at <= clock_timestamp()
        ON CONFLICT DO NOTHING
    )
    UPDATE riverbeat.cursors c
    SET dirty = true, changed_at = clock_timestamp(), next_run_at = NULL, fire_at = NULL
    FROM held h
    WHERE c.schedule_id = h.schedule_id;
    RETURN NULL;
END $$;
-- +goose StatementEnd

DROP TABLE riverbeat.catch_up;
DROP INDEX riverbeat.runs_beside_idx;
UPDATE riverbeat.cursors SET held = NULL, held_since = NULL, held_reason = NULL, next_run_at = coalesce(next_run_at, held)
WHERE held IS NOT NULL;
ALTER TABLE riverbeat.cursors
    DROP CONSTRAINT cursors_held_check,
    DROP CONSTRAINT cursors_fire_at_check,
    ADD CONSTRAINT cursors_fire_at_check CHECK (fire_at IS NULL OR next_run_at IS NOT NULL),
    DROP COLUMN share,
    DROP COLUMN held_reason,
    DROP COLUMN held_since;
