//! The language: Starlark with Buildbot's classes, and Python text made into Starlark.

mod call;
mod collector;
mod compare;
mod construct;
mod format;
mod fstring;
mod load;
mod methods;
mod names;
mod node;
mod object;
mod percent;
mod record;
mod sourcemap;
mod step;
mod tokens;
mod translate;
mod util_functions;

#[cfg(test)]
mod checks;
#[cfg(test)]
mod tests;

pub(crate) use call::Limits;
pub(crate) use load::{Program, evaluate};
pub(crate) use node::{Node, ObjectNode, Reporter};
