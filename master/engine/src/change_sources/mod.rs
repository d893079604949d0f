//! Change sources: what watches the outside world and adds changes.
//!
//! Each source is a singleton: it runs on the one replica that holds its lease (see [`crate::singletons`]). What it
//! remembers between polls is in the database, written in the transaction that adds the changes.

pub(crate) mod git;
pub(crate) mod revlink;
