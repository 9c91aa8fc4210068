-- +goose Up
SET LOCAL lock_timeout = '5s';

-- Which days a schedule leaves out, and what becomes of what would run on them.
ALTER TABLE riverbeat.schedules
    ADD COLUMN exclude     text[] NOT NULL DEFAULT '{}',
    ADD COLUMN on_excluded text   NOT NULL DEFAULT 'skip',
    ADD CONSTRAINT schedules_exclude_check CHECK (
        cardinality(exclude) = 0 OR cardinality(exclude) <= 16
        AND array_to_string(exclude, ',', ',') ~ '^[a-z0-9][a-z0-9-]{0,62}(,[a-z0-9][a-z0-9-]{0,62})*$'
        AND regexp_count(array_to_string(exclude, ','), ',') = cardinality(exclude) - 1),
    ADD CONSTRAINT schedules_on_excluded_check CHECK (on_excluded IN ('skip', 'next_day', 'previous_day'));

-- From a calendar to the schedules that name it.
CREATE INDEX schedules_exclude_idx ON riverbeat.schedules USING gin (exclude) WHERE exclude <> '{}';

-- Whether a calendar's days are a list of {"from", "to", "name"}, where to and
-- name may be left out. A date that doesn't exist is an error.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.days_are_valid(days jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    day   jsonb;
    dates date[];
BEGIN
    IF jsonb_typeof(days) <> 'array' OR jsonb_array_length(days) > 5000 THEN
        RETURN false;
    END IF;
    FOR day IN SELECT value FROM jsonb_array_elements(days) LOOP
        IF jsonb_typeof(day) <> 'object' OR day - '{from,to,name}'::text[] <> '{}'
            OR jsonb_typeof(day -> 'name') <> 'string' OR char_length(day ->> 'name') > 120 OR day ->> 'name' ~ '[[:cntrl:]]'
            OR (day ->> 'from' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') IS NOT TRUE
            OR day ? 'to' AND (day ->> 'to' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$') IS NOT TRUE THEN
            RETURN false;
        END IF;
        SELECT array_agg(make_date(substr(text, 1, 4)::int, substr(text, 6, 2)::int, substr(text, 9, 2)::int) ORDER BY n)
        INTO dates
        FROM unnest(ARRAY[day ->> 'from', coalesce(day ->> 'to', day ->> 'from')]) WITH ORDINALITY AS both_ends (text, n);
        IF dates[1] < '1970-01-01' OR dates[2] > '9998-12-31' OR dates[2] - dates[1] NOT BETWEEN 0 AND 365 THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;
-- +goose StatementEnd

-- Named sets of days. A schedule's exclude names those of its own namespace.
CREATE TABLE riverbeat.calendars (
    namespace  text        NOT NULL DEFAULT 'default',
    name       text        NOT NULL,
    timezone   text        NOT NULL DEFAULT 'UTC',
    weekends   boolean     NOT NULL DEFAULT false,
    days       jsonb       NOT NULL DEFAULT '[]',

    -- Kept by a trigger; what a client writes here is ignored.
    version    bigint      NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),

    CONSTRAINT calendars_pkey PRIMARY KEY (namespace, name),
    CONSTRAINT calendars_namespace_check CHECK (namespace ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT calendars_name_check CHECK (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT calendars_timezone_check CHECK (char_length(timezone) BETWEEN 1 AND 64),
    CONSTRAINT calendars_days_check CHECK (riverbeat.days_are_valid(days))
);

-- +goose StatementBegin
CREATE FUNCTION riverbeat.set_calendar_version() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.version := 1;
        NEW.created_at := clock_timestamp();
        NEW.updated_at := NEW.created_at;
        RETURN NEW;
    END IF;
    IF (NEW.namespace, NEW.name) IS DISTINCT FROM (OLD.namespace, OLD.name) THEN
        RAISE EXCEPTION 'a calendar keeps its namespace and name, since schedules name it by them: insert a new one instead'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'calendars_rename_check';
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

-- A schedule whose calendar is gone couldn't run.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.keep_used_calendars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        SELECT name INTO used FROM riverbeat.schedules WHERE exclude <> '{}' LIMIT 1;
    ELSE
        SELECT name INTO used FROM riverbeat.schedules
        WHERE exclude @> ARRAY[OLD.name] AND exclude <> '{}' AND namespace = OLD.namespace LIMIT 1;
    END IF;
    IF used IS NOT NULL THEN
        RAISE EXCEPTION 'the calendar is in use by the schedule %', used
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'calendars_in_use', DETAIL = used;
    END IF;
    RETURN OLD;
END $$;
-- +goose StatementEnd

-- Marks the cursors of schedules whose excluded days have changed, as
-- keep_cursors does when the spec itself changes.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.keep_excluded() RETURNS trigger
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

-- The hint that follows a change of calendars: any schedule may have changed.
-- +goose StatementBegin
CREATE FUNCTION riverbeat.announce_calendars() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('riverbeat.announce', true) = 'off' OR pg_notification_queue_usage() > 0.5 THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        PERFORM FROM new_rows n JOIN old_rows o ON (o.namespace, o.name) = (n.namespace, n.name)
        WHERE n.version <> o.version;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM pg_notify('riverbeat_schedules', '{}');
    RETURN NULL;
END $$;
-- +goose StatementEnd

REVOKE ALL ON FUNCTION riverbeat.set_calendar_version(), riverbeat.keep_used_calendars(), riverbeat.keep_excluded(),
    riverbeat.announce_calendars() FROM PUBLIC;

CREATE TRIGGER schedules_keep_excluded AFTER UPDATE ON riverbeat.schedules
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_excluded();
CREATE TRIGGER calendars_set_version BEFORE INSERT OR UPDATE ON riverbeat.calendars
    FOR EACH ROW EXECUTE FUNCTION riverbeat.set_calendar_version();
CREATE TRIGGER calendars_keep_used BEFORE DELETE ON riverbeat.calendars
    FOR EACH ROW EXECUTE FUNCTION riverbeat.keep_used_calendars();
CREATE TRIGGER calendars_keep_used_truncate BEFORE TRUNCATE ON riverbeat.calendars
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_used_calendars();
CREATE TRIGGER calendars_keep_insert AFTER INSERT ON riverbeat.calendars
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_excluded();
CREATE TRIGGER calendars_keep_update AFTER UPDATE ON riverbeat.calendars
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.keep_excluded();
CREATE TRIGGER calendars_announce_insert AFTER INSERT ON riverbeat.calendars
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce_calendars();
CREATE TRIGGER calendars_announce_update AFTER UPDATE ON riverbeat.calendars
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION riverbeat.announce_calendars();

-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('GRANT SELECT ON riverbeat.calendars TO %I', role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'riverbeat_editor') THEN
        GRANT INSERT, UPDATE, DELETE ON riverbeat.calendars TO riverbeat_editor;
    END IF;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TABLE riverbeat.calendars;
DROP TRIGGER schedules_keep_excluded ON riverbeat.schedules;
DROP FUNCTION riverbeat.announce_calendars();
DROP FUNCTION riverbeat.keep_excluded();
DROP FUNCTION riverbeat.keep_used_calendars();
DROP FUNCTION riverbeat.set_calendar_version();
DROP FUNCTION riverbeat.days_are_valid(jsonb);
ALTER TABLE riverbeat.schedules DROP COLUMN on_excluded, DROP COLUMN exclude;
