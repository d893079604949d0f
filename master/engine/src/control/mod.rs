//! Control: what users ask of the farm, and the fulfilment of what only the owner of an object can do.
//!
//! A call is carried out in the database: either at once (a queued request is cancelled, a worker is paused), or as a
//! wish (a running build is to be stopped) that the replica which holds the object fulfils. Events tell of wishes
//! early; a re-scan finds those whose events were lost.

mod calls;
mod defaults;
mod wishes;

pub use calls::Control;
pub(crate) use wishes::Fulfilment;
