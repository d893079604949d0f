//! Step classes.

use super::{
    ANY, BOOL, CALL, Class, DICT, Default, INT, Kind, LIST, NONE, NUM, OBJ, OCALL, ODICT, ORSTR, OSTR, Param, REND,
    RSTR, STR, any_of, class, p,
};

const NS: &[&str] = &["steps"];

/// A string, a list of strings, something that renders to one, or None.
const TEXTS: super::Shape = any_of(&[STR, LIST, REND, NONE]);
/// Renderable seconds.
const SECS: super::Shape = any_of(&[NUM, REND, NONE]);

const COMMON: &[Param] = &[
    p("name", ORSTR),
    p("haltOnFailure", BOOL).no(),
    p("flunkOnWarnings", BOOL).no(),
    p("flunkOnFailure", BOOL).yes(),
    p("warnOnWarnings", BOOL).no(),
    p("warnOnFailure", BOOL).no(),
    p("alwaysRun", BOOL).no(),
    p("progressMetrics", ANY),
    p("useProgress", BOOL).yes(),
    p("doStepIf", any_of(&[BOOL, CALL, REND])).yes(),
    p("hideStepIf", any_of(&[BOOL, CALL])).no(),
    p("description", TEXTS).of(RSTR),
    p("descriptionDone", TEXTS).of(RSTR),
    p("descriptionSuffix", TEXTS).of(RSTR),
    p("locks", any_of(&[LIST, NONE, REND])).kind(Kind::LockAccess),
    p("logEncoding", any_of(&[STR, CALL, NONE])),
    p("updateBuildSummaryPolicy", any_of(&[BOOL, LIST, NONE])),
];

const SHELL: &[Param] = &[
    p("workdir", ORSTR),
    p("env", any_of(&[DICT, REND, NONE])),
    p("want_stdout", BOOL).yes(),
    p("want_stderr", BOOL).yes(),
    p("usePTY", any_of(&[BOOL, NONE])),
    p("logfiles", any_of(&[DICT, REND, NONE])),
    p("lazylogfiles", BOOL).no(),
    p("timeout", SECS).int(1200),
    p("maxTime", SECS),
    p("max_lines", any_of(&[INT, REND, NONE])),
    p("logEnviron", BOOL).yes(),
    p("interruptSignal", STR).str("KILL"),
    p("sigtermTime", SECS),
    p("initialStdin", ORSTR),
    p("decodeRC", ODICT),
];

const COMMAND: &[Param] = &[p("command", any_of(&[STR, LIST, REND])).required()];
const COMMAND_OPTIONAL: &[Param] = &[p("command", any_of(&[STR, LIST, REND, NONE]))];

/// Of all source steps.
const SOURCE: &[Param] = &[
    p("mode", STR).str("incremental"),
    p("method", OSTR),
    p("workdir", ORSTR),
    p("alwaysUseLatest", BOOL).no(),
    p("retry", any_of(&[LIST, NONE])),
    p("timeout", SECS).int(1200),
    p("env", any_of(&[DICT, REND, NONE])),
    p("logEnviron", BOOL).yes(),
    p("codebase", STR).str(""),
];

pub(super) const CLASSES: &[Class] = &[
    class("ShellCommand", NS, Kind::Step, 0, &[COMMAND, SHELL, COMMON]).overrides(&[("name", Default::Str("shell"))]),
    // Exactly a ShellCommand with other defaults.
    class("Configure", NS, Kind::Step, 0, &[COMMAND_OPTIONAL, SHELL, COMMON])
        .overrides(&[("name", Default::Str("configure")), ("haltOnFailure", Default::Bool(true))]),
    class("SetProperty", NS, Kind::Step, 2, &[&[p("property", RSTR).required(), p("value", ANY).required()], COMMON])
        .overrides(&[("name", Default::Str("SetProperty"))]),
    class("SetProperties", NS, Kind::Step, 1, &[&[p("properties", any_of(&[DICT, REND])).required()], COMMON])
        .overrides(&[("name", Default::Str("SetProperties"))]),
    class(
        "SetPropertyFromCommand",
        NS,
        Kind::Step,
        0,
        &[
            COMMAND,
            &[
                p("property", ORSTR),
                p("extract_fn", OCALL),
                p("strip", BOOL).yes(),
                p("includeStdout", BOOL).yes(),
                p("includeStderr", BOOL).no(),
            ],
            SHELL,
            COMMON,
        ],
    )
    .overrides(&[("name", Default::Str("setproperty"))]),
    class(
        "Git",
        NS,
        Kind::Step,
        2,
        &[
            &[
                p("repourl", RSTR).required(),
                p("branch", RSTR).str("HEAD"),
                p("port", INT).int(22),
                p("reference", ORSTR),
                p("submodules", BOOL).no(),
                p("remoteSubmodules", BOOL).no(),
                p("tags", BOOL).no(),
                p("shallow", any_of(&[BOOL, INT, REND])).no(),
                p("filters", any_of(&[LIST, NONE])).of(RSTR),
                p("progress", BOOL).yes(),
                p("retryFetch", BOOL).no(),
                p("clobberOnFailure", BOOL).no(),
                p("getDescription", any_of(&[BOOL, DICT])).no(),
                p("config", any_of(&[DICT, REND, NONE])),
                p("origin", ORSTR),
                p("sshPrivateKey", ORSTR),
                p("sshHostKey", ORSTR),
                p("sshKnownHosts", ORSTR),
                p("auth_credentials", any_of(&[LIST, REND, NONE])),
                p("git_credentials", any_of(&[OBJ, NONE])).kind(Kind::Credentials),
            ],
            SOURCE,
            COMMON,
        ],
    )
    .overrides(&[("name", Default::Str("git")), ("haltOnFailure", Default::Bool(true))]),
    // Not Buildbot's: its counterpart of a step class of one's own.
    class(
        "Function",
        NS,
        Kind::Step,
        2,
        &[
            &[p("name", RSTR).required(), p("run", CALL).required(), p("args", ODICT), p("workdir", ORSTR)],
            COMMON_UNNAMED,
        ],
    ),
];

/// [`COMMON`] without the name.
const COMMON_UNNAMED: &[Param] = COMMON.split_at(1).1;
