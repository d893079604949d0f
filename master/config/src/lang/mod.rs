//! The language: Starlark with Buildbot's classes, and Python text made into Starlark.

mod call;
mod collector;
mod construct;
mod fstring;
mod helpers;
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

#[cfg(test)]
mod tests;

pub(crate) use call::Limits;
pub(crate) use load::{Program, evaluate};
pub(crate) use node::{Node, ObjectNode, Reporter};
