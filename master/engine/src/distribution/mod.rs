//! Distribution: which waiting requests start now, on which workers of this replica.
//!
//! A wake-up looks only at builders that have a free worker here, and of each queue only at the head, so that its work
//! depends on what can start and not on what waits. All requests that can start are claimed in one transaction; what
//! another replica was faster with is simply not ours.
//!
//! Functions of the configuration are asked in tasks of their own, so that one that hangs holds up nobody but its
//! builder.

mod aside;
mod choose;
pub(crate) mod collapse;
mod collapser;
pub mod handover;
mod lanes;
mod order;
mod pass;
mod question;
mod service;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_functions;
mod troubles;
mod views;

pub(crate) use service::Distributor;
