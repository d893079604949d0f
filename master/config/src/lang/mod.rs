//! The language: Starlark with Buildbot's classes, and Python text made into Starlark.

mod collector;
mod construct;
mod fstring;
mod helpers;
mod load;
mod methods;
mod names;
mod node;
mod object;
mod sourcemap;
mod tokens;
mod translate;

#[cfg(test)]
mod tests;

pub(crate) use load::{Evaluated, MAX_CALL_DEPTH, Program, evaluate, message_of};
pub(crate) use node::{Node, ObjectNode, Reporter};
pub(crate) use object::native;
