//! Whatever is thrown at a master, it answers or closes: no 5xx, no panic, no growing memory, and it goes on working.
//!
//! Half of what is thrown is a good message that was damaged, so that it gets past the first check. The seed is in every
//! failure; `BUILDGUILD_TEST_SEED` repeats a run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{SinkExt, StreamExt};
use integration::{DEADLINE, Database, Farm, Rest, TestCluster};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

/// Messages of each kind. A fuzzer goes on for hours (CONTRIBUTING.md); this shows that the boundary holds.
const MESSAGES: usize = 600;
/// How much larger the process may be after the second half of them than after the first: caches and fragments, but not
/// a leak of a frame or a request each.
const MAX_GROWTH_KB: u64 = 48 * 1024;
/// After so long silence is an answer, where more input could follow.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reproducible chance (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.below(max)).map(|_| self.roll().to_le_bytes()[0]).collect()
    }

    /// `good` with some of its bytes changed, removed, repeated, or cut off.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = self.roll().to_le_bytes()[0],
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.splice(at..at, self.bytes(9)).for_each(drop),
                _ => {
                    let again = bytes[at..].to_vec();
                    bytes.extend_from_slice(&again[..again.len().min(4096)]);
                }
            }
        }
        bytes
    }

    fn garbage(&mut self, good: &[&[u8]]) -> Vec<u8> {
        if self.below(4) == 0 {
            return self.bytes(2048);
        }
        let one = self.pick(good);
        self.damage(one)
    }
}

const PATHS: &[&str] = &[
    "/api/v2/builds?order=-buildid&limit=20&field=buildid&complete__eq=true",
    "/api/v2/builders/1/builds?number__eq=1&number__eq=2&property=owner",
    "/api/v2/builders/hello/builds/1/steps/0/logs/stdio/contents?offset=0&limit=5",
    "/api/v2/logs/1/raw_inline",
    "/api/v2/changes?branch__contains=m&when_timestamp__gt=12&order=author",
    "/api/v2/workers?name__in=w&connected_to__contains=1",
    "/api/v2/application.spec",
    "/api/openapi.json",
    "/sse/add/00000000-0000-4000-8000-000000000003/builds/*/*",
    "/sse/remove/x/builds/*/*",
    "/auth/login?redirect=/builders/1",
    "/avatar?email=dev%40example.org&size=32",
    "/plugins/badges/hello.svg?style=flat&left_text=x",
    "/change_hook/github",
    "/assets/index.js",
];

const HEADERS: &[&str] = &[
    "Accept: application/json",
    "Accept-Encoding: gzip, br;q=0.5, zstd",
    "Authorization: Basic ZGV2OnNlY3JldA==",
    "Cookie: TWISTED_SESSION=eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyIjoxfQ.c2ln; a=b",
    "Content-Type: application/json; charset=utf-8",
    "Content-Length: 12",
    "If-None-Match: \"abc\", W/\"def\"",
    "Last-Event-ID: 00000000-0000-4000-8000-000000000003.12.0~x",
    "Origin: https://example.org",
    "Range: bytes=0-10",
    "Transfer-Encoding: chunked",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
];

const CALLS: &[&str] = &[
    r#"{"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"builderid": "1", "reason": "x", "priority": 1}}"#,
    r#"{"jsonrpc": "2.0", "id": null, "method": "stop", "params": {"reason": "x"}}"#,
    r#"{"jsonrpc": "2.0", "id": "a", "method": "pause", "params": {}}"#,
    r#"{"jsonrpc": "2.0", "id": 1, "method": "enable", "params": {"enabled": [1e400, {"a": {"b": [[[[]]]]}}]}}"#,
];

const FRAMES: &[&str] = &[
    r#"{"_id": 1, "cmd": "ping"}"#,
    r#"{"_id": "x", "cmd": "startConsuming", "path": "builds/*/*"}"#,
    r#"{"_id": 3, "cmd": "stopConsuming", "path": "builds/*/*"}"#,
    r#"{"_id": 4, "cmd": "resume", "paths": ["builds/*/*", "steps/*/*"], "after": "g.1.0"}"#,
];

