//! Who makes a request, and what they may do. All control calls, sockets and streams are judged in [`access`].

pub(crate) mod access;
mod login;
mod rules;
mod session;
mod subject;
pub(crate) mod user;

pub(crate) use self::{
    login::{basic_credentials, login, logout},
    rules::Rules,
    session::SessionKey,
    user::{User, user_of},
};
