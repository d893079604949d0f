//! Step classes: what each kind of step does on its worker.
//!
//! A step gets a [`run::StepRun`], does its work through it, and gives a result. What all steps have in common (when
//! they run, how their result counts, what becomes of an error) is the build's.

pub(crate) mod arguments;
pub(crate) mod command;
mod error;
mod function;
mod git;
mod run;
mod set_property;
mod set_property_from_command;
mod shell;
pub(crate) mod transfer;

use buildguild_types::farm::StepKind;
use buildguild_types::resources::LogKind;
use buildguild_types::results::Results;

pub(crate) use error::StepError;
pub(crate) use run::{StepRun, TestSet};

/// The logs that a step of this kind has from its start.
pub(crate) const fn first_logs(action: &StepKind) -> &'static [(&'static str, LogKind)] {
    match action {
        StepKind::Shell(_) | StepKind::Git(_) | StepKind::SetPropertyFromCommand(_) => &[("stdio", LogKind::Stream)],
        StepKind::SetProperty { .. } | StepKind::SetProperties { .. } | StepKind::Function { .. } => &[],
    }
}

/// Does what the step is for.
pub(crate) async fn run(step: &mut StepRun<'_>) -> Result<Results, StepError> {
    let config = step.config;
    match &config.action {
        StepKind::Shell(shell) => shell::run(step, shell).await,
        StepKind::Git(git) => git::run(step, git).await,
        StepKind::SetProperty { property, value } => set_property::one(step, property, value).await,
        StepKind::SetProperties { properties } => set_property::many(step, properties).await,
        StepKind::SetPropertyFromCommand(command) => set_property_from_command::run(step, command).await,
        StepKind::Function { run, args } => function::run(step, run, args).await,
    }
}

/// What a step that is not run calls itself.
pub(crate) async fn describe(step: &StepRun<'_>) -> Option<String> {
    match &step.config.action {
        StepKind::Shell(config) => shell::describe(step, &config.command).await,
        StepKind::SetPropertyFromCommand(config) => shell::describe(step, &config.shell.command).await,
        StepKind::Git(_) => Some("update".to_owned()),
        StepKind::SetProperty { .. } | StepKind::SetProperties { .. } | StepKind::Function { .. } => None,
    }
}
