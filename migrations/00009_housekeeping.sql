-- +goose Up
SET LOCAL lock_timeout = '5s';

-- What is past its retention is found by these. The first costs 69 bytes of WAL a
-- run, of some 2,400. A BRIN would cost 2, but rows that are written where old ones
-- were removed spoil it: after four turns it read all 21,500 pages to find the oldest
-- 1,000 rows, this one 22.
CREATE INDEX runs_created_at_idx ON riverbeat.runs (created_at);
CREATE INDEX cursors_completed_idx ON riverbeat.cursors (coalesce(last_run_at, changed_at)) WHERE state = 'completed';

-- Each run leaves a dead entry at the front of cursors_fire_at_idx, where every claim
-- and every look begins. With 1,000,000 schedules PostgreSQL's own settings wait for
-- 200,000 of them: over 3,000,000 runs a look touched 435 buffers (median; 890 at
-- the most) and the index grew from 21 to 32 MiB. With these it was 103 (468) and 25
-- MiB, and no slower. With 100,000 and fewer it is autovacuum_naptime that counts:
-- 10 million runs, 25,000 in each, took the index from 2.2 to 6.5 MiB and no further.
-- Room in the pages (fillfactor) would be wasted: fire_at is in an index, so no
-- update is HOT.
ALTER TABLE riverbeat.cursors SET (
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0
);

-- +goose Down
SET LOCAL lock_timeout = '5s';
ALTER TABLE riverbeat.cursors RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay);
DROP INDEX riverbeat.cursors_completed_idx;
DROP INDEX riverbeat.runs_created_at_idx;
