//! Names of running commands.

use std::sync::Arc;

/// A command's name on a worker. Workers key running commands by it for the life of their process, across
/// connections and masters, so it has to be unique for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(Arc<str>);

impl CommandId {
    /// A new id.
    #[must_use]
    pub fn unique() -> Self {
        Self(uuid::Uuid::now_v7().to_string().into())
    }

    /// The text on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for CommandId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&str> for CommandId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for CommandId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
