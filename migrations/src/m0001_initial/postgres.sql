-- References to tables that are created later than their holders.
ALTER TABLE buildsets ADD CONSTRAINT buildsets_parent_buildid_fkey FOREIGN KEY (parent_buildid) REFERENCES builds (id) ON DELETE SET NULL;
ALTER TABLE buildsets ADD CONSTRAINT buildsets_rebuilt_buildid_fkey FOREIGN KEY (rebuilt_buildid) REFERENCES builds (id) ON DELETE SET NULL;
-- Chunks are compressed already: a second compression would only cost time.
ALTER TABLE logchunks ALTER COLUMN content SET STORAGE EXTERNAL;
