//! `cargo xtask lint`.

use anyhow::Result;

use crate::command::{self, cargo};
use crate::tidy;

/// Formatting, clippy, rustdoc and the project's own rules.
pub(crate) fn run() -> Result<()> {
    command::run(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::check()?;
    command::run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    command::run(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--quiet"]))
}
