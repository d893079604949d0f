//! Classes of the `util` namespace: builders, factories, projects, filters and renderables.

use super::{
    ANY, BOOL, CALL, Class, DICT, INT, Kind, LIST, NONE, OBJ, OCALL, ODICT, OLIST, OSTR, Param, REND, RSTR, STR,
    any_of, class, p,
};

const NS: &[&str] = &["util"];

/// A string, several, or None.
const MATCH: super::Shape = any_of(&[STR, LIST, NONE]);

const BUILDER: &[Param] = &[
    p("name", STR).required(),
    p("workername", OSTR),
    p("workernames", any_of(&[LIST, STR, NONE])).of(STR),
    p("builddir", OSTR),
    p("workerbuilddir", OSTR),
    p("factory", OBJ).kind(Kind::Factory).required(),
    p("tags", OLIST).of(STR),
    p("nextWorker", OCALL),
    p("nextBuild", OCALL),
    p("locks", any_of(&[LIST, NONE, REND])).kind(Kind::LockAccess),
    p("env", any_of(&[DICT, NONE, REND])),
    p("properties", ODICT),
    p("collapseRequests", any_of(&[BOOL, CALL, NONE])),
    p("description", OSTR),
    p("description_format", OSTR),
    p("canStartBuild", OCALL),
    p("defaultProperties", ODICT),
    p("project", OSTR),
    p("do_build_if", OCALL),
    // Names of the 0.8 series.
    p("slavename", OSTR).instead("use `workername`"),
    p("slavenames", OLIST).of(STR).instead("use `workernames`"),
    p("slavebuilddir", OSTR).instead("use `workerbuilddir`"),
    p("nextSlave", OCALL).instead("use `nextWorker`"),
    p("category", OSTR).instead("use `tags`"),
    p("mergeRequests", any_of(&[BOOL, CALL, NONE])).instead("use `collapseRequests`"),
];

const CHANGE_FILTER: &[Param] = &[
    p("filter_fn", OCALL),
    p("project", MATCH),
    p("project_not_eq", MATCH),
    p("project_re", MATCH),
    p("project_not_re", MATCH),
    p("project_fn", OCALL),
    p("repository", MATCH),
    p("repository_not_eq", MATCH),
    p("repository_re", MATCH),
    p("repository_not_re", MATCH),
    p("repository_fn", OCALL),
    p("branch", MATCH),
    p("branch_not_eq", MATCH),
    p("branch_re", MATCH),
    p("branch_not_re", MATCH),
    p("branch_fn", OCALL),
    p("category", MATCH),
    p("category_not_eq", MATCH),
    p("category_re", MATCH),
    p("category_not_re", MATCH),
    p("category_fn", OCALL),
    p("codebase", MATCH),
    p("codebase_not_eq", MATCH),
    p("codebase_re", MATCH),
    p("codebase_not_re", MATCH),
    p("codebase_fn", OCALL),
    p("property_eq", ODICT),
    p("property_not_eq", ODICT),
    p("property_re", ODICT),
    p("property_not_re", ODICT),
];

pub(super) const CLASSES: &[Class] = &[
    class("BuilderConfig", NS, Kind::Builder, 1, &[BUILDER]),
    class(
        "BuildFactory",
        NS,
        Kind::Factory,
        1,
        &[&[
            p("steps", OLIST).of(OBJ).kind(Kind::Step),
            p("useProgress", BOOL).yes(),
            p("workdir", any_of(&[STR, REND, CALL, NONE])),
        ]],
    ),
    class(
        "Project",
        NS,
        Kind::Project,
        1,
        &[&[p("name", STR).required(), p("slug", OSTR), p("description", OSTR), p("description_format", OSTR)]],
    ),
    class("MasterLock", NS, Kind::Lock, 2, &[&[p("name", STR).required(), p("maxCount", INT).int(1)]]),
    class(
        "WorkerLock",
        NS,
        Kind::Lock,
        3,
        &[&[p("name", STR).required(), p("maxCount", INT).int(1), p("maxCountForWorker", ODICT)]],
    ),
    // What `lock.access(mode, count)` gives.
    class("<access>", NS, Kind::LockAccess, 3, &[&[p("lock", OBJ), p("mode", STR), p("count", INT).int(1)]]),
    class("ChangeFilter", &["util", "changes"], Kind::ChangeFilter, 1, &[CHANGE_FILTER]),
    class(
        "GitCredentialOptions",
        NS,
        Kind::Credentials,
        0,
        &[&[p("credentials", LIST).required(), p("use_http_path", any_of(&[BOOL, NONE]))]],
    ),
];

pub(super) const RENDERABLES: &[Class] = &[
    class(
        "Property",
        NS,
        Kind::Renderable,
        3,
        &[&[p("key", RSTR).required(), p("default", ANY), p("defaultWhenFalse", BOOL).yes()]],
    ),
    class("Interpolate", NS, Kind::Renderable, 1, &[&[p("fmtstring", STR).required()]]).varargs().kwargs(),
    class("WithProperties", NS, Kind::Renderable, 1, &[&[p("fmtstring", STR).required()]]).varargs().kwargs(),
    class("Secret", NS, Kind::Renderable, 1, &[&[p("key", STR).required()]]),
    class("renderer", NS, Kind::Renderable, 1, &[&[p("fn", CALL).required()]]),
    class("Transform", NS, Kind::Renderable, 1, &[&[p("function", any_of(&[CALL, REND])).required()]])
        .varargs()
        .kwargs(),
    class(
        "FlattenList",
        NS,
        Kind::Renderable,
        2,
        &[&[p("nestedlist", any_of(&[LIST, REND])).required(), p("types", ANY)]],
    ),
    // Made by operators on renderables; the name cannot be written.
    class("<operation>", NS, Kind::Renderable, 3, &[&[p("operator", STR), p("left", ANY), p("right", ANY)]]),
    // The value that `util.URLForBuild` is.
    class("<URLForBuild>", NS, Kind::Renderable, 0, &[]),
    // `renderer(f).withArgs(...)`.
    class("<withArgs>", NS, Kind::Renderable, 1, &[&[p("fn", ANY)]]).varargs().kwargs(),
];
