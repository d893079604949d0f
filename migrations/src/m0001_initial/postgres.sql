-- References to tables that are created later than their holders.
ALTER TABLE buildsets ADD CONSTRAINT buildsets_parent_buildid_fkey FOREIGN KEY (parent_buildid) REFERENCES builds (id) ON DELETE SET NULL;
ALTER TABLE buildsets ADD CONSTRAINT buildsets_rebuilt_buildid_fkey FOREIGN KEY (rebuilt_buildid) REFERENCES builds (id) ON DELETE SET NULL;
-- Chunks are compressed already: a second compression would only cost time.
ALTER TABLE logchunks ALTER COLUMN content SET STORAGE EXTERNAL;
-- Room for the next versions of rows that change several times in their first seconds: an update that stays on its page
-- and changes no indexed column writes no index.
ALTER TABLE builds SET (fillfactor = 70);
ALTER TABLE buildrequests SET (fillfactor = 80);
ALTER TABLE buildsets SET (fillfactor = 80);
ALTER TABLE steps SET (fillfactor = 70);
ALTER TABLE logs SET (fillfactor = 70);
ALTER TABLE masters SET (fillfactor = 20);
ALTER TABLE builder_numbers SET (fillfactor = 20);
-- Rows that live for less than a second are not worth compressing or storing apart.
ALTER TABLE outbox SET (toast_tuple_target = 8160);
