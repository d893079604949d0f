//! Frames of WebSocket clients.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| buildguild_web::fuzzing::websocket_frame(frame));
