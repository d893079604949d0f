//! `c['change_source']` and change filters.

use buildguild_types::farm::{
    BranchSelection, ChangeFilter, ChangeSourceConfig, ChangeSourceKind, GitPollerConfig, StringMatch,
};
use buildguild_types::render::Renderable;

use super::Lower;
use crate::lang::{Node, ObjectNode};

impl Lower<'_> {
    pub(super) fn change_source(&self, o: &ObjectNode) -> Option<ChangeSourceConfig> {
        let repourl = self.required_renderable(o, "repourl");
        self.unavailable(o, &["sshPrivateKey", "sshHostKey", "sshKnownHosts", "auth_credentials", "git_credentials"]);
        let branches = self.branches(o);
        let name = self.opt_str(o, "name").unwrap_or_else(|| default_name(&repourl));
        if name.is_empty() {
            return None;
        }
        let poll_interval = if o.arg("pollinterval").is_some() { "pollinterval" } else { "pollInterval" };
        let delay_min = self.seconds(o, "pollRandomDelayMin").unwrap_or(0);
        let delay_max = self.seconds(o, "pollRandomDelayMax").unwrap_or(0);
        if delay_min > delay_max {
            self.report.argument(
                o,
                "pollRandomDelayMin",
                "GitPoller: `pollRandomDelayMin` must not be above `pollRandomDelayMax`",
                None,
            );
        }
        let interval = self.float(o, poll_interval).unwrap_or(600.0);
        if self.float(o, "pollRandomDelayMax").is_some_and(|max| max > 0.0 && max >= interval) {
            self.report.argument(
                o,
                "pollRandomDelayMax",
                "GitPoller: `pollRandomDelayMax` must be less than `pollInterval`",
                None,
            );
        }
        Some(ChangeSourceConfig {
            name,
            kind: ChangeSourceKind::Git(Box::new(GitPollerConfig {
                repourl,
                branches,
                only_tags: self.bool(o, "only_tags"),
                workdir: self.opt_str(o, "workdir"),
                gitbin: self.str(o, "gitbin"),
                use_timestamps: self.bool(o, "usetimestamps"),
                category: self.or_callable(o, "category"),
                project: self.str(o, "project"),
                codebase: self.opt_str(o, "codebase"),
                encoding: self.str(o, "encoding"),
                build_pushes_with_no_commits: self.bool(o, "buildPushesWithNoCommits"),
                poll_interval_secs: self.seconds(o, poll_interval).unwrap_or(600),
                poll_at_launch: self.bool(o, "pollAtLaunch"),
                poll_random_delay_min_secs: delay_min,
                poll_random_delay_max_secs: delay_max,
            })),
        })
    }

    fn branches(&self, o: &ObjectNode) -> BranchSelection {
        let single = self.opt_str(o, "branch");
        if single.is_some() && o.arg("branches").is_some() {
            self.report.argument(o, "branch", "GitPoller: give `branch` or `branches`, not both", None);
        }
        if self.bool(o, "only_tags") {
            for argument in ["branch", "branches"] {
                if o.arg(argument).is_some() {
                    let message = format!("GitPoller: give `only_tags` or `{argument}`, not both");
                    self.report.argument(o, argument, message, None);
                }
            }
        }
        if let Some(Node::Bool(false)) = o.arg("branches") {
            let message = "GitPoller: argument `branches` must be a list, True or a function, not False";
            self.report.argument(o, "branches", message, None);
        }
        match o.arg("branches") {
            Some(Node::Call(c)) => BranchSelection::Callable(c.clone()),
            Some(Node::Bool(true)) => BranchSelection::All,
            Some(node @ Node::List(_)) => BranchSelection::List(super::builders::string_list(node)),
            _ => match single {
                Some(branch) => BranchSelection::List(vec![branch]),
                None => BranchSelection::Default,
            },
        }
    }

    pub(super) fn change_filter(&self, o: &ObjectNode) -> ChangeFilter {
        let mut filter = ChangeFilter {
            project: self.string_match(o, "project"),
            repository: self.string_match(o, "repository"),
            branch: self.string_match(o, "branch"),
            category: self.string_match(o, "category"),
            codebase: self.string_match(o, "codebase"),
            filter_fn: self.callable(o, "filter_fn"),
            ..ChangeFilter::default()
        };
        for (argument, field) in
            [("property_eq", 0), ("property_not_eq", 1), ("property_re", 2), ("property_not_re", 3)]
        {
            let Some(Node::Dict(entries)) = o.arg(argument) else {
                continue;
            };
            for (k, v) in entries {
                let Node::Str(name) = k else {
                    continue;
                };
                let matching = filter.properties.entry(name.clone()).or_default();
                match field {
                    0 => matching.eq = Some(optional_strings(v)),
                    1 => matching.not_eq = Some(optional_strings(v)),
                    2 => matching.re = Some(self.patterns(o, argument, v)),
                    _ => matching.not_re = Some(self.patterns(o, argument, v)),
                }
            }
        }
        filter
    }

    fn string_match(&self, o: &ObjectNode, attribute: &str) -> StringMatch {
        // `branch=None` is a condition: the default branch. For other attributes None is no condition.
        let none_counts = attribute == "branch" && o.is_given(attribute);
        let re = format!("{attribute}_re");
        let not_re = format!("{attribute}_not_re");
        StringMatch {
            eq: match o.arg(attribute) {
                Some(node) => Some(optional_strings(node)),
                None if none_counts => Some(vec![None]),
                None => None,
            },
            not_eq: o.arg(&format!("{attribute}_not_eq")).map(optional_strings),
            re: o.arg(&re).map(|n| self.patterns(o, &re, n)),
            not_re: o.arg(&not_re).map(|n| self.patterns(o, &not_re, n)),
            function: self.callable(o, &format!("{attribute}_fn")),
        }
    }

    fn patterns(&self, o: &ObjectNode, argument: &str, node: &Node) -> Vec<String> {
        let patterns = super::builders::string_list(node);
        for pattern in &patterns {
            self.check_regex(o, argument, pattern);
        }
        patterns
    }

    /// Reports a regular expression that cannot be used.
    pub(super) fn check_regex(&self, o: &ObjectNode, argument: &str, pattern: &str) {
        if let Err(e) = regex::Regex::new(pattern) {
            let why = e.to_string();
            let why = why.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            self.report.argument(
                o,
                argument,
                format!("{}: argument `{argument}` is no regular expression: {why}", o.class.name),
                Some("look-around and back-references cannot be had".to_owned()),
            );
        }
    }
}

/// Strings, with None for "no value".
fn optional_strings(node: &Node) -> Vec<Option<String>> {
    match node {
        Node::List(items) => items
            .iter()
            .filter_map(|n| match n {
                Node::Str(s) => Some(Some(s.clone())),
                Node::Null => Some(None),
                _ => None,
            })
            .collect(),
        Node::Str(s) => vec![Some(s.clone())],
        Node::Bool(b) => vec![Some(if *b { "True" } else { "False" }.to_owned())],
        Node::Int(i) => vec![Some(i.to_string())],
        Node::Float(f) => vec![Some(f.to_string())],
        Node::Null => vec![None],
        Node::Dict(_) | Node::Object(_) | Node::Call(_) | Node::Placeholder | Node::Other(_) => Vec::new(),
    }
}

/// The name of a poller that was not given one: its URL, as Buildbot has it.
fn default_name(repourl: &Renderable) -> String {
    repourl.as_str().unwrap_or("GitPoller").to_owned()
}
