//! Query strings and paths of REST.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| buildguild_web::fuzzing::query(text));
