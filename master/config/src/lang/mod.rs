//! The language: Starlark with Buildbot's classes, and Python text made into Starlark.

mod call;
mod collector;
mod construct;
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
mod tests;

pub(crate) use call::Limits;
pub(crate) use load::{Program, evaluate};
pub(crate) use node::{Node, ObjectNode, Reporter};
