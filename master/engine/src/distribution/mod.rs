//! Distribution: which waiting requests start now, on which workers of this replica.

pub mod handover;
