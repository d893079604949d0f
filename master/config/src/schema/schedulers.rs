//! Scheduler classes and the parameters of a ForceScheduler.

use super::{
    ANY, BOOL, CALL, Class, DICT, Default, INT, Kind, LIST, NONE, NUM, OBJ, OCALL, ODICT, OLIST, ONUM, OSTR, Param,
    REND, RSTR, STR, any_of, class, p,
};

const NS: &[&str] = &["schedulers"];

const NAMED: &[Param] = &[p("name", STR).required(), p("builderNames", any_of(&[LIST, REND])).of(RSTR).required()];

const COMMON: &[Param] = &[
    p("properties", ODICT),
    p("reason", OSTR),
    p("codebases", any_of(&[LIST, DICT, NONE])),
    p("priority", any_of(&[INT, CALL, NONE])),
];

const CHANGES: &[Param] = &[
    p("change_filter", any_of(&[OBJ, NONE])).kind(Kind::ChangeFilter),
    p("fileIsImportant", OCALL),
    p("onlyImportant", BOOL).no(),
    p("createAbsoluteSourceStamps", BOOL).no(),
];

const NIGHTLY: &[Param] = &[
    p("minute", any_of(&[INT, STR, LIST])).int(0),
    p("hour", any_of(&[INT, STR, LIST])).str("*"),
    p("dayOfMonth", any_of(&[INT, STR, LIST])).str("*"),
    p("month", any_of(&[INT, STR, LIST])).str("*"),
    p("dayOfWeek", any_of(&[INT, STR, LIST])).str("*"),
    p("force_at_minute", any_of(&[INT, STR, LIST, NONE])),
    p("force_at_hour", any_of(&[INT, STR, LIST, NONE])),
    p("force_at_day_of_month", any_of(&[INT, STR, LIST, NONE])),
    p("force_at_month", any_of(&[INT, STR, LIST, NONE])),
    p("force_at_day_of_week", any_of(&[INT, STR, LIST, NONE])),
];

const BRANCHES: &[Param] = &[
    p("branch", any_of(&[STR, NONE])).instead("use `change_filter`"),
    p("branches", OLIST).of(STR).instead("use `change_filter`"),
    p("categories", OLIST).of(STR).instead("use `change_filter`"),
];

