//! `cargo xtask lint`.

use anyhow::Result;

use crate::command::{self, cargo, run_quietly};
use crate::tidy;

/// Formatting, the dependencies' licences and sources, clippy, rustdoc and the project's own rules.
pub(crate) fn run() -> Result<()> {
    command::run(cargo().args(["fmt", "--all", "--check"]))?;
    tidy::check()?;
    dependencies()?;
    command::run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    command::run(cargo().env("RUSTDOCFLAGS", "-D warnings").args(["doc", "--workspace", "--no-deps", "--quiet"]))
}

/// What deny.toml says of the dependency tree, if cargo-deny is installed: it takes longer to build than all that it checks.
///
/// Advisories are left to whoever releases, since they need the network and change without a change here.
fn dependencies() -> Result<()> {
    if run_quietly(cargo().args(["deny", "--version"])).is_err() {
        eprintln!("NOT CHECKED: licences, sources and bans of the dependencies (`cargo install --locked cargo-deny`).");
        return Ok(());
    }
    let arguments = ["deny", "--log-level", "error", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    command::run(cargo().args(arguments))
}
