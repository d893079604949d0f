//! The wire form of events: WebSocket frames and server-sent events, made once per event and shared by all clients.

use broker_adapters::{Cursor, Delivery, Form};
use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// The first byte of an unfragmented text frame (RFC 6455, section 5.2).
const TEXT_FRAME: u8 = 0x81;

/// Appends a text frame as servers send it, unmasked.
pub(super) fn put_text_frame(out: &mut BytesMut, payload: &[u8]) {
    out.reserve(payload.len() + 10);
    out.put_u8(TEXT_FRAME);
    match payload.len() {
        len @ 0..=125 => out.put_u8(u8::try_from(len).unwrap_or(125)),
        len => match u16::try_from(len) {
            Ok(len) => {
                out.put_u8(126);
                out.put_u16(len);
            }
            Err(_) => {
                out.put_u8(127);
                out.put_u64(len as u64);
            }
        },
    }
    out.put_slice(payload);
}

/// `{"k": key, "m": body}` as a frame, with the cursor as `c` if wanted.
pub(super) fn event_frame(delivery: &Delivery, with_cursor: bool) -> Bytes {
    let form = if with_cursor { Form::WebSocketWithCursor } else { Form::WebSocket };
    delivery.rendered(form, |delivery| {
        let body = delivery.event().body.get();
        let mut text = Vec::with_capacity(body.len() + 64);
        text.extend_from_slice(b"{\"k\":");
        put_json_text(&mut text, delivery.key().as_str());
        text.extend_from_slice(b",\"m\":");
        text.extend_from_slice(body.as_bytes());
        if with_cursor {
            text.extend_from_slice(b",\"c\":");
            put_json_text(&mut text, &delivery.cursor().to_string());
        }
        text.push(b'}');
        let mut frame = BytesMut::new();
        put_text_frame(&mut frame, &text);
        frame.freeze()
    })
}

/// The record of an event without its end: the rest of the id is the client's own, see [`put_record_end`].
pub(super) fn event_record(delivery: &Delivery) -> Bytes {
    delivery.rendered(Form::Sse, |delivery| {
        let body = delivery.event().body.get();
        let mut text = Vec::with_capacity(body.len() + 96);
        text.extend_from_slice(b"event: event\ndata: {\"key\": [");
        for (n, part) in delivery.key().parts().enumerate() {
            if n > 0 {
                text.extend_from_slice(b", ");
            }
            put_json_text(&mut text, part);
        }
        text.extend_from_slice(b"], \"message\": ");
        // A line break can only stand between two tokens, where a space does as well; it would end the record.
        text.extend(body.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
        text.extend_from_slice(b"}\nid: ");
        text.extend_from_slice(delivery.cursor().to_string().as_bytes());
        text.into()
    })
}

/// Ends a record whose last line is its id. A stream with filters that were added later names itself, so that whoever
/// resumes gets them again.
pub(super) fn put_record_end(out: &mut BytesMut, session: Option<&Uuid>) {
    if let Some(session) = session {
        out.put_u8(b'~');
        out.put_slice(session.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
    }
    out.put_slice(b"\n\n");
}

/// Appends a record with an id. `data` has no line breaks.
pub(super) fn put_record(out: &mut BytesMut, event: &str, data: &str, cursor: &Cursor, session: Option<&Uuid>) {
    out.put_slice(format!("event: {event}\ndata: {data}\nid: {cursor}").as_bytes());
    put_record_end(out, session);
}

fn put_json_text(out: &mut Vec<u8>, text: &str) {
    // Writing a text to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use actix_http::ws::{Codec, Frame};
    use proptest::prelude::*;
    use tokio_util::codec::Decoder;

    use super::*;

    proptest! {
        /// A client reads what was written, whatever its length.
        #[test]
        fn frames_can_be_read(len in prop_oneof![0usize..300, 65_500usize..65_600]) {
            let payload = vec![b'x'; len];
            let mut out = BytesMut::new();
            put_text_frame(&mut out, &payload);
            let frame = Codec::new().client_mode().max_size(1 << 20).decode(&mut out).expect("well-formed");
            prop_assert_eq!(frame, Some(Frame::Text(payload.into())));
            prop_assert!(out.is_empty());
        }
    }
}
