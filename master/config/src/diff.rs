//! What changed between two versions of a farm config, by name. Unchanged services are not touched by
//! a reconfiguration.
//!
//! Two definitions are equal if their data are; functions are compared by path, name and place, and
//! count as changed if the files they come from changed, because their text is not part of the model.

use std::collections::BTreeMap;

use buildguild_types::farm::{
    BuilderConfig, ChangeSourceConfig, FarmConfig, ProjectConfig, SchedulerConfig, WorkerConfig,
};
use serde::Serialize;

use crate::loaded::LoadedFarm;

/// The difference in one kind of thing: names, in alphabetical order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KindDiff {
    /// Only in the new version.
    pub added: Vec<String>,
    /// Only in the old version.
    pub removed: Vec<String>,
    /// In both, defined differently.
    pub changed: Vec<String>,
    /// In both, the same.
    pub unchanged: Vec<String>,
}

impl KindDiff {
    /// True if nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn of<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &str, same: impl Fn(&T, &T) -> bool) -> Self {
        let old: BTreeMap<&str, &T> = old.iter().map(|t| (name(t), t)).collect();
        let new: BTreeMap<&str, &T> = new.iter().map(|t| (name(t), t)).collect();
        let mut diff = Self::default();
        for (key, item) in &new {
            match old.get(key) {
                None => diff.added.push((*key).to_owned()),
                Some(before) if same(before, item) => diff.unchanged.push((*key).to_owned()),
                Some(_) => diff.changed.push((*key).to_owned()),
            }
        }
        diff.removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (*key).to_owned()).collect();
        diff
    }
}

/// The difference between two versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FarmDiff {
    /// `c['workers']`
    pub workers: KindDiff,
    /// `c['builders']`
    pub builders: KindDiff,
    /// `c['schedulers']`
    pub schedulers: KindDiff,
    /// `c['change_source']`
    pub change_sources: KindDiff,
    /// `c['projects']`
    pub projects: KindDiff,
    /// Global keys that changed, by their names in the model.
    pub globals: Vec<String>,
}

impl FarmDiff {
    /// Compares two versions.
    pub fn between(old: &LoadedFarm, new: &LoadedFarm) -> Self {
        // If the text of the functions may have changed, whatever holds one has.
        let same_files = old.bundle.files == new.bundle.files
            && old.bundle.reads == new.bundle.reads
            && old.bundle.env == new.bundle.env;
        let (o, n) = (&old.farm, &new.farm);
        Self {
            workers: KindDiff::of(&o.workers, &n.workers, |w: &WorkerConfig| &w.name, |a, b| a == b),
            builders: KindDiff::of(
                &o.builders,
                &n.builders,
                |b: &BuilderConfig| &b.name,
                |a, b| a == b && (same_files || !holds_function(a)),
            ),
            schedulers: KindDiff::of(
                &o.schedulers,
                &n.schedulers,
                |s: &SchedulerConfig| &s.name,
                |a, b| a == b && (same_files || !holds_function(a)),
            ),
            change_sources: KindDiff::of(
                &o.change_sources,
                &n.change_sources,
                |s: &ChangeSourceConfig| &s.name,
                |a, b| a == b && (same_files || !holds_function(a)),
            ),
            projects: KindDiff::of(&o.projects, &n.projects, |p: &ProjectConfig| &p.name, |a, b| a == b),
            globals: globals(o, n),
        }
    }

    /// What differs, for people: `builders: added a, b; schedulers: changed c; title`.
    pub fn summary(&self) -> String {
        let kinds = [
            ("workers", &self.workers),
            ("builders", &self.builders),
            ("schedulers", &self.schedulers),
            ("change sources", &self.change_sources),
            ("projects", &self.projects),
        ];
        let mut parts = Vec::new();
        for (kind, diff) in kinds.into_iter().filter(|(_, diff)| !diff.is_empty()) {
            let changes: Vec<String> = [("added", &diff.added), ("changed", &diff.changed), ("removed", &diff.removed)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(verb, names)| format!("{verb} {}", listed(names)))
                .collect();
            parts.push(format!("{kind}: {}", changes.join(", ")));
        }
        if !self.globals.is_empty() {
            parts.push(format!("changed {}", listed(&self.globals)));
        }
        if parts.is_empty() { "only what functions are made of".to_owned() } else { parts.join("; ") }
    }

    /// True if nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
            && self.builders.is_empty()
            && self.schedulers.is_empty()
            && self.change_sources.is_empty()
            && self.projects.is_empty()
            && self.globals.is_empty()
    }
}

/// The first names, and how many there are beyond.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// True if a definition refers to a function of the config.
fn holds_function(definition: &impl Serialize) -> bool {
    fn search(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(fields) => {
                let reference = fields.len() == 3
                    && ["path", "name", "location"].iter().all(|f| fields.get(*f).is_some_and(|v| v.is_string()));
                reference || fields.values().any(search)
            }
            serde_json::Value::Array(items) => items.iter().any(search),
            _ => false,
        }
    }
    serde_json::to_value(definition).is_ok_and(|v| search(&v))
}

fn globals(old: &FarmConfig, new: &FarmConfig) -> Vec<String> {
    let fields = |farm: &FarmConfig| match serde_json::to_value(farm) {
        Ok(serde_json::Value::Object(mut fields)) => {
            for key in ["workers", "builders", "schedulers", "change_sources", "projects"] {
                fields.remove(key);
            }
            fields
        }
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(old), fields(new));
    let mut changed: Vec<String> =
        new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, _)| key.clone()).collect();
    changed.sort();
    changed
}
