//! Everything that is no API: the user interface's files, `/config`, health, robots.

mod assets;
mod avatar;
mod bootstrap;
mod health;

pub(crate) use self::{
    assets::{asset, index, robots},
    avatar::avatar,
    bootstrap::config,
    health::{health_live, health_ready},
};
