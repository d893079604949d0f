-- Buildsets, build requests and their claims.
--
-- open_requests counts the requests that are not complete, so that the master which completes the last one knows it by
-- a single atomic update; worst_severity is the worst result of those that are, as a number that grows with severity.
CREATE TABLE buildsets (
    id @pk,
    external_idstring @text,
    reason @text NOT NULL,
    submitted_at BIGINT NOT NULL,
    complete BOOLEAN NOT NULL DEFAULT FALSE,
    complete_at BIGINT,
    results BIGINT,
    parent_buildid BIGINT @late(builds.id),
    parent_relationship @text,
    rebuilt_buildid BIGINT @late(builds.id),
    open_requests BIGINT NOT NULL,
    worst_severity BIGINT
);
CREATE INDEX buildsets_open ON buildsets (id) WHERE NOT complete;
CREATE INDEX buildsets_submitted ON buildsets (submitted_at, id);
CREATE INDEX buildsets_parent ON buildsets (parent_buildid) WHERE parent_buildid IS NOT NULL;
CREATE INDEX buildsets_rebuilt ON buildsets (rebuilt_buildid) WHERE rebuilt_buildid IS NOT NULL;

-- property_value is the JSON list [value, source].
CREATE TABLE buildset_properties (
    buildsetid BIGINT NOT NULL REFERENCES buildsets (id) ON DELETE CASCADE,
    property_name @text NOT NULL,
    property_value @text NOT NULL,
    PRIMARY KEY (buildsetid, property_name)
);

CREATE TABLE buildset_sourcestamps (
    id @pk,
    buildsetid BIGINT NOT NULL REFERENCES buildsets (id) ON DELETE CASCADE,
    sourcestampid BIGINT NOT NULL REFERENCES sourcestamps (id),
    UNIQUE (buildsetid, sourcestampid)
);
CREATE INDEX buildset_sourcestamps_sourcestampid ON buildset_sourcestamps (sourcestampid);

-- claimed says that a row in buildrequest_claims exists; it is here because an index cannot look into another table.
CREATE TABLE buildrequests (
    id @pk,
    buildsetid BIGINT NOT NULL REFERENCES buildsets (id) ON DELETE CASCADE,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    priority BIGINT NOT NULL DEFAULT 0,
    claimed BOOLEAN NOT NULL DEFAULT FALSE,
    complete BOOLEAN NOT NULL DEFAULT FALSE,
    complete_at BIGINT,
    results BIGINT,
    submitted_at BIGINT NOT NULL,
    waited_for BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX buildrequests_buildsetid ON buildrequests (buildsetid);
CREATE INDEX buildrequests_builderid ON buildrequests (builderid, id);
CREATE INDEX buildrequests_submitted ON buildrequests (submitted_at, id);
-- The page of pending requests: in the order of ids, and in that of the queue.
CREATE INDEX buildrequests_unclaimed ON buildrequests (id) WHERE NOT claimed;
CREATE INDEX buildrequests_pending ON buildrequests (priority, submitted_at, id) WHERE NOT claimed;
CREATE INDEX buildrequests_open ON buildrequests (id) WHERE NOT complete;
-- The head of a builder's queue: distribution reads nothing else.
CREATE INDEX buildrequests_claimable ON buildrequests (builderid, priority DESC, id) WHERE NOT claimed AND NOT complete;
-- What is under way: housekeeping reads nothing else.
CREATE INDEX buildrequests_running ON buildrequests (id) WHERE claimed AND NOT complete;

-- masterid is no foreign key: who claims has locked the row of its master.
CREATE TABLE buildrequest_claims (
    brid BIGINT PRIMARY KEY REFERENCES buildrequests (id) ON DELETE CASCADE,
    masterid BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL
);
CREATE INDEX buildrequest_claims_masterid ON buildrequest_claims (masterid, brid);
