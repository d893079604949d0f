//! What functions of the config get: records made from JSON, with attributes, items and the methods
//! that Buildbot's objects have.

// The derives that the interpreter needs for its values expand to unsafe impls.
#![expect(unsafe_code, reason = "derives of the starlark crate")]

use std::fmt;

use allocative::Allocative;
use serde_json::{Map, Value as Json};
use starlark::eval::{Arguments, Evaluator};
use starlark::starlark_simple_value;
use starlark::values::dict::AllocDict;
use starlark::values::list::AllocList;
use starlark::values::{
    Heap, NoSerialize, ProvidesStaticType, StarlarkPagablePanic, StarlarkValue, Value, starlark_value,
};

use super::object::native;

/// A record: fields by name.
#[derive(Debug, Clone, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagablePanic)]
pub(crate) struct Record {
    #[allocative(skip)]
    pub(crate) fields: Map<String, Json>,
}
starlark_simple_value!(Record);

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fields.get("name").and_then(Json::as_str) {
            Some(name) => write!(f, "<{name}>"),
            None => f.write_str("<record>"),
        }
    }
}

impl Record {
    /// The properties of this thing, or of the build that it belongs to.
    fn properties(&self) -> Option<&Map<String, Json>> {
        for source in [Some(&self.fields), self.fields.get("build").and_then(Json::as_object)].into_iter().flatten() {
            if let Some(properties) = source.get("properties").and_then(Json::as_object) {
                return Some(properties);
            }
        }
        None
    }

    /// A property's value; properties are `[value, source]` pairs, or plain.
    pub(crate) fn property(&self, name: &str) -> Option<&Json> {
        self.properties()?.get(name).map(property_value)
    }

    fn field<'v>(&self, name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        let Some(value) = self.fields.get(name) else {
            return self.alias(name, heap);
        };
        // `request.properties.getProperty(...)`: the properties are a record of their own.
        if name == "properties" {
            return Some(heap.alloc(properties_record(value)));
        }
        // `step.build.getProperty(...)`: a step and its build have the same properties.
        if let (Json::Object(inner), Some(properties)) = (value, self.fields.get("properties"))
            && name == "build"
            && !inner.contains_key("properties")
        {
            let mut fields = inner.clone();
            fields.insert("properties".to_owned(), properties.clone());
            return Some(heap.alloc(Record { fields }));
        }
        Some(to_starlark(value, true, heap))
    }

    /// The entries: of a list of properties the properties, else the fields.
    fn entries<'v>(&self, heap: Heap<'v>) -> Vec<(String, Value<'v>)> {
        match self.properties() {
            Some(properties) if self.fields.len() == 1 => {
                properties.iter().map(|(k, v)| (k.clone(), to_starlark(property_value(v), false, heap))).collect()
            }
            _ => self.fields.iter().map(|(k, v)| (k.clone(), to_starlark(v, true, heap))).collect(),
        }
    }

    /// Buildbot's names for what the API calls otherwise.
    fn alias<'v>(&self, name: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        let has = |field: &str| self.fields.contains_key(field);
        let field = match name {
            // A worker of a builder and the worker are the same here.
            "worker" if has("workername") => return Some(heap.alloc(self.clone())),
            "who" => "author",
            "when" => "when_timestamp",
            "submittedAt" => "submitted_at",
            "id" if has("buildrequestid") => "buildrequestid",
            "number" if has("changeid") => "changeid",
            "buildername" if has("builder") => "builder",
            _ => return None,
        };
        self.fields.get(field).map(|value| to_starlark(value, true, heap))
    }
}

/// The value of a `[value, source]` pair.
fn property_value(property: &Json) -> &Json {
    match property.as_array().map(Vec::as_slice) {
        Some([value, Json::String(_)]) => value,
        _ => property,
    }
}

fn properties_record(value: &Json) -> Record {
    let mut fields = Map::new();
    fields.insert("properties".to_owned(), value.clone());
    Record { fields }
}

#[starlark_value(type = "record")]
impl<'v> StarlarkValue<'v> for Record {
    fn get_attr(&self, attribute: &str, heap: Heap<'v>) -> Option<Value<'v>> {
        if let Some(method) = RecordMethod::find(attribute).filter(|_| !self.fields.contains_key(attribute)) {
            return Some(heap.alloc(BoundRecordMethod { record: self.fields.clone(), method }));
        }
        self.field(attribute, heap)
    }

    fn dir_attr(&self) -> Vec<String> {
        self.fields.keys().cloned().collect()
    }

    fn at(&self, index: Value<'v>, heap: Heap<'v>) -> starlark::Result<Value<'v>> {
        let name = index.unpack_str().ok_or_else(|| native("the index of a record is a string"))?;
        if let Some(field) = self.field(name, heap) {
            return Ok(field);
        }
        if let Some(property) = self.property(name) {
            return Ok(to_starlark(property, false, heap));
        }
        Err(native(format!("there is no `{name}` in it")))
    }