/// `{"op": "auth", "seq_number": 0, ...}` and the like, in MessagePack.
const WORKER_FRAMES: &[&[u8]] = &[
    b"\x83\xa2op\xa6update\xaaseq_number\x01\xa4args\x92\x92\xa6stdout\x93\xa3a\nb\x91\x02\x91\xcb\x40\x10\x00\x00\x00\x00\x00\x00\x92\xa2rc\x00",
    b"\x84\xa2op\xa8complete\xaaseq_number\x02\xacis_exception\xc3\xa4args\xc0",
    b"\x84\xa2op\xa8response\xaaseq_number\x00\xa6result\x81\xa7version\xa54.3.0\xacis_exception\xc2",
    b"\x82\xa2op\xa9keepalive\xaaseq_number\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff\xa2op",
    b"\xdd\xff\xff\xff\xff",
];

struct Target {
    base: Rest,
    web: u16,
    worker: u16,
    pid: u32,
    /// How often each status was seen.
    seen: Mutex<BTreeMap<u16, usize>>,
}

impl Target {
    fn resident_kb(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
    }

    /// Sends bytes over a new connection; gives the status of the answer if there is one.
    async fn raw(&self, port: u16, bytes: &[u8]) -> Result<Option<u16>> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        // It may close before it has read all.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut head = [0u8; 12];
        match timeout(PATIENCE, stream.read_exact(&mut head)).await {
            Ok(Ok(_)) => {}
            // Closed, or still waiting for the rest of a request that never comes.
            Ok(Err(_)) | Err(_) => return Ok(None),
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).context("no HTTP answer")?;
        Ok(Some(status.parse()?))
    }

    async fn http(&self, dice: &mut Dice) -> Result<()> {
        let paths: Vec<&[u8]> = PATHS.iter().map(|path| path.as_bytes()).collect();
        let headers: Vec<&[u8]> = HEADERS.iter().map(|header| header.as_bytes()).collect();
        let calls: Vec<&[u8]> = CALLS.iter().map(|call| call.as_bytes()).collect();
        let mut path = dice.garbage(&paths);
        if dice.below(3) > 0 {
            // Odd, but a target that a request line can hold.
            path.retain(|byte| byte.is_ascii_graphic());
            path.insert(0, b'/');
        }
        let method = dice.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "OPTIONS", "PUT", "get", "\u{1}"]);
        let mut request = method.as_bytes().to_vec();
        request.push(b' ');
        request.extend_from_slice(&path);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for _ in 0..dice.below(4) {
            let good = dice.pick(&headers);
            match (dice.below(8), good.iter().position(|byte| *byte == b':')) {
                (0, _) | (_, None) => request.extend(dice.garbage(&headers)),
                (1..=3, _) => request.extend_from_slice(good),
                // Only the value is odd, so that whoever reads it gets it.
                (_, Some(colon)) => {
                    request.extend_from_slice(&good[..=colon]);
                    request.extend(
                        dice.damage(&good[colon + 1..]).into_iter().filter(|byte| (b' '..=b'~').contains(byte)),
                    );
                }
            }
            request.extend_from_slice(b"\r\n");
        }
        if method == "POST" {
            let body = dice.garbage(&calls);
            request.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            request.extend_from_slice(&body);
        }
        request.extend_from_slice(b"\r\n\r\n");
        if dice.below(10) == 0 {
            request = dice.damage(&request);
        }
        self.check(self.raw(self.web, &request).await?, &request)
    }

    /// A call that is well-formed HTTP, so that the body is what is tested.
    async fn call(&self, dice: &mut Dice) -> Result<()> {
        let calls: Vec<&[u8]> = CALLS.iter().map(|call| call.as_bytes()).collect();
        let body = dice.garbage(&calls);
        let path =
            dice.pick(&["forceschedulers/force", "builds/1", "workers/w", "buildrequests/1", "nosuch", "changes"]);
        let mut request = format!(
            "POST /api/v2/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        self.check(self.raw(self.web, &request).await?, &request)
    }

    fn check(&self, status: Option<u16>, request: &[u8]) -> Result<()> {
        // 501 is what the API says about a method that it does not have.
        let is_fine = status.is_none_or(|status| status < 500 || status == 501);
        ensure!(is_fine, "status {status:?} for {}", request.escape_ascii());
        if let (Some(status), Ok(mut seen)) = (status, self.seen.lock()) {
            *seen.entry(status).or_default() += 1;
        }
        Ok(())
    }

    /// Some frames over one WebSocket; each is answered, or the connection is closed.
    async fn websocket(&self, dice: &mut Dice) -> Result<()> {
        let frames: Vec<&[u8]> = FRAMES.iter().map(|frame| frame.as_bytes()).collect();
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://127.0.0.1:{}/ws", self.web)).await?;
        for _ in 0..8 {
            let frame = dice.garbage(&frames);
            let is_text = dice.below(8) > 0;
            let message = match (is_text, String::from_utf8(frame)) {
                (true, Ok(text)) => Message::text(text),
                (_, Ok(text)) => Message::binary(text.into_bytes()),
                (_, Err(error)) => Message::binary(error.into_bytes()),
            };
            if socket.send(message).await.is_err() {
                return Ok(());
            }
            // Answers to what was understood; the connection ends at what is no object.
            match timeout(DEADLINE, socket.next()).await.context("neither an answer nor an end")? {
                Some(Ok(Message::Text(text))) => {
                    let answer: Value = serde_json::from_str(&text)?;
                    let is_answer = answer.get("code").is_some_and(Value::is_u64) || answer.get("k").is_some();
                    ensure!(is_answer, "{answer}");
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
                Some(Ok(_)) => {}
            }
        }
        Ok(())
    }

    /// Frames of somebody who knows a worker's password, and bytes of somebody who does not.
    async fn worker(&self, dice: &mut Dice) -> Result<()> {
        if dice.below(3) == 0 {
            let hello: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Basic dzpzZWNyZXQ=\r\n\r\n";
            let bytes = dice.garbage(&[hello]);
            // What is not HTTP at all is the first bytes of a WebSocket frame.
            let status = self.raw(self.worker, &bytes).await.unwrap_or_default();
            return self.check(status, &bytes);
        }
        let stream = TcpStream::connect(("127.0.0.1", self.worker)).await?;
        let url = format!("ws://127.0.0.1:{}/", self.worker);
        // Refused while the connection before it is still being taken down.
        let Ok(mut socket) = worker_protocol::socket::client::connect(stream, &url, "w", "secret").await else {
            return Ok(());
        };
        for _ in 0..8 {
            let frame = dice.garbage(WORKER_FRAMES);
            if socket.send(Message::binary(frame)).await.is_err() {
                return Ok(());
            }
        }
        // It is still read from, or was closed.
        let _ = timeout(Duration::from_millis(50), socket.next()).await;
        Ok(())
    }

    async fn round(&self, dice: &mut Dice, messages: usize) -> Result<()> {
        for n in 0..messages {
            let outcome = match n % 8 {
                0..=2 => self.http(dice).await,
                3 | 4 => self.call(dice).await,
                5 | 6 => self.websocket(dice).await,
                _ => self.worker(dice).await,
            };
            outcome.with_context(|| format!("message {n}"))?;
        }
        Ok(())
    }
}

// One master: this is about what one process takes.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_refused_and_forgotten() -> Result<()> {
    let farm = Farm::new().worker("w").worker_declared("worker.LocalWorker('local')").builder(
        "hello",
        "local",
        &["steps.ShellCommand(name='hello', command=['echo', 'hello'])"],
    );
    let cluster = TestCluster::builder().masters(1).database(Database::Sqlite).start(|_| Ok(farm.text())).await?;
    let rest = cluster.rest()?;
    let request = rest.force("hello", json!({})).await?;
    rest.builds_of_completed(request).await?;
    let master = &cluster.masters[0];
    let target = Target {
        base: rest,
        web: master.web_port(),
        worker: master.worker_port(),
        pid: master.pid().context("it runs")?,
        seen: Mutex::default(),
    };
    let seed = match std::env::var("BUILDGUILD_TEST_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(std::process::id()) << 32 | 0x9e37_79b9,
    };
    let mut dice = Dice(seed.max(1));
    let run = async {
        target.round(&mut dice, MESSAGES).await?;
        let before = target.resident_kb()?;
        target.round(&mut dice, MESSAGES).await?;
        let after = target.resident_kb()?;
        if after > before + MAX_GROWTH_KB {
            bail!("the process grew from {before} kB to {after} kB");
        }
        anyhow::Ok(())
    };
    run.await.with_context(|| format!("with BUILDGUILD_TEST_SEED={seed}\n{}", cluster.all_logs()))?;
    // Some of it was understood, some of it was not: the parsers behind the HTTP server's own were reached.
    let seen = target.seen.into_inner().unwrap_or_default();
    ensure!([200, 400, 404].iter().all(|status| seen.contains_key(status)), "{seen:?}");
    // It still does its work. Panics and errors in its log fail the test at its end.
    let request = target.base.force("hello", json!({})).await?;
    let builds = target.base.builds_of_completed(request).await?;
    ensure!(builds.len() == 1 && builds[0]["results"] == json!(0), "{builds:?}");
    Ok(())
}
