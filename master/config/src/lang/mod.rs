//! The language: Starlark with Buildbot's classes, and Python text made into Starlark.

mod collector;
mod construct;
mod fstring;
mod helpers;
mod methods;
mod names;
mod node;
mod object;
mod sourcemap;
mod tokens;
mod translate;
