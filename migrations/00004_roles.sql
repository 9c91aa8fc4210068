-- +goose Up
SET LOCAL lock_timeout = '5s';

-- For people who write schedules with SQL: GRANT riverbeat_editor TO somebody.
-- The triggers are SECURITY DEFINER, so rights on this one table are enough.
-- Roles belong to the whole server: another database may have made them at the
-- same moment, and a migrating user who may not make roles goes on without.
-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['riverbeat_editor', 'riverbeat_reader'] LOOP
        BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % was not created: % may not create roles', role, current_user;
                CONTINUE;
        END;
        EXECUTE format('GRANT USAGE ON SCHEMA riverbeat TO %I', role);
        EXECUTE format('GRANT SELECT ON riverbeat.schedules, riverbeat.cursors, riverbeat.runs, riverbeat.listed_info TO %I', role);
    END LOOP;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'riverbeat_editor') THEN
        GRANT INSERT, UPDATE, DELETE ON riverbeat.schedules TO riverbeat_editor;
    END IF;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
-- The roles stay: other databases of the server may use them.
-- +goose StatementBegin
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN SELECT rolname FROM pg_roles WHERE rolname IN ('riverbeat_editor', 'riverbeat_reader') LOOP
        EXECUTE format('REVOKE ALL ON riverbeat.schedules, riverbeat.cursors, riverbeat.runs, riverbeat.listed_info FROM %I', role);
        EXECUTE format('REVOKE ALL ON SCHEMA riverbeat FROM %I', role);
    END LOOP;
END $$;
-- +goose StatementEnd
