//! Properties: names with JSON values, each with the source that set it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A property's value and who set it. Serialises as the API's `[value, source]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Property(pub Value, pub String);

impl Property {
    /// A property with the given value and source.
    pub fn new(value: impl Into<Value>, source: impl Into<String>) -> Self {
        Self(value.into(), source.into())
    }

    /// The value.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// Who set it, for example `Force Build Form` or `Builder`.
    pub fn source(&self) -> &str {
        &self.1
    }
}

/// A set of properties. A later [`Properties::set`] of the same name wins, so the caller applies them in the order of
/// precedence: global, scheduler, change, builder, worker, build, step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Properties(BTreeMap<String, Property>);

impl Properties {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a property, whatever it was before.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>, source: impl Into<String>) {
        self.0.insert(name.into(), Property::new(value, source));
    }

    /// Sets a property unless it is already there.
    pub fn set_default(&mut self, name: impl Into<String>, value: impl Into<Value>, source: impl Into<String>) {
        self.0.entry(name.into()).or_insert_with(|| Property::new(value, source));
    }

    /// Sets all of `other`, over what is there.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(name, property)| (name.clone(), property.clone())));
    }

    /// The value of a property.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(Property::value)
    }

    /// A property with its source.
    pub fn get(&self, name: &str) -> Option<&Property> {
        self.0.get(name)
    }

    /// All, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Property)> {
        self.0.iter().map(|(name, property)| (name.as_str(), property))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<(String, Property)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, Property)>>(properties: I) -> Self {
        Self(properties.into_iter().collect())
    }
}

impl IntoIterator for Properties {
    type Item = (String, Property);
    type IntoIter = std::collections::btree_map::IntoIter<String, Property>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
