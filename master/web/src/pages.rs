//! Everything that is no API: the user interface's files, `/config`, health, robots.

mod assets;
mod bootstrap;
mod health;

pub(crate) use self::{
    assets::{asset, index, robots},
    bootstrap::config,
    health::{health_live, health_ready},
};
