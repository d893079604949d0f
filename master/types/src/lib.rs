#![doc = include_str!("../README.md")]

pub mod control;
pub mod database_url;
pub mod event;
pub mod farm;
pub mod identifier;
pub mod ids;
pub mod interpolation;
pub mod listen;
pub mod plan;
pub mod properties;
pub mod pyrepr;
pub mod render;
pub mod resources;
pub mod results;
pub mod spec;
pub mod time;
