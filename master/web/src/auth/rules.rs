//! The rules of `c['www']['authz']`: endpoint matchers in order, and role matchers.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{User, access::Request};
use crate::glob;

/// What a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Any,
    AnyControl,
    /// Force calls for builders of a name pattern.
    Force(Option<String>),
    /// Stops of builds of such builders.
    Stop(Option<String>),
    /// Rebuilds of builds of such builders.
    Rebuild(Option<String>),
    EnableScheduler,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    kind: Kind,
    role: Option<String>,
    default_deny: bool,
}

/// How users get roles.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RoleMatcher {
    Username {
        roles: Vec<String>,
        usernames: Vec<String>,
    },
    /// Role to addresses.
    Emails(Vec<(String, Vec<String>)>),
    Groups {
        prefix: String,
    },
    /// For who owns what the call is about.
    Owner(String),
}

/// The parsed rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    rules: Vec<Rule>,
    roles: Vec<RoleMatcher>,
}

/// The declaration, as the farm model holds it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declared {
    #[serde(default)]
    allow_rules: Vec<Map<String, Value>>,
    #[serde(default)]
    role_matchers: Vec<Map<String, Value>>,
}

/// The declaration cannot be understood; everything is denied then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand c['www']['authz']: {0}")]
pub(crate) struct RulesError(String);

fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Rules {
    /// Reads the declaration.
    pub(crate) fn parse(declared: &Value) -> Result<Self, RulesError> {
        let declared = Declared::deserialize(declared).map_err(|error| RulesError(error.to_string()))?;
        let rules = declared.allow_rules.iter().map(parse_rule).collect::<Result<_, _>>()?;
        let roles = declared.role_matchers.iter().map(parse_role_matcher).collect::<Result<_, _>>()?;
        Ok(Self { rules, roles })
    }

    /// Whether a decision on `request` depends on which builder it is about.
    pub(crate) fn needs_builder(&self, request: Request<'_>) -> bool {
        self.rules.iter().any(|rule| match &rule.kind {
            Kind::Force(Some(_)) | Kind::Stop(Some(_)) | Kind::Rebuild(Some(_)) => rule.kind.covers(request),
            Kind::Any
            | Kind::AnyControl
            | Kind::Force(_)
            | Kind::Stop(_)
            | Kind::Rebuild(_)
            | Kind::EnableScheduler => false,
        })
    }

    /// Whether roles depend on who owns what the call is about.
    pub(crate) fn needs_owner(&self) -> bool {
        self.roles.iter().any(|matcher| matches!(matcher, RoleMatcher::Owner(_)))
    }

    /// The roles of a user, for a call about something of `owner`.
    pub(crate) fn roles_of(&self, user: &User, owner: Option<&str>) -> Vec<String> {
        let User::Known(info) = user else { return Vec::new() };
        let mut roles = Vec::new();
        for matcher in &self.roles {
            match matcher {
                RoleMatcher::Username { roles: given, usernames } => {
                    if usernames.contains(&info.username) {
                        roles.extend_from_slice(given);
                    }
                }
                RoleMatcher::Emails(by_role) => {
                    let has = |emails: &[String]| info.email.as_ref().is_some_and(|email| emails.contains(email));
                    roles.extend(by_role.iter().filter(|(_, emails)| has(emails)).map(|(role, _)| role.clone()));
                }
                RoleMatcher::Groups { prefix } => {
                    roles.extend(
                        info.groups.iter().filter_map(|group| group.strip_prefix(prefix.as_str())).map(str::to_owned),
                    );
                }
                RoleMatcher::Owner(role) => {
                    if owner.is_some() && info.email.as_deref() == owner {
                        roles.push(role.clone());
                    }
                }
            }
        }
        roles
    }

    /// Decides: the first rule that matches. `Err` names the role that is missing, or `None` if no rule matches.
    pub(crate) fn decide(
        &self,
        request: Request<'_>,
        builder: Option<&str>,
        roles: &[String],
    ) -> Result<(), Option<String>> {
        let mut missing = None;
        for rule in self.rules.iter().filter(|rule| rule.kind.matches(request, builder)) {
            match &rule.role {
                // A rule without a role lets everyone.
                None => return Ok(()),
                Some(role) if roles.contains(role) => return Ok(()),
                Some(role) => {
                    missing.get_or_insert_with(|| role.clone());
                    if rule.default_deny {
                        return Err(missing);
                    }
                }
            }
        }
        match request {
            // Reading is open unless a rule says otherwise.
            Request::Read if missing.is_none() => Ok(()),
            Request::Read | Request::Control { .. } => Err(missing),
        }
    }
}

