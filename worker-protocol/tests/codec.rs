//! The codec: what is written is read; nothing that comes from outside can make it panic or allocate without bound.

use bytes::Bytes;
use proptest::prelude::*;
use worker_protocol::codec::{Reader, Writer};
use worker_protocol::{
    CommandUpdate, DecodeError, Inbound, LogText, MasterRequest, RequestError, Response, Value, WireRequest,
    WorkerRequest,
};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("NaN equals nothing", |f| !f.is_nan()).prop_map(Value::F64),
        ".{0,40}".prop_map(|s: String| Value::from(s)),
        proptest::collection::vec(any::<u8>(), 0..400).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            proptest::collection::vec((".{0,8}", inner), 0..20)
                .prop_map(|entries| Value::Map(entries.into_iter().map(|(k, v)| (Value::from(k), v)).collect())),
        ]
    })
}

fn any_text() -> impl Strategy<Value = LogText> {
    (".{0,80}", proptest::collection::vec(any::<u32>(), 0..20), proptest::collection::vec(-1e12..1e12_f64, 0..20))
        .prop_map(|(text, positions, times)| LogText { text, positions, times })
}

fn any_update() -> impl Strategy<Value = CommandUpdate> {
    prop_oneof![
        any_text().prop_map(CommandUpdate::Stdout),
        any_text().prop_map(CommandUpdate::Stderr),
        any_text().prop_map(CommandUpdate::Header),
        (".{0,10}", any_text()).prop_map(|(name, text)| CommandUpdate::Log { name, text }),
        any::<i64>().prop_map(CommandUpdate::Rc),
        (0.0..1e9_f64).prop_map(CommandUpdate::Elapsed),
        ".{0,20}".prop_map(CommandUpdate::FailureReason),
        proptest::collection::vec(".{0,10}", 0..9).prop_map(CommandUpdate::Files),
        proptest::collection::vec(any::<i64>(), 0..12).prop_map(CommandUpdate::Stat),
        any_value().prop_map(|value| CommandUpdate::Other { key: "new_kind".to_owned(), value }),
    ]
}

proptest! {
    #[test]
    fn values_come_back(value in any_value()) {
        let mut w = Writer::new();
        w.value(&value);
        let bytes = w.finish();
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.value().unwrap(), value);
        r.finish().unwrap();
        let mut r = Reader::new(&bytes);
        prop_assert_eq!(r.skip().unwrap().len(), bytes.len());
    }

    #[test]
    fn updates_come_back(updates in proptest::collection::vec(any_update(), 0..12), seq in any::<i64>(), id in ".{1,40}") {
        let request = WorkerRequest::Update { command_id: id.as_str().into(), updates };
        let decoded = Inbound::<WorkerRequest>::decode(&request.encode(seq)).unwrap();
        prop_assert_eq!(decoded, Inbound::Request { seq_number: seq, request });
    }

    #[test]
    fn responses_come_back(value in any_value(), error in proptest::option::of(".{0,40}"), seq in any::<i64>()) {
        let response = Response { seq_number: seq, result: error.map_or(Ok(value), Err) };
        let decoded = Inbound::<MasterRequest>::decode(&response.encode()).unwrap();
        prop_assert_eq!(decoded, Inbound::Response(response));
    }

    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let frame = Bytes::from(bytes);
        let _ = Inbound::<WorkerRequest>::decode(&frame);
        let _ = Inbound::<MasterRequest>::decode(&frame);
        let _ = Reader::new(&frame).value();
        let _ = Reader::new(&frame).skip();
    }

    #[test]
    fn damaged_messages_never_panic(
        updates in proptest::collection::vec(any_update(), 0..6),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let request = WorkerRequest::Update { command_id: "1".into(), updates };
        let mut bytes = request.encode(1).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let _ = Inbound::<WorkerRequest>::decode(&Bytes::from(bytes));
    }
}

#[test]
fn a_long_list_that_is_not_there_is_refused_at_once() {
    for header in [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xdb, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(Reader::new(&header).value(), Err(DecodeError::Truncated));
    }
}

#[test]
fn depth_and_count_are_limited() {
    let deep = vec![0x91; 5000];
    assert_eq!(Reader::new(&deep).value(), Err(DecodeError::TooDeep));
    assert_eq!(Reader::new(&deep).skip(), Err(DecodeError::TooDeep));
    let mut many = vec![0xdd, 0x00, 0x20, 0x00, 0x00];
    many.resize(5 + 0x20_0000, 0xc0);
    assert_eq!(Reader::new(&many).value(), Err(DecodeError::TooManyValues));
    let large = Bytes::from(vec![0xc0; worker_protocol::MAX_MESSAGE_BYTES + 1]);
    assert!(matches!(Inbound::<WorkerRequest>::decode(&large), Err(DecodeError::TooLarge(_))));
}

#[test]
fn requests_that_cannot_be_understood_get_the_stock_texts() {
    let bad = |entries: &[(&str, Value)]| {
        let mut w = Writer::new();
        w.value(&Value::Map(entries.iter().map(|(k, v)| (Value::from(*k), v.clone())).collect()));
        Inbound::<MasterRequest>::decode(&Bytes::from(w.finish())).unwrap()
    };
    let text = |inbound| match inbound {
        Inbound::BadRequest { error, .. } => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(bad(&[("op", "nope".into()), ("seq_number", 1.into())])), "Command nope does not exist.");
    assert_eq!(
        text(bad(&[("op", "interrupt_command".into()), ("seq_number", 1.into()), ("command_id", "1".into())])),
        "'message did not contain obligatory \"why\" key'"
    );
    assert!(matches!(bad(&[("op", "print".into())]), Inbound::Ignored(_)));
    assert!(matches!(bad(&[("seq_number", 1.into())]), Inbound::Ignored(_)));
    assert!(matches!(
        bad(&[("op", "print".into()), ("seq_number", 1.into()), ("message", Value::Nil)]),
        Inbound::BadRequest { error: RequestError::Malformed(_), .. }
    ));
    // Byte strings are accepted for strings, keys too.
    let mut w = Writer::new();
    w.map(3);
    for part in ["op", "print", "message", "hi"] {
        w.bin(part.as_bytes());
    }
    w.bin(b"seq_number");
    w.int(7);
    assert_eq!(
        Inbound::<MasterRequest>::decode(&Bytes::from(w.finish())).unwrap(),
        Inbound::Request { seq_number: 7, request: MasterRequest::Print { message: "hi".to_owned() } }
    );
    // A key of another type ends the connection.
    assert_eq!(Inbound::<MasterRequest>::decode(&Bytes::from_static(&[0x81, 0x01, 0x01])), Err(DecodeError::KeyType));
}
