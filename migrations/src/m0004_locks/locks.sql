-- One row for each lock that a build or a step holds or waits for. The ids are the order of the queue.
CREATE TABLE lock_places (
    id @pk,
    lock_key @text NOT NULL,
    waiter @text NOT NULL,
    buildid BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    masterid BIGINT NOT NULL REFERENCES masters (id),
    epoch BIGINT NOT NULL,
    exclusive BOOLEAN NOT NULL,
    places BIGINT NOT NULL,
    granted BOOLEAN NOT NULL,
    UNIQUE (waiter, lock_key)
);
CREATE INDEX lock_places_key ON lock_places (lock_key, id);
CREATE INDEX lock_places_build ON lock_places (buildid);

-- Whoever changes the table above locks this row first, so that queues are judged by one at a time.
CREATE TABLE lock_guard (id BIGINT PRIMARY KEY CHECK (id = 1));
INSERT INTO lock_guard (id) VALUES (1);
