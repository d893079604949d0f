//! What the master and an evaluator say to each other: JSON, each message with its length in four
//! bytes before it.

use std::io::{Read, Write};

use buildguild_types::farm::FarmConfig;
use buildguild_types::render::Renderable;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calls::CallArgs;
use crate::diagnostic::Diagnostic;
use crate::loaded::StepAdvance;
use crate::source::{FarmBundle, Missing};

/// The longest message. A farm of some thousand builders is a few MiB.
pub(super) const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// From the master.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// The first message: limits.
    Limits { memory_bytes: u64 },
    /// Load a version; it is kept.
    Load { hash: String, bundle: FarmBundle, timeout_ms: u64 },
    /// Call a function of a version.
    Call { hash: String, path: String, args: CallArgs, timeout_ms: u64 },
    /// Advance a step function of a version.
    Advance { hash: String, path: String, ctx: Value, journal: Vec<Value>, timeout_ms: u64 },
}

/// From the evaluator.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The limits are set.
    Ready,
    /// The version cannot be loaded yet.
    Missing(Missing),
    /// The version is loaded; if there are errors, it is not kept.
    Loaded { farm: Box<FarmConfig>, diagnostics: Vec<Diagnostic> },
    /// What the function returned.
    Returned(Renderable),
    /// What the step function wants.
    Advanced(StepAdvance),
    /// The function failed.
    Failed(String),
    /// The version is not loaded here.
    Unknown,
}

/// Writes a message.
pub(super) fn write_message(out: &mut impl Write, message: &impl Serialize) -> std::io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|l| (*l as usize) <= MAX_MESSAGE_BYTES)
        .ok_or_else(|| std::io::Error::other("the message is too long"))?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&body)?;
    out.flush()
}

/// Reads a message; nothing at the end of the stream.
pub(super) fn read_message<T: for<'de> Deserialize<'de>>(input: &mut impl Read) -> std::io::Result<Option<T>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE_BYTES {
        return Err(std::io::Error::other("the message is too long"));
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(Some(decode(&body)?))
}

/// Reads a message, by way of a tree: `starlark` switches `serde_json`'s `arbitrary_precision` on, with which numbers
/// inside tagged enums (a timer of a scheduler, say) cannot be read straight from text.
pub(super) fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    serde_json::from_value(serde_json::from_slice(body)?)
}

#[cfg(test)]
mod number_tests {
    use buildguild_types::farm::SchedulerKind;

    #[test]
    fn numbers_inside_tagged_enums_survive() {
        for timer in ["2", "2.0", "0.5"] {
            let text = format!(r#"{{"kind": "any_branch", "tree_stable_timer_secs": {timer}}}"#);
            let kind: SchedulerKind = super::decode(text.as_bytes()).expect("it is read");
            let SchedulerKind::AnyBranch(tree) = kind else { panic!("another kind") };
            assert_eq!(tree.tree_stable_timer_secs, timer.parse().ok());
        }
    }
}