impl Kind {
    /// Whether it is about this kind of request.
    fn covers(&self, request: Request<'_>) -> bool {
        match (self, request) {
            (Self::Any, _) | (Self::AnyControl, Request::Control { .. }) => true,
            (_, Request::Read) => false,
            (Self::Force(_), Request::Control { path, method, .. }) => {
                method == "force" && path.first() == Some(&"forceschedulers")
            }
            (Self::Stop(_), Request::Control { path, method, .. }) => {
                // Cancelling a queued request is the stop of a build that has not begun.
                let is_build = path.contains(&"builds") && method == "stop";
                is_build || (matches!(path.first(), Some(&"buildrequests" | &"buildsets")) && method == "cancel")
            }
            (Self::Rebuild(_), Request::Control { path, method, .. }) => {
                path.contains(&"builds") && method == "rebuild"
            }
            (Self::EnableScheduler, Request::Control { path, method, .. }) => {
                path.contains(&"schedulers") && method == "enable"
            }
        }
    }

    fn matches(&self, request: Request<'_>, builder: Option<&str>) -> bool {
        if !self.covers(request) {
            return false;
        }
        match self {
            Self::Any | Self::AnyControl | Self::EnableScheduler => true,
            Self::Force(pattern) | Self::Stop(pattern) | Self::Rebuild(pattern) => match pattern {
                None => true,
                Some(pattern) => builder.is_some_and(|builder| glob::matches(pattern, builder, false)),
            },
        }
    }
}

fn parse_rule(object: &Map<String, Value>) -> Result<Rule, RulesError> {
    let builder = || text(object, "builder");
    let kind = match text(object, "matcher").as_deref() {
        Some("AnyEndpointMatcher") => Kind::Any,
        Some("AnyControlEndpointMatcher") => Kind::AnyControl,
        Some("ForceBuildEndpointMatcher") => Kind::Force(builder()),
        Some("StopBuildEndpointMatcher") => Kind::Stop(builder()),
        Some("RebuildBuildEndpointMatcher") => Kind::Rebuild(builder()),
        Some("EnableSchedulerEndpointMatcher") => Kind::EnableScheduler,
        other => return Err(RulesError(format!("unknown rule {}", other.unwrap_or("without a class")))),
    };
    // Rules deny by default, as in Buildbot.
    let default_deny = object.get("defaultDeny").and_then(Value::as_bool).unwrap_or(true);
    Ok(Rule { kind, role: text(object, "role"), default_deny })
}

