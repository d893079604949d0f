//! Change source classes.

use super::{BOOL, CALL, Class, Kind, LIST, NONE, NUM, ORSTR, OSTR, Param, REND, RSTR, STR, any_of, class, p};

/// Of every poller.
const POLLER: &[Param] = &[
    p("pollInterval", NUM).int(600),
    p("pollAtLaunch", BOOL).no(),
    p("pollRandomDelayMin", NUM).int(0),
    p("pollRandomDelayMax", NUM).int(0),
    p("pollinterval", any_of(&[NUM, NONE])).instead("use `pollInterval`"),
    p("name", OSTR),
];

pub(super) const CLASSES: &[Class] = &[class(
    "GitPoller",
    &["changes"],
    Kind::ChangeSource,
    2,
    &[
        &[
            p("repourl", RSTR).required(),
            p("branches", any_of(&[LIST, BOOL, CALL, NONE])).of(STR),
            p("branch", OSTR),
            p("workdir", OSTR),
            p("gitbin", STR).str("git"),
            p("usetimestamps", BOOL).yes(),
            p("category", any_of(&[STR, CALL, NONE])),
            p("project", OSTR).str(""),
            p("codebase", OSTR),
            p("encoding", STR).str("utf-8"),
            p("buildPushesWithNoCommits", BOOL).no(),
            p("only_tags", BOOL).no(),
            p("sshPrivateKey", ORSTR),
            p("sshHostKey", ORSTR),
            p("sshKnownHosts", ORSTR),
            p("auth_credentials", any_of(&[LIST, REND, NONE])),
            p("git_credentials", any_of(&[super::OBJ, NONE])).kind(Kind::Credentials),
        ],
        POLLER,
    ],
)];
