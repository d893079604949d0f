-- Masters, and what holds a cluster together: leases, the outbox, wishes.
--
-- A master's process is an instance (a UUID) with an epoch; everything that it owns carries (masterid, epoch) and is
-- free as soon as that epoch is no longer the active one. `checkins` is the counter that the others watch.
CREATE TABLE masters (
    id @pk,
    name @text NOT NULL,
    name_hash @text NOT NULL UNIQUE,
    active BOOLEAN NOT NULL,
    last_active BIGINT NOT NULL,
    epoch BIGINT NOT NULL DEFAULT 0,
    instance @text,
    checkins BIGINT NOT NULL DEFAULT 0
);

-- One row per singleton that runs on one master at a time and is no scheduler or change source.
CREATE TABLE leases (
    name @text PRIMARY KEY,
    masterid BIGINT NOT NULL REFERENCES masters (id) ON DELETE CASCADE,
    epoch BIGINT NOT NULL,
    acquired_at BIGINT NOT NULL
);

-- Events that were committed and are still to be published: one row per transaction, a JSON list of events.
-- The table is short unless the broker is away, so it is read in the order of its key, without another index.
-- masterid is no foreign key: every transaction writes here, and each check would lock the one row of its master.
CREATE TABLE outbox (
    id @pk,
    masterid BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    events @text NOT NULL
);

-- What somebody wants done to an object by whichever master holds it: stop a build, cancel a request, stop or kill a
-- worker. (Pausing a worker and a worker's graceful end are columns of workers.)
CREATE TABLE wishes (
    id @pk,
    kind @text NOT NULL,
    target BIGINT NOT NULL,
    reason @text,
    created_at BIGINT NOT NULL,
    UNIQUE (kind, target)
);

CREATE TABLE objects (
    id @pk,
    name @text NOT NULL,
    class_name @text NOT NULL,
    UNIQUE (name, class_name)
);

CREATE TABLE object_state (
    objectid BIGINT NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    name @text NOT NULL,
    value_json @text NOT NULL,
    PRIMARY KEY (objectid, name)
);

CREATE TABLE users (
    uid @pk,
    identifier @text NOT NULL UNIQUE,
    bb_username @text UNIQUE,
    bb_password @text
);

CREATE TABLE users_info (
    uid BIGINT NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    attr_type @text NOT NULL,
    attr_data @text NOT NULL,
    PRIMARY KEY (uid, attr_type),
    UNIQUE (attr_type, attr_data)
);

-- The versions of the farm configuration: the files that were read and the inputs (env, read_file), under one hash.
CREATE TABLE config_versions (
    hash @text PRIMARY KEY,
    created_at BIGINT NOT NULL
);

-- kind is `file` or `input`; content may be encrypted with a key from the settings.
CREATE TABLE config_files (
    hash @text NOT NULL REFERENCES config_versions (hash) ON DELETE CASCADE,
    kind @text NOT NULL,
    name @text NOT NULL,
    content @bytes NOT NULL,
    PRIMARY KEY (hash, kind, name)
);
