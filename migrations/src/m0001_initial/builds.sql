-- Builds, their plans and properties, steps, logs.
CREATE TABLE builds (
    id @pk,
    number BIGINT NOT NULL,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    buildrequestid BIGINT NOT NULL REFERENCES buildrequests (id) ON DELETE CASCADE,
    workerid BIGINT REFERENCES workers (id) ON DELETE SET NULL,
    masterid BIGINT NOT NULL REFERENCES masters (id),
    started_at BIGINT NOT NULL,
    complete_at BIGINT,
    locks_duration_s BIGINT NOT NULL DEFAULT 0,
    state_string @text NOT NULL,
    results BIGINT,
    UNIQUE (builderid, number)
);
CREATE INDEX builds_builderid ON builds (builderid, id);
CREATE INDEX builds_buildrequestid ON builds (buildrequestid, id);
CREATE INDEX builds_workerid ON builds (workerid, id);
CREATE INDEX builds_masterid ON builds (masterid, id);
CREATE INDEX builds_started ON builds (started_at, id);
CREATE INDEX builds_complete ON builds (complete_at @first, id);
CREATE INDEX builds_running ON builds (id) WHERE complete_at IS NULL;

-- What the build will do, as versioned JSON, and the config version that its late references point into.
CREATE TABLE build_plans (
    buildid BIGINT PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    config_hash @text,
    plan @text NOT NULL
);

-- value is JSON text.
CREATE TABLE build_properties (
    buildid BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name @text NOT NULL,
    value @text NOT NULL,
    source @text NOT NULL,
    PRIMARY KEY (buildid, name)
);

CREATE TABLE build_data (
    id @pk,
    buildid BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name @text NOT NULL,
    value @bytes NOT NULL,
    length BIGINT NOT NULL,
    source @text NOT NULL,
    UNIQUE (buildid, name)
);

CREATE TABLE steps (
    id @pk,
    number BIGINT NOT NULL,
    name @text NOT NULL,
    buildid BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    started_at BIGINT,
    locks_acquired_at BIGINT,
    complete_at BIGINT,
    state_string @text NOT NULL,
    results BIGINT,
    urls_json @text NOT NULL DEFAULT '[]',
    hidden BOOLEAN NOT NULL DEFAULT FALSE,
    UNIQUE (buildid, number),
    UNIQUE (buildid, name)
);

-- The answers of a durable step function's effects, in order.
CREATE TABLE step_journal (
    stepid BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    entry @text NOT NULL,
    PRIMARY KEY (stepid, position)
);

-- A remote command whose output is numbered: the last number that was stored.
CREATE TABLE commands (
    id @text PRIMARY KEY,
    stepid BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    last_seq BIGINT NOT NULL
);
CREATE INDEX commands_stepid ON commands (stepid);

CREATE TABLE logs (
    id @pk,
    name @text NOT NULL,
    slug @text NOT NULL,
    stepid BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    complete BOOLEAN NOT NULL DEFAULT FALSE,
    num_lines BIGINT NOT NULL DEFAULT 0,
    type @text NOT NULL,
    UNIQUE (stepid, slug)
);

-- Lines first_line to last_line, both included. compressed: 0 none, 1 gz, 2 bz2, 3 lz4, 4 br, 5 zstd.
CREATE TABLE logchunks (
    logid BIGINT NOT NULL REFERENCES logs (id) ON DELETE CASCADE,
    first_line BIGINT NOT NULL,
    last_line BIGINT NOT NULL,
    content @bytes NOT NULL,
    compressed BIGINT NOT NULL,
    PRIMARY KEY (logid, first_line)
);
