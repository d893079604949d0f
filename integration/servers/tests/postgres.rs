//! The throwaway PostgreSQL comes up, answers, and goes away.

use std::process::Command;

use test_servers::Postgres;

#[test]
fn postgres_answers_and_ends_with_its_owner() {
    let postgres = Postgres::start().expect("starts");
    let output = Command::new(postgres.programs().join("psql"))
        .args([&postgres.url("postgres"), "-Atc", "select 6 * 7"])
        .output()
        .expect("psql runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "42", "{output:?}");
    let process = format!("/proc/{}", postgres.pid());
    drop(postgres);
    assert!(!std::path::Path::new(&process).exists(), "{process} is still there");
}