    fn iterate_collect(&self, heap: Heap<'v>) -> starlark::Result<Vec<Value<'v>>> {
        Ok(self.entries(heap).into_iter().map(|(k, _)| heap.alloc(k)).collect())
    }

    fn length(&self) -> starlark::Result<i32> {
        let count = match self.properties() {
            Some(properties) if self.fields.len() == 1 => properties.len(),
            _ => self.fields.len(),
        };
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    fn is_in(&self, other: Value<'v>) -> starlark::Result<bool> {
        let name = other.unpack_str().unwrap_or("");
        Ok(self.fields.contains_key(name) || self.property(name).is_some())
    }

    fn equals(&self, other: Value<'v>) -> starlark::Result<bool> {
        use starlark::values::ValueLike as _;
        Ok(other.downcast_ref::<Record>().is_some_and(|o| o.fields == self.fields))
    }
}

/// Methods of records, as Buildbot's builds, steps, requests and property lists have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordMethod {
    GetProperty,
    HasProperty,
    GetProperties,
    GetBuild,
    GetBuilder,
    GetName,
    Get,
    AsDict,
    Keys,
    Values,
    Items,
}

impl RecordMethod {
    fn find(name: &str) -> Option<u32> {
        Some(match name {
            "getProperty" => 0,
            "hasProperty" | "has_key" => 1,
            "getProperties" => 2,
            "getBuild" => 3,
            "getBuilder" => 4,
            "getName" => 5,
            "get" => 6,
            "asDict" => 7,
            "keys" => 8,
            "values" => 9,
            "items" => 10,
            _ => return None,
        })
    }

    fn of(index: u32) -> Self {
        match index {
            0 => Self::GetProperty,
            1 => Self::HasProperty,
            2 => Self::GetProperties,
            3 => Self::GetBuild,
            4 => Self::GetBuilder,
            5 => Self::GetName,
            6 => Self::Get,
            8 => Self::Keys,
            9 => Self::Values,
            10 => Self::Items,
            _ => Self::AsDict,
        }
    }
}

/// A method with its record.
#[derive(Debug, Clone, ProvidesStaticType, Allocative, NoSerialize, StarlarkPagablePanic)]
struct BoundRecordMethod {
    #[allocative(skip)]
    record: Map<String, Json>,
    method: u32,
}
starlark_simple_value!(BoundRecordMethod);

impl fmt::Display for BoundRecordMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("method")
    }
}

#[starlark_value(type = "method")]
impl<'v> StarlarkValue<'v> for BoundRecordMethod {
    fn invoke(
        &self,
        _me: Value<'v>,
        args: &Arguments<'v, '_>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let heap = eval.heap();
        let record = Record { fields: self.record.clone() };
        let positional: Vec<Value<'v>> = args.positions(heap)?.collect();
        let named = args.names_map()?;
        let named = |name: &str| named.iter().find(|(k, _)| k.as_str() == name).map(|(_, v)| *v);
        let key = || {
            positional
                .first()
                .copied()
                .or_else(|| named("key"))
                .or_else(|| named("name"))
                .and_then(Value::unpack_str)
                .ok_or_else(|| native("a name is needed"))
        };
        let default = || positional.get(1).copied().or_else(|| named("default")).unwrap_or_else(Value::new_none);
        Ok(match RecordMethod::of(self.method) {
            RecordMethod::GetProperty => match record.property(key()?) {
                Some(value) => to_starlark(value, false, heap),
                None => default(),
            },
            RecordMethod::HasProperty => Value::new_bool(record.property(key()?).is_some()),
            RecordMethod::GetProperties => {
                heap.alloc(properties_record(&record.properties().cloned().map_or(Json::Null, Json::Object)))
            }
            RecordMethod::GetBuild => match record.fields.get("build") {
                Some(build) => to_starlark(build, true, heap),
                None => heap.alloc(record),
            },
            RecordMethod::GetBuilder => match record.fields.get("builder") {
                Some(builder) => to_starlark(builder, true, heap),
                None => Value::new_none(),
            },
            RecordMethod::GetName => record.field("name", heap).unwrap_or_else(Value::new_none),
            RecordMethod::Get => {
                let key = key()?;
                match record.field(key, heap).or_else(|| record.property(key).map(|p| to_starlark(p, false, heap))) {
                    Some(value) => value,
                    None => default(),
                }
            }
            RecordMethod::AsDict => heap.alloc(AllocDict(record.entries(heap))),
            RecordMethod::Keys => {
                let keys: Vec<String> = record.entries(heap).into_iter().map(|(k, _)| k).collect();
                heap.alloc(AllocList(keys))
            }
            RecordMethod::Values => {
                let values: Vec<Value<'v>> = record.entries(heap).into_iter().map(|(_, v)| v).collect();
                heap.alloc(AllocList(values))
            }
            RecordMethod::Items => heap.alloc(AllocList(record.entries(heap))),
        })
    }
}

/// JSON as a Starlark value; objects become records if `records`, dicts otherwise.
pub(crate) fn to_starlark<'v>(json: &Json, records: bool, heap: Heap<'v>) -> Value<'v> {
    match json {
        Json::Null => Value::new_none(),
        Json::Bool(b) => Value::new_bool(*b),
        Json::Number(n) => match n.as_i64() {
            Some(i) => heap.alloc(i),
            None => heap.alloc(n.as_f64().unwrap_or(0.0)),
        },
        Json::String(s) => heap.alloc(s.as_str()),
        Json::Array(items) => {
            let items: Vec<Value<'v>> = items.iter().map(|i| to_starlark(i, records, heap)).collect();
            heap.alloc(AllocList(items))
        }
        Json::Object(fields) if records => heap.alloc(Record { fields: fields.clone() }),
        Json::Object(fields) => {
            let entries: Vec<(String, Value<'v>)> =
                fields.iter().map(|(k, v)| (k.clone(), to_starlark(v, false, heap))).collect();
            heap.alloc(AllocDict(entries))
        }
    }
}
