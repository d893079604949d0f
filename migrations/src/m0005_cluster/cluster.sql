-- What a master tells of itself when it checks in: the version of the farm config that is in force there, its program's
-- version, and how many of its transactions have events that are still to be published, and since when.
ALTER TABLE masters ADD COLUMN config_hash @text;
ALTER TABLE masters ADD COLUMN version @text;
ALTER TABLE masters ADD COLUMN outbox_depth BIGINT NOT NULL DEFAULT 0;
ALTER TABLE masters ADD COLUMN outbox_since BIGINT;

-- The oldest schema that a program must know to work with this one: the number of a migration. A migration that only adds
-- leaves it alone; one that takes something away sets it, once no older program runs any more.
CREATE TABLE schema_compatibility (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    minimum BIGINT NOT NULL
);
INSERT INTO schema_compatibility (id, minimum) VALUES (1, 1);
