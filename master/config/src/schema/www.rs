//! Classes for `c['www']`: who may do what.

use super::{ANY, BOOL, Class, DICT, Kind, LIST, OLIST, OSTR, Param, RSTR, STR, any_of, class, p};

/// Endpoint matchers and role matchers.
const MATCHERS: &[&str] = &["util"];

const MATCH: &[Param] = &[p("role", OSTR), p("defaultDeny", BOOL).yes()];

pub(super) const CLASSES: &[Class] = &[
    class("NoAuth", &["util", "www"], Kind::Auth, 0, &[]),
    class(
        "UserPasswordAuth",
        &["util", "www"],
        Kind::Auth,
        1,
        &[&[p("users", any_of(&[DICT, LIST])).of(any_of(&[RSTR, LIST])).required(), p("userInfoProvider", ANY)]],
    ),
    class(
        "Authz",
        &["util", "www"],
        Kind::Authz,
        0,
        &[&[
            p("allowRules", OLIST).of(super::OBJ).kind(Kind::EndpointMatcher),
            p("roleMatchers", OLIST).of(super::OBJ).kind(Kind::RoleMatcher),
            p("stringsMatcher", ANY),
        ]],
    ),
    class("AnyEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[MATCH]),
    class("AnyControlEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[MATCH]),
    class("ForceBuildEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[&[p("builder", OSTR)], MATCH]),
    class("StopBuildEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[&[p("builder", OSTR)], MATCH]),
    class("RebuildBuildEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[&[p("builder", OSTR)], MATCH]),
    class("EnableSchedulerEndpointMatcher", MATCHERS, Kind::EndpointMatcher, 0, &[MATCH]),
    class(
        "RolesFromUsername",
        MATCHERS,
        Kind::RoleMatcher,
        0,
        &[&[p("roles", LIST).of(STR).required(), p("usernames", LIST).of(STR).required()]],
    ),
    class("RolesFromEmails", MATCHERS, Kind::RoleMatcher, 0, &[]).kwargs(),
    class("RolesFromGroups", MATCHERS, Kind::RoleMatcher, 1, &[&[p("groupPrefix", STR).str("")]]),
    class("RolesFromOwner", MATCHERS, Kind::RoleMatcher, 1, &[&[p("role", STR).required()]]),
];
