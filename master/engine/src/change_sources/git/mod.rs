//! `GitPoller`: asks a Git repository, from time to time, what is new.

pub(crate) mod command;
pub(crate) mod history;
pub(crate) mod mirror;
pub(crate) mod poll;
pub(crate) mod poller;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_takeover;
