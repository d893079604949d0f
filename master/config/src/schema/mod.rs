//! The classes of Buildbot's configuration language as tables: names, parameters, accepted types
//! and defaults. The Starlark side builds objects from them, `farm` gives them their meaning.

mod changes;
mod deferred;
mod keys;
mod schedulers;
mod steps;
mod util;
mod workers;
mod www;

use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use deferred::{deferred, deferred_names};
pub(crate) use keys::{GLOBAL_KEYS, KeyState, WWW_KEYS};

/// A set of accepted value shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape(pub(crate) u16);

impl Shape {
    pub(crate) const fn has(self, other: Shape) -> bool {
        self.0 & other.0 != 0
    }

    /// "a string or a list", for messages.
    pub(crate) fn describe(self) -> String {
        let names = [
            (STR, "a string"),
            (INT, "an integer"),
            (FLOAT, "a number"),
            (BOOL, "True or False"),
            (LIST, "a list"),
            (DICT, "a dict"),
            (CALL, "a function"),
            (OBJ, "an object"),
            (NONE, "None"),
        ];
        let mut parts: Vec<&str> = names.iter().filter(|(s, _)| self.has(*s)).map(|(_, n)| *n).collect();
        if self.has(INT) && self.has(FLOAT) {
            parts.retain(|p| *p != "an integer");
        }
        match parts.split_last() {
            None => "nothing".to_owned(),
            Some((last, [])) => (*last).to_owned(),
            Some((last, init)) => format!("{} or {last}", init.join(", ")),
        }
    }
}

impl std::ops::BitOr for Shape {
    type Output = Shape;
    fn bitor(self, rhs: Shape) -> Shape {
        Shape(self.0 | rhs.0)
    }
}

/// Union of shapes in a constant.
const fn any_of(shapes: &[Shape]) -> Shape {
    let mut bits = 0;
    let mut i = 0;
    while i < shapes.len() {
        bits |= shapes[i].0;
        i += 1;
    }
    Shape(bits)
}

pub(crate) const NONE: Shape = Shape(1);
pub(crate) const BOOL: Shape = Shape(2);
pub(crate) const INT: Shape = Shape(4);
pub(crate) const FLOAT: Shape = Shape(8);
pub(crate) const STR: Shape = Shape(16);
pub(crate) const LIST: Shape = Shape(32);
pub(crate) const DICT: Shape = Shape(64);
pub(crate) const CALL: Shape = Shape(128);
pub(crate) const REND: Shape = Shape(256);
pub(crate) const OBJ: Shape = Shape(512);
pub(crate) const ANY: Shape = Shape(0x3ff);
/// An integer or a float.
pub(crate) const NUM: Shape = any_of(&[INT, FLOAT]);
/// A string or None.
pub(crate) const OSTR: Shape = any_of(&[STR, NONE]);
/// A renderable string.
pub(crate) const RSTR: Shape = any_of(&[STR, REND]);
/// A renderable string or None.
pub(crate) const ORSTR: Shape = any_of(&[STR, REND, NONE]);
/// A number or None.
pub(crate) const ONUM: Shape = any_of(&[NUM, NONE]);
/// A function or None.
pub(crate) const OCALL: Shape = any_of(&[CALL, NONE]);
/// A list or None.
pub(crate) const OLIST: Shape = any_of(&[LIST, NONE]);
/// A dict or None.
pub(crate) const ODICT: Shape = any_of(&[DICT, NONE]);

/// What a class is, which decides where its objects may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Worker,
    ChangeSource,
    Scheduler,
    Builder,
    Factory,
    Step,
    Project,
    Renderable,
    ChangeFilter,
    Parameter,
    Lock,
    LockAccess,
    Service,
    Auth,
    Authz,
    EndpointMatcher,
    RoleMatcher,
    Credentials,
}

impl Kind {
    /// "a worker", for messages.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Kind::Worker => "a worker",
            Kind::ChangeSource => "a change source",
            Kind::Scheduler => "a scheduler",
            Kind::Builder => "a builder",
            Kind::Factory => "a build factory",
            Kind::Step => "a step",
            Kind::Project => "a project",
            Kind::Renderable => "a renderable",
            Kind::ChangeFilter => "a ChangeFilter",
            Kind::Parameter => "a force parameter",
            Kind::Lock => "a lock",
            Kind::LockAccess => "a lock access",
            Kind::Service => "a service",
            Kind::Auth => "an auth plug-in",
            Kind::Authz => "an Authz",
            Kind::EndpointMatcher => "an endpoint matcher",
            Kind::RoleMatcher => "a role matcher",
            Kind::Credentials => "Git credentials",
        }
    }
}

/// The default of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Default {
    Required,
    None,
    Bool(bool),
    Int(i64),
    Str(&'static str),
    EmptyList,
}

