-- Code bases with their commits and branches, and test results.
CREATE TABLE codebases (
    id @pk,
    projectid BIGINT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name @text NOT NULL,
    name_hash @text NOT NULL,
    slug @text NOT NULL,
    UNIQUE (projectid, name_hash)
);

CREATE TABLE codebase_commits (
    id @pk,
    codebaseid BIGINT NOT NULL REFERENCES codebases (id) ON DELETE CASCADE,
    author @text NOT NULL,
    committer @text,
    comments @text NOT NULL,
    when_timestamp BIGINT NOT NULL,
    revision @text NOT NULL,
    parent_commitid BIGINT REFERENCES codebase_commits (id) ON DELETE SET NULL,
    UNIQUE (codebaseid, revision)
);
CREATE INDEX codebase_commits_parent ON codebase_commits (parent_commitid);

CREATE TABLE codebase_branches (
    id @pk,
    codebaseid BIGINT NOT NULL REFERENCES codebases (id) ON DELETE CASCADE,
    name @text NOT NULL,
    name_hash @text NOT NULL,
    commitid BIGINT REFERENCES codebase_commits (id) ON DELETE SET NULL,
    last_timestamp BIGINT NOT NULL,
    UNIQUE (codebaseid, name_hash)
);
CREATE INDEX codebase_branches_commitid ON codebase_branches (commitid);

CREATE TABLE test_result_sets (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    buildid BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    stepid BIGINT NOT NULL REFERENCES steps (id) ON DELETE CASCADE,
    description @text,
    category @text NOT NULL,
    value_unit @text NOT NULL,
    tests_passed BIGINT,
    tests_failed BIGINT,
    complete BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX test_result_sets_builderid ON test_result_sets (builderid, id);
CREATE INDEX test_result_sets_buildid ON test_result_sets (buildid, id);
CREATE INDEX test_result_sets_stepid ON test_result_sets (stepid, id);

CREATE TABLE test_names (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    name @text NOT NULL,
    UNIQUE (builderid, name)
);

CREATE TABLE test_code_paths (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    path @text NOT NULL,
    UNIQUE (builderid, path)
);

CREATE TABLE test_results (
    id @pk,
    builderid BIGINT NOT NULL REFERENCES builders (id) ON DELETE CASCADE,
    test_result_setid BIGINT NOT NULL REFERENCES test_result_sets (id) ON DELETE CASCADE,
    test_nameid BIGINT REFERENCES test_names (id) ON DELETE CASCADE,
    test_code_pathid BIGINT REFERENCES test_code_paths (id) ON DELETE CASCADE,
    line BIGINT,
    duration_ns BIGINT,
    value @text
);
CREATE INDEX test_results_set ON test_results (test_result_setid, id);
CREATE INDEX test_results_name ON test_results (test_nameid);
CREATE INDEX test_results_path ON test_results (test_code_pathid);
CREATE INDEX test_results_builderid ON test_results (builderid);
