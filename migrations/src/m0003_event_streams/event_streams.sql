-- The SSE streams of all replicas by the uuid of their handshake. `owner` is the process that serves the stream, empty
-- when nobody does and its client may come back. `version` counts the changes of `filters` (a JSON list), `applied` is
-- the version that the owner listens by.
CREATE TABLE event_streams (
    id @text PRIMARY KEY,
    owner @text NOT NULL,
    filters @text NOT NULL,
    version BIGINT NOT NULL,
    applied BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX event_streams_owner ON event_streams (owner);
CREATE INDEX event_streams_seen_at ON event_streams (seen_at);
