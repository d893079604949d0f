-- What the farm configuration names: projects, builders, tags, workers, schedulers, change sources.
CREATE TABLE projects (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE,
    slug @text NOT NULL,
    description @text,
    description_format @text,
    description_html @text
);

CREATE TABLE builders (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE,
    description @text,
    description_format @text,
    description_html @text,
    projectid BIGINT REFERENCES projects (id) ON DELETE SET NULL
);
CREATE INDEX builders_projectid ON builders (projectid);

-- The last number given to a build, apart from the wide and often read row of its builder.
CREATE TABLE builder_numbers (
    builderid BIGINT PRIMARY KEY REFERENCES builders (id) ON DELETE CASCADE,
    last_number BIGINT NOT NULL
);

CREATE TABLE builder_masters (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    masterid BIGINT NOT NULL REFERENCES masters (id) ON DELETE CASCADE,
    UNIQUE (builderid, masterid)
);
CREATE INDEX builder_masters_masterid ON builder_masters (masterid);

CREATE TABLE tags (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE
);

-- In the order of id, which is the configured one.
CREATE TABLE builders_tags (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    tagid BIGINT NOT NULL REFERENCES tags (id) ON DELETE CASCADE,
    UNIQUE (builderid, tagid)
);
CREATE INDEX builders_tags_tagid ON builders_tags (tagid);

CREATE TABLE workers (
    id @pk,
    name @text NOT NULL UNIQUE,
    info @text NOT NULL,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    pause_reason @text,
    graceful BOOLEAN NOT NULL DEFAULT FALSE
);

CREATE TABLE configured_workers (
    id @pk,
    buildermasterid BIGINT NOT NULL REFERENCES builder_masters (id) ON DELETE CASCADE,
    workerid BIGINT NOT NULL REFERENCES workers (id) ON DELETE CASCADE,
    UNIQUE (buildermasterid, workerid)
);
CREATE INDEX configured_workers_workerid ON configured_workers (workerid);

-- At most one session per worker: which master's instance holds its connection.
CREATE TABLE connected_workers (
    id @pk,
    masterid BIGINT NOT NULL REFERENCES masters (id) ON DELETE CASCADE,
    workerid BIGINT NOT NULL UNIQUE REFERENCES workers (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL,
    session @text NOT NULL,
    connected_at BIGINT NOT NULL
);
CREATE INDEX connected_workers_masterid ON connected_workers (masterid);

CREATE TABLE changesources (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE
);

CREATE TABLE changesource_masters (
    changesourceid BIGINT PRIMARY KEY REFERENCES changesources (id) ON DELETE CASCADE,
    masterid BIGINT NOT NULL REFERENCES masters (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL
);
CREATE INDEX changesource_masters_masterid ON changesource_masters (masterid);

CREATE TABLE schedulers (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE,
    enabled BOOLEAN NOT NULL DEFAULT TRUE
);

CREATE TABLE scheduler_masters (
    schedulerid BIGINT PRIMARY KEY REFERENCES schedulers (id) ON DELETE CASCADE,
    masterid BIGINT NOT NULL REFERENCES masters (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL
);
CREATE INDEX scheduler_masters_masterid ON scheduler_masters (masterid);
