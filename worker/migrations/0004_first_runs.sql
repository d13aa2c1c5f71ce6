-- The first run of the workflow that owns the order. It stays the same when the workflow is reset, and
-- differs when the workflow id runs again. Empty if it is unknown.
ALTER TABLE orders ADD COLUMN first_run_id TEXT NOT NULL DEFAULT '';
