//! A large output: nothing is lost, and memory stays small however slow the master is.

use worker_protocol::{Command, CommandUpdate, MasterRequest, Value, WorkerRequest};

use crate::support::Master;

const LINE: &str = "0123456789 abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ .,:;-_#+*";

/// How many requests the worker leaves open.
const OPEN_REQUESTS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_arrive_whole_and_in_order() {
    let bytes: usize = 100_000_000;
    let mut master = Master::with_settings(|settings| settings.buffer_timeout_secs = 0.2).await;
    let before = rss_kib("VmRSS");
    let line = format!("yes '{LINE}' | head -c {bytes}");
    let mut args = master.line(&line);
    args.timeout_secs = Some(60.0);
    let started = std::time::Instant::now();
    let pending = master.start("c", &Command::Shell(args)).await;
    let (mut seen, mut lines, mut rc) = (0, 0_u64, None);
    let (mut held, mut stalled) = (Vec::new(), false);
    loop {
        let (request, responder) = master.next().await;
        match request {
            WorkerRequest::Update { updates, .. } => {
                for update in updates {
                    match update {
                        CommandUpdate::Stdout(text) => {
                            assert!(text.text.len() <= 65536 + 200);
                            for line in text.text.lines() {
                                assert!(line == LINE || seen + line.len() == bytes);
                                seen += line.len() + 1;
                                lines += 1;
                            }
                        }
                        CommandUpdate::Rc(code) => rc = Some(code),
                        _ => {}
                    }
                }
                held.push(responder);
                // A master that is slow at first: the worker leaves a number of requests open, and waits.
                if !stalled && held.len() == OPEN_REQUESTS {
                    master.rpc.call(&MasterRequest::Keepalive).await.unwrap();
                    assert!(master.requests.try_recv().is_err(), "the worker does not wait");
                    stalled = true;
                }
                if stalled {
                    for responder in held.drain(..) {
                        responder.ok(Value::Nil).await;
                    }
                }
            }
            WorkerRequest::Complete { failure, .. } => {
                assert_eq!(failure, None);
                responder.ok(Value::Nil).await;
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    pending.result().await.unwrap();
    // The unfinished last line got a newline.
    let whole = bytes + usize::from(!bytes.is_multiple_of(LINE.len() + 1));
    assert_eq!((seen, rc), (whole, Some(0)));
    let peak = rss_kib("VmHWM");
    println!("{lines} lines in {:?}; resident set before {before} KiB, peak {peak} KiB", started.elapsed());
    // Worker and master together, in this process.
    assert!(peak < 64 * 1024, "peak resident set {peak} KiB");
}

fn rss_kib(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