pub(super) const CLASSES: &[Class] = &[
    class(
        "SingleBranchScheduler",
        NS,
        Kind::Scheduler,
        2,
        &[NAMED, &[p("treeStableTimer", ONUM)], CHANGES, BRANCHES, COMMON],
    ),
    class("Scheduler", NS, Kind::Scheduler, 2, &[NAMED, &[p("treeStableTimer", ONUM)], CHANGES, BRANCHES, COMMON]),
    class(
        "AnyBranchScheduler",
        NS,
        Kind::Scheduler,
        2,
        &[NAMED, &[p("treeStableTimer", ONUM)], CHANGES, BRANCHES, COMMON],
    ),
    class(
        "Dependent",
        NS,
        Kind::Scheduler,
        2,
        &[NAMED, &[p("upstream", OBJ).kind(Kind::Scheduler).required()], COMMON],
    ),
    class(
        "Periodic",
        NS,
        Kind::Scheduler,
        3,
        &[
            NAMED,
            &[p("periodicBuildTimer", NUM).required(), p("branch", OSTR), p("onlyIfChanged", BOOL).no()],
            CHANGES,
            COMMON,
        ],
    ),
    class(
        "Nightly",
        NS,
        Kind::Scheduler,
        2,
        &[NAMED, &[p("branch", OSTR), p("onlyIfChanged", BOOL).no()], NIGHTLY, CHANGES, COMMON],
    ),
    class("NightlyTriggerable", NS, Kind::Scheduler, 2, &[NAMED, NIGHTLY, COMMON]),
    class("Triggerable", NS, Kind::Scheduler, 2, &[NAMED, COMMON]),
    class(
        "ForceScheduler",
        NS,
        Kind::Scheduler,
        2,
        &[&[
            p("name", STR).required(),
            p("builderNames", LIST).of(STR).required(),
            p("username", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
            p("reason", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
            p("reasonString", STR).str("A build was forced by '%(owner)s': %(reason)s"),
            p("buttonName", OSTR),
            p("label", OSTR),
            p("codebases", OLIST).of(any_of(&[STR, OBJ])).kind(Kind::Parameter),
            p("properties", OLIST).of(OBJ).kind(Kind::Parameter),
            p("priority", any_of(&[OBJ, INT, NONE])).kind(Kind::Parameter),
        ]],
    ),
];

/// Of every force parameter. None of the label means "the name".
const PARAM: &[Param] = &[
    p("name", STR).required(),
    p("label", OSTR),
    p("tablabel", OSTR),
    p("default", ANY),
    p("required", BOOL).no(),
    p("multiple", BOOL).no(),
    p("regex", OSTR),
    p("hide", BOOL).no(),
    p("maxsize", ONUM),
    p("autopopulate", ODICT),
    p("tooltip", OSTR).str(""),
    p("debug", BOOL).no(),
];

/// The same for parameters whose name has a default.
const PARAM_NAMED: &[Param] = &[
    p("name", OSTR),
    p("label", OSTR),
    p("tablabel", OSTR),
    p("default", ANY),
    p("required", BOOL).no(),
    p("multiple", BOOL).no(),
    p("regex", OSTR),
    p("hide", BOOL).no(),
    p("maxsize", ONUM),
    p("autopopulate", ODICT),
    p("tooltip", OSTR).str(""),
    p("debug", BOOL).no(),
];

const UTIL: &[&str] = &["util", "schedulers"];
const FIELDS: Param = p("fields", LIST).of(OBJ).kind(Kind::Parameter).required();

pub(super) const PARAMETERS: &[Class] = &[
    class("FixedParameter", UTIL, Kind::Parameter, 2, &[PARAM]),
    class("StringParameter", UTIL, Kind::Parameter, 2, &[PARAM, &[p("size", INT).int(10)]]),
    class(
        "TextParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM, &[p("size", INT).int(10), p("cols", INT).int(80), p("rows", INT).int(20)]],
    ),
    class("IntParameter", UTIL, Kind::Parameter, 2, &[PARAM, &[p("size", INT).int(10)]])
        .overrides(&[("default", Default::Int(0))]),
    class("BooleanParameter", UTIL, Kind::Parameter, 2, &[PARAM]).overrides(&[("default", Default::Bool(false))]),
    class(
        "UserNameParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM_NAMED, &[p("size", INT).int(30), p("need_email", BOOL).yes()]],
    )
    .overrides(&[("name", Default::Str("username")), ("label", Default::Str("Your name:"))]),
    class(
        "ChoiceStringParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM, &[p("choices", LIST).of(STR).list(), p("strict", BOOL).yes()]],
    ),
    class(
        "InheritBuildParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM, &[p("compatible_builds", OCALL), p("strict", BOOL).yes(), p("choices", LIST).of(STR).list()]],
    ),
    class(
        "WorkerChoiceParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM_NAMED, &[p("strict", BOOL).yes(), p("choices", LIST).of(STR).list()]],
    )
    .overrides(&[("name", Default::Str("workername"))]),
    class("FileParameter", UTIL, Kind::Parameter, 2, &[PARAM, &[p("accept", OSTR)]])
        .overrides(&[("maxsize", Default::Int(10 * 1024 * 1024))]),
    class(
        "NestedParameter",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM_NAMED, &[FIELDS, p("layout", STR).str("vertical"), p("columns", any_of(&[INT, NONE]))]],
    )
    .overrides(&[("name", Default::Str(""))]),
    class(
        "ParameterGroup",
        UTIL,
        Kind::Parameter,
        2,
        &[PARAM_NAMED, &[FIELDS, p("layout", STR).str("vertical"), p("columns", any_of(&[INT, NONE]))]],
    )
    .overrides(&[("name", Default::Str(""))]),
    // It never has a heading, whatever its name.
    class("AnyPropertyParameter", UTIL, Kind::Parameter, 2, &[PARAM]).overrides(&[("label", Default::Str(""))]),
    class(
        "CodebaseParameter",
        UTIL,
        Kind::Parameter,
        1,
        &[
            &[
                p("codebase", STR).required(),
                p("branch", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
                p("revision", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
                p("repository", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
                p("project", any_of(&[OBJ, STR, NONE])).kind(Kind::Parameter),
                p("patch", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
                p("layout", STR).str("vertical"),
                p("columns", any_of(&[INT, NONE])).int(2),
            ],
            PARAM_NAMED,
        ],
    ),
    class(
        "PatchParameter",
        UTIL,
        Kind::Parameter,
        1,
        &[&[
            p("name", STR).str("patch"),
            p("body", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
            p("level", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
            p("author", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
            p("comment", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
            p("subdir", any_of(&[OBJ, NONE])).kind(Kind::Parameter),
            p("label", OSTR),
            p("tablabel", OSTR),
            p("hide", BOOL).no(),
            p("tooltip", OSTR).str(""),
            p("layout", STR).str("vertical"),
            p("columns", any_of(&[INT, NONE])).int(1),
        ]],
    ),
];
