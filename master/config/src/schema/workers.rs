//! Worker classes.

use super::{BOOL, Class, INT, Kind, LIST, NONE, ODICT, ONUM, OSTR, Param, REND, RSTR, STR, any_of, class, p};

const COMMON: &[Param] = &[
    p("max_builds", any_of(&[INT, NONE])),
    p("notify_on_missing", any_of(&[STR, LIST, NONE])).of(STR),
    p("missing_timeout", ONUM).int(3600),
    p("properties", ODICT),
    p("defaultProperties", ODICT),
    p("locks", any_of(&[LIST, NONE, REND])).kind(Kind::LockAccess),
    p("keepalive_interval", ONUM).int(3600),
    p("machine_name", OSTR),
];

pub(super) const CLASSES: &[Class] = &[
    class(
        "Worker",
        &["worker", "buildslave"],
        Kind::Worker,
        2,
        &[&[p("name", STR).required(), p("password", any_of(&[RSTR, NONE])).required()], COMMON],
    ),
    class(
        "LocalWorker",
        &["worker", "buildslave"],
        Kind::Worker,
        2,
        &[&[p("name", STR).required(), p("workdir", OSTR), p("usePTY", any_of(&[BOOL, NONE]))], COMMON],
    ),
];
