-- Source stamps, changes, and what a scheduler thinks of each change.
CREATE TABLE patches (
    id @pk,
    patchlevel BIGINT NOT NULL,
    patch_base64 @text NOT NULL,
    patch_author @text NOT NULL,
    patch_comment @text NOT NULL,
    subdir @text
);

CREATE TABLE sourcestamps (
    id @pk,
    ss_hash @text NOT NULL UNIQUE,
    branch @text,
    revision @text,
    patchid BIGINT REFERENCES patches (id) ON DELETE SET NULL,
    repository @text NOT NULL,
    codebase @text NOT NULL,
    project @text NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX sourcestamps_revision ON sourcestamps (revision);

CREATE TABLE changes (
    changeid @pk,
    author @text NOT NULL,
    committer @text,
    comments @text NOT NULL,
    branch @text,
    revision @text,
    revlink @text,
    when_timestamp BIGINT NOT NULL,
    category @text,
    repository @text NOT NULL,
    codebase @text NOT NULL,
    project @text NOT NULL,
    sourcestampid BIGINT NOT NULL REFERENCES sourcestamps (id),
    parent_changeids BIGINT REFERENCES changes (changeid) ON DELETE SET NULL
);
-- The previous change of the same line of development.
CREATE INDEX changes_line ON changes (repository, codebase, project, branch, changeid);
CREATE INDEX changes_sourcestampid ON changes (sourcestampid);
CREATE INDEX changes_when ON changes (when_timestamp, changeid);
CREATE INDEX changes_revision ON changes (revision);
-- Deleting a change looks for its children.
CREATE INDEX changes_parent ON changes (parent_changeids);

CREATE TABLE change_files (
    changeid BIGINT NOT NULL REFERENCES changes (changeid) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    filename @text NOT NULL,
    PRIMARY KEY (changeid, position)
);

CREATE TABLE change_properties (
    changeid BIGINT NOT NULL REFERENCES changes (changeid) ON DELETE CASCADE,
    property_name @text NOT NULL,
    property_value @text NOT NULL,
    PRIMARY KEY (changeid, property_name)
);

CREATE TABLE change_users (
    changeid BIGINT NOT NULL REFERENCES changes (changeid) ON DELETE CASCADE,
    uid BIGINT NOT NULL REFERENCES users (uid) ON DELETE CASCADE,
    PRIMARY KEY (changeid, uid)
);
CREATE INDEX change_users_uid ON change_users (uid);

CREATE TABLE scheduler_changes (
    schedulerid BIGINT NOT NULL REFERENCES schedulers (id) ON DELETE CASCADE,
    changeid BIGINT NOT NULL REFERENCES changes (changeid) ON DELETE CASCADE,
    important BOOLEAN NOT NULL,
    PRIMARY KEY (schedulerid, changeid)
);
CREATE INDEX scheduler_changes_changeid ON scheduler_changes (changeid);
