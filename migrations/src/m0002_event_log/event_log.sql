-- The generation of the cluster's event log: one row, changed by whoever first finds that the broker has lost the log.
CREATE TABLE event_log (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    generation @text NOT NULL,
    since BIGINT NOT NULL
);

-- Rows of the outbox that were published a short while ago, kept only for brokers that can lose what they confirmed, and
-- where the last event of each stood in the log. A table apart, so that the outbox stays short.
CREATE TABLE outbox_published (
    id BIGINT PRIMARY KEY,
    events @text NOT NULL,
    published_at BIGINT NOT NULL,
    generation @text NOT NULL,
    major BIGINT NOT NULL,
    minor BIGINT NOT NULL
);

-- What is too old to be needed; and what is looked for first, the newest.
CREATE INDEX outbox_published_time ON outbox_published (published_at);
