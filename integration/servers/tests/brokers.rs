//! The throwaway brokers come up, keep what they were told over a kill, forget it when wiped, and go away.

use test_servers::{RabbitMq, Redis};

#[test]
fn redis_keeps_its_data_over_a_kill_and_loses_it_when_wiped() {
    let mut redis = Redis::start().expect("starts");
    redis.command(&["SET", "k", "v"]).expect("sets");
    redis.kill();
    redis.restart().expect("starts again");
    assert_eq!(redis.command(&["GET", "k"]).expect("gets").trim(), "v");
    redis.wipe().expect("wipes");
    assert_eq!(redis.command(&["GET", "k"]).expect("gets").trim(), "");
    let process = format!("/proc/{}", redis.pid().expect("it runs"));
    drop(redis);
    assert!(!std::path::Path::new(&process).exists(), "{process} is still there");
}

#[test]
fn rabbitmq_answers_and_ends_with_its_owner() {
    let mut rabbitmq = RabbitMq::start().expect("starts");
    rabbitmq.wipe().expect("starts again, empty");
    let process = format!("/proc/{}", rabbitmq.pid().expect("it runs"));
    let program = std::fs::read_to_string(format!("{process}/comm")).expect("a process");
    assert!(program.contains("beam"), "the id is the server's own, not a script's: {program}");
    drop(rabbitmq);
    assert!(!std::path::Path::new(&process).exists(), "{process} is still there");
}