/// One parameter of a class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Accepted shapes of the elements of a list (or of the values of a dict).
    pub(crate) element: Shape,
    /// The kind that an object, or an object in the list, must have.
    pub(crate) kind: Option<Kind>,
    pub(crate) default: Default,
    /// What to use instead, if deprecated.
    pub(crate) deprecated: Option<&'static str>,
}

/// A parameter that may be left out.
pub(crate) const fn p(name: &'static str, shape: Shape) -> Param {
    Param { name, shape, element: ANY, kind: None, default: Default::None, deprecated: None }
}

impl Param {
    pub(crate) const fn required(mut self) -> Self {
        self.default = Default::Required;
        self
    }
    pub(crate) const fn of(mut self, element: Shape) -> Self {
        self.element = element;
        self
    }
    pub(crate) const fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }
    pub(crate) const fn yes(mut self) -> Self {
        self.default = Default::Bool(true);
        self
    }
    pub(crate) const fn no(mut self) -> Self {
        self.default = Default::Bool(false);
        self
    }
    pub(crate) const fn int(mut self, value: i64) -> Self {
        self.default = Default::Int(value);
        self
    }
    pub(crate) const fn str(mut self, value: &'static str) -> Self {
        self.default = Default::Str(value);
        self
    }
    pub(crate) const fn list(mut self) -> Self {
        self.default = Default::EmptyList;
        self
    }
    pub(crate) const fn instead(mut self, hint: &'static str) -> Self {
        self.deprecated = Some(hint);
        self
    }
}

/// One class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Class {
    pub(crate) name: &'static str,
    /// Where `from buildbot.plugins import *` puts it.
    pub(crate) namespaces: &'static [&'static str],
    pub(crate) kind: Kind,
    /// How many of the parameters may be given by position.
    pub(crate) positional: usize,
    /// The parameters, in groups that classes share.
    pub(crate) params: &'static [&'static [Param]],
    /// Further positional arguments are accepted.
    pub(crate) varargs: bool,
    /// Further keyword arguments are accepted.
    pub(crate) kwargs: bool,
    /// Defaults that differ from the ones of the shared groups.
    pub(crate) overrides: &'static [(&'static str, Default)],
}

impl Class {
    /// All parameters in order.
    pub(crate) fn all_params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        self.params.iter().flat_map(|g| g.iter())
    }

    /// A parameter by name.
    pub(crate) fn param(&self, name: &str) -> Option<&'static Param> {
        self.all_params().find(|p| p.name == name)
    }

    /// The default of a parameter in this class.
    pub(crate) fn default_of(&self, param: &Param) -> Default {
        self.overrides.iter().find(|(n, _)| *n == param.name).map_or(param.default, |(_, d)| *d)
    }
}

/// A class with the usual shape.
pub(crate) const fn class(
    name: &'static str,
    namespaces: &'static [&'static str],
    kind: Kind,
    positional: usize,
    params: &'static [&'static [Param]],
) -> Class {
    Class { name, namespaces, kind, positional, params, varargs: false, kwargs: false, overrides: &[] }
}

impl Class {
    pub(crate) const fn varargs(mut self) -> Self {
        self.varargs = true;
        self
    }
    pub(crate) const fn kwargs(mut self) -> Self {
        self.kwargs = true;
        self
    }
    pub(crate) const fn overrides(mut self, o: &'static [(&'static str, Default)]) -> Self {
        self.overrides = o;
        self
    }
}

/// Every class that this version knows.
pub(crate) static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    [
        workers::CLASSES,
        changes::CLASSES,
        schedulers::CLASSES,
        schedulers::PARAMETERS,
        util::CLASSES,
        util::RENDERABLES,
        steps::CLASSES,
        www::CLASSES,
    ]
    .concat()
});

static BY_NAME: LazyLock<HashMap<(&'static str, &'static str), u32>> = LazyLock::new(|| {
    let mut map = HashMap::new();
    for (i, class) in CLASSES.iter().enumerate() {
        for ns in class.namespaces {
            map.insert((*ns, class.name), u32::try_from(i).unwrap_or(u32::MAX));
        }
    }
    map
});

/// The class of that index.
pub(crate) fn class_at(index: u32) -> Option<&'static Class> {
    CLASSES.get(index as usize)
}

/// The index of a class in a namespace.
pub(crate) fn find(namespace: &str, name: &str) -> Option<u32> {
    let by_name: &HashMap<(&str, &str), u32> = &BY_NAME;
    by_name.get(&(namespace, name)).copied()
}

/// A class by its name alone, for old-style imports.
pub(crate) fn find_anywhere(name: &str) -> Option<(&'static str, u32)> {
    CLASSES
        .iter()
        .position(|c| c.name == name)
        .and_then(|i| Some((*CLASSES[i].namespaces.first()?, u32::try_from(i).ok()?)))
}

/// The namespaces that `from buildbot.plugins import *` gives.
pub(crate) const NAMESPACES: &[&str] =
    &["buildslave", "changes", "configurators", "reporters", "schedulers", "secrets", "steps", "util", "worker", "www"];
