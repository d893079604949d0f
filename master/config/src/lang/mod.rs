//! The language: Starlark with Buildbot's classes.
