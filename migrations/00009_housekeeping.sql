-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What is past its retention is found by these.
CREATE INDEX runs_created_at_idx ON riverbeat.runs (created_at);
CREATE INDEX cursors_completed_idx ON riverbeat.cursors (coalesce(last_run_at, changed_at)) WHERE state = 'completed';

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP INDEX riverbeat.cursors_completed_idx;
DROP INDEX riverbeat.runs_created_at_idx;
