//! Requests and responses: each is answered once, whatever happens.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use worker_protocol::rpc::{self, RpcOptions};
use worker_protocol::{
    FrameSocket, Inbound, MasterRequest, Requests, Response, Rpc, RpcError, Value, WireRequest, WorkerRequest,
};

type Master = (Rpc<MasterRequest>, Requests<WorkerRequest>);

/// A master's end, and the raw frames of the other.
fn master(capacity: usize) -> (Master, FrameSocket) {
    let (socket, raw) = FrameSocket::pair("test", capacity);
    (rpc::split(socket, RpcOptions { max_open_requests: 2 }), raw)
}

fn decode(frame: &Bytes) -> Inbound<MasterRequest> {
    Inbound::decode(frame).unwrap()
}

fn print(text: &str) -> MasterRequest {
    MasterRequest::Print { message: text.to_owned() }
}

#[tokio::test]
async fn responses_in_any_order_find_their_requests() {
    let ((rpc, mut requests), mut raw) = master(8);
    let reader = tokio::spawn(async move { requests.next().await.map(|r| r.is_some()) });
    let first = rpc.send(&print("a")).await.unwrap();
    let second = rpc.send(&print("b")).await.unwrap();
    for (seq, text) in [(0, "a"), (1, "b")] {
        let expected = Inbound::Request { seq_number: seq, request: print(text) };
        assert_eq!(decode(&raw.incoming.recv().await.unwrap()), expected);
    }
    for (seq, result) in [(1, Ok(Value::from(11))), (0, Err("no".to_owned()))] {
        raw.outgoing.send(Response { seq_number: seq, result }.encode()).await.unwrap();
    }
    assert_eq!(second.result().await.unwrap(), Value::from(11));
    assert!(matches!(first.result().await, Err(RpcError::Remote(text)) if text == "no"));
    drop(raw);
    assert!(!reader.await.unwrap().unwrap());
    assert!(matches!(rpc.call(&print("late")).await, Err(RpcError::Closed)));
}

#[tokio::test]
async fn only_so_many_requests_are_open_at_once() {
    let ((rpc, mut requests), mut raw) = master(8);
    let reader = tokio::spawn(async move { requests.next().await.map(|_| ()) });
    let _a = rpc.send(&print("a")).await.unwrap();
    // Dropped: the answer must come all the same before another may go.
    drop(rpc.send(&print("b")).await.unwrap());
    let third = print("c");
    let mut third = std::pin::pin!(rpc.send(&third));
    assert!(futures::poll!(third.as_mut()).is_pending());
    raw.outgoing.send(Response { seq_number: 1, result: Ok(Value::Nil) }.encode()).await.unwrap();
    third.await.unwrap();
    for _ in 0..3 {
        raw.incoming.recv().await.unwrap();
    }
    drop(raw);
    reader.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_response_that_was_not_asked_for_ends_the_connection() {
    let ((rpc, mut requests), raw) = master(8);
    raw.outgoing.send(Response { seq_number: 5, result: Ok(Value::Nil) }.encode()).await.unwrap();
    assert!(matches!(requests.next().await, Err(RpcError::UnknownResponse(5))));
    assert!(rpc.is_closed());
}

#[tokio::test]
async fn garbage_ends_the_connection() {
    let ((rpc, mut requests), raw) = master(8);
    raw.outgoing.send(Bytes::from_static(b"\xc1nonsense")).await.unwrap();
    assert!(matches!(requests.next().await, Err(RpcError::Malformed(_))));
    rpc.closed().await;
}

#[tokio::test]
async fn every_request_is_answered_once() {
    let ((_rpc, mut requests), mut raw) = master(8);
    let update = WorkerRequest::UploadFileClose { command_id: "1".into() };
    for seq in 0..3 {
        raw.outgoing.send(update.encode(seq)).await.unwrap();
    }
    requests.next().await.unwrap().unwrap().responder.ok(Value::from("fine")).await;
    requests.next().await.unwrap().unwrap().responder.error("bad").await;
    // Forgotten: answered all the same.
    drop(requests.next().await.unwrap().unwrap());
    let mut answers = Vec::new();
    for _ in 0..3 {
        match decode(&raw.incoming.recv().await.unwrap()) {
            Inbound::Response(response) => answers.push((response.seq_number, response.result)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(
        answers,
        [(0, Ok(Value::from("fine"))), (1, Err("bad".to_owned())), (2, Err("request was dropped".to_owned()))]
    );
}

#[tokio::test]
async fn an_unknown_request_is_answered_without_bothering_anyone() {
    let ((_rpc, mut requests), mut raw) = master(8);
    // A master's request sent to a master.
    raw.outgoing.send(MasterRequest::Keepalive.encode(9)).await.unwrap();
    drop(raw.outgoing);
    assert!(requests.next().await.unwrap().is_none());
    let Inbound::Response(response) = decode(&raw.incoming.recv().await.unwrap()) else { panic!("no response") };
    assert_eq!(response, Response { seq_number: 9, result: Err("Command keepalive does not exist.".to_owned()) });
}

#[tokio::test]
async fn closing_fails_what_waits() {
    let ((rpc, requests), raw) = master(8);
    let pending = rpc.send(&print("a")).await.unwrap();
    drop(requests);
    assert!(matches!(pending.result().await, Err(RpcError::Closed)));
    assert!(matches!(rpc.send(&print("b")).await, Err(RpcError::Closed)));
    drop(raw);
}
