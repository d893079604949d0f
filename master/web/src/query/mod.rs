//! The query grammar of the API, by hand: a query is decoded and parsed in one pass over its text.

mod decode;
mod spec;

pub(crate) use self::{
    decode::{decode_path_part, parameters},
    spec::{QueryError, parse_spec},
};
