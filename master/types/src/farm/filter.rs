//! Change filters, compiled and matched.
//!
//! What can be decided from the data is decided here; functions of the configuration are left to the caller, who has
//! the evaluators: a filter that comes down to them answers with the calls to make, all of which must say yes.

use regex::Regex;
use serde_json::Value;

use super::{ChangeFilter, StringMatch};
use crate::{render::CallableRef, resources::Change};

/// A change filter whose regular expressions are compiled.
#[derive(Debug, Clone)]
pub struct CompiledFilter {
    attributes: Vec<(Attribute, CompiledMatch)>,
    function: Option<CallableRef>,
}

/// Which value of a change is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Attribute {
    Project,
    Repository,
    Branch,
    Category,
    Codebase,
    Property(String),
}

#[derive(Debug, Clone)]
struct CompiledMatch {
    eq: Option<Vec<Option<String>>>,
    not_eq: Option<Vec<Option<String>>>,
    re: Option<Vec<Regex>>,
    not_re: Option<Vec<Regex>>,
    function: Option<CallableRef>,
}

/// What a filter says about a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It does not match.
    No,
    /// It matches.
    Yes,
    /// It matches if all of these functions, called with these arguments, return something true.
    Ask(Vec<(CallableRef, Value)>),
}

/// A regular expression of a filter that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("compile the regular expression '{pattern}'")]
pub struct FilterError {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

impl CompiledFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// If one of its regular expressions cannot be understood.
    pub fn new(filter: &ChangeFilter) -> Result<Self, FilterError> {
        let mut attributes = Vec::new();
        let named = [
            (Attribute::Project, &filter.project),
            (Attribute::Repository, &filter.repository),
            (Attribute::Branch, &filter.branch),
            (Attribute::Category, &filter.category),
            (Attribute::Codebase, &filter.codebase),
        ];
        let properties = filter.properties.iter().map(|(name, m)| (Attribute::Property(name.clone()), m));
        for (attribute, condition) in named.into_iter().chain(properties) {
            if *condition != StringMatch::default() {
                attributes.push((attribute, CompiledMatch::new(condition)?));
            }
        }
        Ok(Self { attributes, function: filter.filter_fn.clone() })
    }

    /// What the filter says about a change. The cheap conditions come first, so that functions are only asked about
    /// changes that pass the rest.
    pub fn check(&self, change: &Change) -> Verdict {
        let mut questions = Vec::new();
        for (attribute, condition) in &self.attributes {
            let value = attribute.of(change);
            if !condition.admits(value.as_deref()) {
                return Verdict::No;
            }
            if let Some(function) = &condition.function {
                questions.push((function.clone(), value.map_or(Value::Null, Value::from)));
            }
        }
        if let Some(function) = &self.function {
            questions.push((function.clone(), change_view(change)));
        }
        if questions.is_empty() { Verdict::Yes } else { Verdict::Ask(questions) }
    }
}

/// A change as functions of the configuration see it: the API's fields, and the names that Buildbot's `Change` has.
pub fn change_view(change: &Change) -> Value {
    let mut view = serde_json::json!(change);
    if let Some(fields) = view.as_object_mut() {
        fields.insert("who".to_owned(), change.author.as_str().into());
        fields.insert("when".to_owned(), change.when_timestamp.secs().into());
        fields.insert("number".to_owned(), change.changeid.get().into());
    }
    view
}

impl Attribute {
    fn of(&self, change: &Change) -> Option<String> {
        match self {
            Self::Project => Some(change.project.clone()),
            Self::Repository => Some(change.repository.clone()),
            Self::Branch => change.branch.clone(),
            Self::Category => change.category.clone(),
            Self::Codebase => Some(change.codebase.clone()),
            Self::Property(name) => match change.properties.value(name)? {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            },
        }
    }
}

impl CompiledMatch {
    fn new(condition: &StringMatch) -> Result<Self, FilterError> {
        Ok(Self {
            eq: condition.eq.clone(),
            not_eq: condition.not_eq.clone(),
            re: condition.re.as_deref().map(compile).transpose()?,
            not_re: condition.not_re.as_deref().map(compile).transpose()?,
            function: condition.function.clone(),
        })
    }

    /// Whether the conditions other than the function hold. A regular expression sees no value as an empty text.
    fn admits(&self, value: Option<&str>) -> bool {
        let listed = |list: &[Option<String>]| list.iter().any(|v| v.as_deref() == value);
        let matched = |list: &[Regex]| list.iter().any(|r| r.is_match(value.unwrap_or("")));
        self.eq.as_deref().is_none_or(listed)
            && !self.not_eq.as_deref().is_some_and(listed)
            && self.re.as_deref().is_none_or(matched)
            && !self.not_re.as_deref().is_some_and(matched)
    }
}

