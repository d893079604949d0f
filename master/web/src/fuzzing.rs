//! The parsers of what clients send, for fuzzing: each takes whatever there is, and must neither panic nor hang.

use crate::query::{decode_path_part, parameters, parse_spec};

/// A query string, and the parts of a path.
pub fn query(text: &str) {
    let _ = parse_spec(text);
    let _ = parameters(text).count();
    for part in text.split('/') {
        let _ = decode_path_part(part);
    }
}

/// The body of a control call.
pub fn control_call(body: &[u8]) {
    crate::api::decode_control_call(body);
}

/// A frame of a WebSocket client.
pub fn websocket_frame(frame: &[u8]) {
    crate::live::decode_frame(frame);
}
