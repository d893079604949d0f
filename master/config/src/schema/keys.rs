//! The keys of `BuildmasterConfig`. The list is closed: any other key is an error.

use super::{BOOL, CALL, DICT, INT, LIST, NONE, OBJ, OCALL, ODICT, OSTR, REND, RSTR, STR, Shape, any_of};

/// One key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GlobalKey {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) state: KeyState,
}

/// What this version does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// It is used.
    Used,
    /// Buildbot knows it; not available here yet, so anything but nothing is an error.
    Deferred,
    /// It has no meaning here; a warning with the reason.
    Ignored(&'static str),
    /// Buildbot dropped it; an error that says what to use.
    Obsolete(&'static str),
}

use KeyState::{Deferred, Ignored, Obsolete, Used};

const fn k(name: &'static str, shape: Shape, state: KeyState) -> GlobalKey {
    GlobalKey { name, shape, state }
}

/// All keys.
pub(crate) const GLOBAL_KEYS: &[GlobalKey] = &[
    k("title", STR, Used),
    k("titleURL", STR, Used),
    k("buildbotURL", STR, Used),
    k("db", DICT, Used),
    k("db_url", RSTR, Used),
    k("mq", DICT, Used),
    k("multiMaster", BOOL, Used),
    k("protocols", DICT, Used),
    k("workers", LIST, Used),
    k("builders", LIST, Used),
    k("schedulers", LIST, Used),
    k("change_source", any_of(&[LIST, OBJ]), Used),
    k("projects", LIST, Used),
    k("codebases", LIST, Deferred),
    k("services", LIST, Used),
    k("www", DICT, Used),
    k("properties", DICT, Used),
    k("collapseRequests", any_of(&[BOOL, CALL, NONE]), Used),
    k("prioritizeBuilders", OCALL, Used),
    k("select_next_worker", OCALL, Used),
    k("codebaseGenerator", OCALL, Used),
    k("revlink", OCALL, Used),
    k("validation", DICT, Used),
    k("logCompressionLimit", any_of(&[INT, BOOL, NONE]), Used),
    k("logCompressionMethod", STR, Used),
    k("logMaxSize", any_of(&[INT, NONE]), Used),
    k("logMaxTailSize", any_of(&[INT, NONE]), Used),
    k("logEncoding", any_of(&[STR, CALL]), Used),
    k("caches", DICT, Used),
    k("secretsProviders", LIST, Deferred),
    k("machines", LIST, Deferred),
    k("configurators", LIST, Deferred),
    k("manhole", any_of(&[OBJ, NONE]), Deferred),
    k("user_managers", LIST, Deferred),
    k("metrics", ODICT, Ignored("metrics are always on; see /metrics")),
    k("buildbotNetUsageData", any_of(&[STR, CALL, NONE]), Ignored("nothing is ever sent")),
    k("changeHorizon", any_of(&[INT, NONE]), Deferred),
    k("slavePortnum", any_of(&[INT, STR]), Obsolete("use c['protocols'] = {'pb': {'port': ...}}")),
    k("slaves", LIST, Obsolete("use c['workers']")),
    k("mergeRequests", any_of(&[BOOL, CALL, NONE]), Obsolete("use c['collapseRequests']")),
    k("status", LIST, Ignored("use c['services'] and c['www']")),
    k("projectName", OSTR, Obsolete("use c['title']")),
    k("projectURL", OSTR, Obsolete("use c['titleURL']")),
    k("db_poll_interval", any_of(&[INT, NONE]), Obsolete("masters hear of each other through the broker")),
    k("debugPassword", OSTR, Obsolete("there is no debug client any more")),
    k("eventHorizon", any_of(&[INT, NONE]), Obsolete("use util.JanitorConfigurator")),
    k("logHorizon", any_of(&[INT, NONE]), Obsolete("use util.JanitorConfigurator")),
    k("buildHorizon", any_of(&[INT, NONE]), Obsolete("use util.JanitorConfigurator")),
    k("sources", any_of(&[LIST, OBJ, REND]), Obsolete("use c['change_source']")),
    k("buildCacheSize", INT, Obsolete("use c['caches']")),
    k("changeCacheSize", INT, Obsolete("use c['caches']")),
    k("bots", ODICT, Obsolete("use c['workers']")),
];

/// The keys of `c['www']`.
pub(crate) const WWW_KEYS: &[(&str, Shape, bool)] = &[
    ("port", any_of(&[INT, STR, NONE]), true),
    ("plugins", DICT, true),
    ("default_page", OSTR, true),
    ("debug", BOOL, true),
    ("json_cache_seconds", INT, true),
    ("rest_minimum_version", any_of(&[INT, STR]), true),
    ("allowed_origins", any_of(&[LIST, NONE]), true),
    ("auth", any_of(&[OBJ, NONE]), true),
    ("authz", any_of(&[OBJ, NONE]), true),
    ("jsonp", BOOL, true),
    ("logfileName", OSTR, true),
    ("max_access_logs", any_of(&[INT, NONE]), true),
    ("cookie_expiration_time", super::ANY, true),
    ("ui_default_config", DICT, true),
    ("ws_ping_interval", INT, true),
    ("versions", LIST, true),
    ("custom_templates_dir", OSTR, true),
    ("theme", DICT, true),
    ("graphql", DICT, false),
    ("avatar_methods", any_of(&[LIST, OBJ]), false),
    ("change_hook_dialects", DICT, false),
    ("change_hook_auth", any_of(&[LIST, OBJ]), false),
];