/// As Python's `re.match`: at the start, not necessarily to the end.
fn compile(patterns: &[String]) -> Result<Vec<Regex>, FilterError> {
    patterns
        .iter()
        .map(|pattern| {
            Regex::new(&format!("^(?:{pattern})")).map_err(|source| FilterError { pattern: pattern.clone(), source })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        ids::{ChangeId, SourceStampId},
        properties::Properties,
        resources::SourceStamp,
        time::Timestamp,
    };

    fn change(branch: Option<&str>, project: &str, category: Option<&str>) -> Change {
        let mut properties = Properties::new();
        properties.set("event", "push", "Change");
        properties.set("count", 3, "Change");
        Change {
            changeid: ChangeId(1),
            author: "a".to_owned(),
            committer: None,
            comments: String::new(),
            branch: branch.map(str::to_owned),
            revision: None,
            revlink: None,
            repository: "repo".to_owned(),
            project: project.to_owned(),
            codebase: String::new(),
            category: category.map(str::to_owned),
            files: Vec::new(),
            when_timestamp: Timestamp::from_secs(0),
            parent_changeids: Vec::new(),
            properties,
            sourcestamp: SourceStamp {
                ssid: SourceStampId(1),
                branch: None,
                revision: None,
                repository: String::new(),
                project: String::new(),
                codebase: String::new(),
                created_at: Timestamp::from_secs(0),
                patch: None,
            },
        }
    }

    fn check(filter: &ChangeFilter, change: &Change) -> Verdict {
        CompiledFilter::new(filter).expect("it compiles").check(change)
    }

    fn eq(values: &[Option<&str>]) -> StringMatch {
        let values = values.iter().map(|v| v.map(str::to_owned)).collect();
        StringMatch { eq: Some(values), ..StringMatch::default() }
    }

    #[test]
    fn an_empty_filter_matches_everything() {
        assert_eq!(check(&ChangeFilter::default(), &change(None, "", None)), Verdict::Yes);
    }

    #[test]
    fn none_is_the_default_branch_and_not_an_empty_one() {
        let filter = ChangeFilter { branch: eq(&[None, Some("main")]), ..ChangeFilter::default() };
        assert_eq!(check(&filter, &change(None, "", None)), Verdict::Yes);
        assert_eq!(check(&filter, &change(Some("main"), "", None)), Verdict::Yes);
        assert_eq!(check(&filter, &change(Some(""), "", None)), Verdict::No);
    }

    #[test]
    fn expressions_match_at_the_start() {
        let re = |re: &str| StringMatch { re: Some(vec![re.to_owned()]), ..StringMatch::default() };
        let filter = ChangeFilter { project: re("a|b"), ..ChangeFilter::default() };
        assert_eq!(check(&filter, &change(None, "bx", None)), Verdict::Yes);
        assert_eq!(check(&filter, &change(None, "xb", None)), Verdict::No);
        let bad = ChangeFilter { project: re("("), ..ChangeFilter::default() };
        assert!(CompiledFilter::new(&bad).is_err());
    }

    #[test]
    fn properties_compare_as_texts() {
        let mut filter = ChangeFilter::default();
        filter.properties.insert("event".to_owned(), eq(&[Some("push")]));
        filter.properties.insert("count".to_owned(), eq(&[Some("3")]));
        assert_eq!(check(&filter, &change(None, "", None)), Verdict::Yes);
        filter.properties.insert("missing".to_owned(), eq(&[Some("x")]));
        assert_eq!(check(&filter, &change(None, "", None)), Verdict::No);
    }

    #[test]
    fn functions_are_asked_only_when_the_rest_holds() {
        let function =
            |name: &str| Some(CallableRef { path: name.to_owned(), name: name.to_owned(), location: "x:1".to_owned() });
        let filter = ChangeFilter {
            project: eq(&[Some("p")]),
            category: StringMatch { function: function("cat"), ..StringMatch::default() },
            filter_fn: function("all"),
            ..ChangeFilter::default()
        };
        assert_eq!(check(&filter, &change(None, "q", None)), Verdict::No);
        let Verdict::Ask(calls) = check(&filter, &change(None, "p", Some("c"))) else { panic!("it has to ask") };
        assert_eq!((calls[0].0.name.as_str(), &calls[0].1), ("cat", &json!("c")));
        assert_eq!((calls[1].0.name.as_str(), &calls[1].1["project"]), ("all", &json!("p")));
    }

    fn value() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[ab]{0,2}")
    }

    proptest! {
        /// The filter agrees with its definition written down naively, and a condition and its negation never agree.
        #[test]
        fn conditions_and_their_negations(
            branch in value(), category in value(), project in "[ab]{0,2}",
            list in prop::collection::vec(value(), 0..3), pattern in prop::sample::select(vec!["a", "b*$", "", "[ab]b"]),
        ) {
            let change = change(branch.as_deref(), &project, category.as_deref());
            let patterns = Some(vec![pattern.to_owned()]);
            let with = |m: StringMatch| ChangeFilter { branch: m, ..ChangeFilter::default() };
            let is = check(&with(StringMatch { eq: Some(list.clone()), ..Default::default() }), &change);
            let isnt = check(&with(StringMatch { not_eq: Some(list.clone()), ..Default::default() }), &change);
            prop_assert_eq!(is == Verdict::Yes, list.contains(&branch));
            prop_assert_ne!(is, isnt);
            let is = check(&with(StringMatch { re: patterns.clone(), ..Default::default() }), &change);
            let isnt = check(&with(StringMatch { not_re: patterns, ..Default::default() }), &change);
            prop_assert_ne!(is, isnt);
            let both = ChangeFilter { branch: eq(&[branch.as_deref()]), category: eq(&[category.as_deref()]),
                                      project: eq(&[Some(&project)]), ..ChangeFilter::default() };
            prop_assert_eq!(check(&both, &change), Verdict::Yes);
        }
    }
}
