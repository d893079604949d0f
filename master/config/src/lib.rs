//! Skeleton.
mod diagnostic;
mod lang;
pub use diagnostic::{Diagnostic, Place, Severity, render_all};