fn parse_role_matcher(object: &Map<String, Value>) -> Result<RoleMatcher, RulesError> {
    Ok(match text(object, "matcher").as_deref() {
        Some("RolesFromUsername") => {
            RoleMatcher::Username { roles: texts(object.get("roles")), usernames: texts(object.get("usernames")) }
        }
        Some("RolesFromEmails") => RoleMatcher::Emails(
            object
                .iter()
                .filter(|(name, _)| *name != "matcher")
                .map(|(role, l)| (role.clone(), texts(Some(l))))
                .collect(),
        ),
        Some("RolesFromGroups") => RoleMatcher::Groups { prefix: text(object, "groupPrefix").unwrap_or_default() },
        Some("RolesFromOwner") => RoleMatcher::Owner(
            text(object, "role").ok_or_else(|| RulesError("RolesFromOwner without a role".to_owned()))?,
        ),
        other => return Err(RulesError(format!("unknown role matcher {}", other.unwrap_or("without a class")))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::auth::user::UserInfo;

    fn user(name: &str) -> User {
        User::Known(UserInfo {
            username: name.to_owned(),
            email: Some(name.to_owned()),
            full_name: None,
            groups: vec![],
        })
    }

    fn rules(declared: Value) -> Rules {
        Rules::parse(&declared).expect("parses")
    }

    fn stock() -> Rules {
        rules(json!({
            "allowRules": [
                {"matcher": "ForceBuildEndpointMatcher", "builder": "prod*", "role": "admins"},
                {"matcher": "ForceBuildEndpointMatcher", "role": "developers"},
                {"matcher": "StopBuildEndpointMatcher", "role": "owner", "defaultDeny": false},
                {"matcher": "RebuildBuildEndpointMatcher", "builder": null, "role": "developers", "defaultDeny": true},
                {"matcher": "AnyControlEndpointMatcher", "role": "admins"},
            ],
            "roleMatchers": [
                {"matcher": "RolesFromUsername", "roles": ["admins", "developers"], "usernames": ["admin"]},
                {"matcher": "RolesFromEmails", "developers": ["dev"]},
                {"matcher": "RolesFromOwner", "role": "owner"},
            ],
        }))
    }

    fn control<'a>(path: &'a [&'a str], method: &'a str) -> Request<'a> {
        Request::Control { path, method, params: None }
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let rules = stock();
        let developer = rules.roles_of(&user("dev"), None);
        let admin = rules.roles_of(&user("admin"), None);
        let force = control(&["forceschedulers", "f"], "force");
        assert!(rules.needs_builder(force));
        assert_eq!(rules.decide(force, Some("tests"), &developer), Ok(()));
        assert_eq!(rules.decide(force, Some("prod-1"), &developer), Err(Some("admins".to_owned())));
        assert_eq!(rules.decide(force, Some("prod-1"), &admin), Ok(()));
        assert_eq!(
            rules.decide(force, None, &rules.roles_of(&User::Anonymous, None)),
            Err(Some("developers".to_owned()))
        );
        let pause = control(&["workers", "1"], "pause");
        assert_eq!(rules.decide(pause, None, &developer), Err(Some("admins".to_owned())));
        assert_eq!(rules.decide(Request::Read, None, &[]), Ok(()));
    }

    #[test]
    fn owners_may_stop_and_others_fall_through() {
        let rules = stock();
        let stop = control(&["builds", "1"], "stop");
        assert_eq!(rules.decide(stop, None, &rules.roles_of(&user("dev"), Some("dev"))), Ok(()));
        assert_eq!(rules.decide(stop, None, &rules.roles_of(&user("dev"), Some("x"))), Err(Some("owner".to_owned())));
        assert_eq!(rules.decide(stop, None, &rules.roles_of(&user("admin"), Some("x"))), Ok(()));
    }

    #[test]
    fn what_no_rule_matches_is_denied_unless_it_reads() {
        let none = rules(json!({"allowRules": [], "roleMatchers": []}));
        assert_eq!(none.decide(control(&["builds", "1"], "stop"), None, &[]), Err(None));
        assert_eq!(none.decide(Request::Read, None, &[]), Ok(()));
        let closed = rules(json!({"allowRules": [{"matcher": "AnyEndpointMatcher", "role": "users"}]}));
        assert_eq!(closed.decide(Request::Read, None, &[]), Err(Some("users".to_owned())));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(Rules::parse(&json!({"allowRules": [{"matcher": "ViewBuildsEndpointMatcher"}]})).is_err());
        assert!(Rules::parse(&json!({"allowRules": 1})).is_err());
        assert!(Rules::parse(&json!({"roleMatchers": [{"matcher": "RolesFromOwner"}]})).is_err());
    }
}
