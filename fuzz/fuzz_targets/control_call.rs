//! Bodies of control calls.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| buildguild_web::fuzzing::control_call(body));
