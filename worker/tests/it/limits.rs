//! Limits and interrupts of `shell`: reasons, signals, and that nothing of a killed command stays.

use worker_protocol::{Command, CommandUpdate, ShellArgs};

use crate::support::{Master, Told, eventually, is_alive, pid_in};

async fn run(change: impl FnOnce(&mut ShellArgs), line: &str) -> Told {
    let mut master = Master::new().await;
    let mut args = master.line(line);
    change(&mut args);
    master.run(Command::Shell(args)).await
}

#[tokio::test]
async fn silence_is_a_reason_to_kill() {
    let told = run(|args| args.timeout_secs = Some(10.0), "echo a; sleep 600").await;
    assert_eq!(told.failure_reason(), Some("timeout_without_output"));
    assert_eq!((told.rc(), told.failure.as_deref()), (Some(-1), None));
    assert_eq!(told.keys(), ["header", "stdout", "failure_reason", "header", "rc", "header", "elapsed"]);
    let expected = "\n\ncommand timed out: 10 seconds without output running b'echo a; sleep 600', attempting to kill\n\
                    process killed by signal 9\n";
    assert!(told.header().contains(expected), "{}", told.header());
}

#[tokio::test]
async fn output_that_is_not_wanted_is_no_silence() {
    let line = "for i in 1 2 3 4 5 6 7 8 9 10; do echo x; sleep 2; done";
    let told = run(
        |args| {
            args.timeout_secs = Some(15.0);
            args.want_stdout = false;
        },
        line,
    )
    .await;
    assert_eq!((told.failure_reason(), told.rc()), (None, Some(0)));
}

#[tokio::test]
async fn time_is_a_reason_to_kill() {
    let told = run(|args| args.max_time_secs = Some(1.0), "while :; do echo x; sleep 0.1; done").await;
    assert_eq!((told.failure_reason(), told.rc()), (Some("timeout"), Some(-1)));
    assert!(told.header().contains("command timed out: 1 seconds elapsed running b'while"));
}

#[tokio::test]
async fn lines_are_a_reason_to_kill() {
    let told = run(|args| args.max_lines = Some(5), "seq 1 100; sleep 30").await;
    assert_eq!((told.failure_reason(), told.rc()), (Some("max_lines_failure"), Some(-1)));
    assert_eq!(told.keys()[..4], ["header", "failure_reason", "header", "stdout"]);
    let seen: u64 = told.stdout().lines().count() as u64;
    assert!(
        told.header().contains(&format!("command exceeds max lines: {seen}/5 written/allowed running b'seq 1 100"))
    );
    // Exactly as many as are allowed.
    let told =
        run(|args| args.max_lines = Some(5), r#"printf 'a\rb\r\nc\n'; printf 'd\n' >&2; sleep 0.2; echo e"#).await;
    assert_eq!((told.failure_reason(), told.rc()), (None, Some(0)));
}

#[tokio::test]
async fn sigterm_comes_first_if_there_is_time_for_it() {
    // Long enough for the shell to get to its traps.
    let soft = |args: &mut ShellArgs| {
        args.max_time_secs = Some(10.0);
        args.sigterm_time_secs = Some(60.0);
    };
    let line = "trap 'echo got-term; exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let told = run(soft, line).await;
    assert_eq!((told.stdout().as_str(), told.rc()), ("ready\ngot-term\n", Some(7)));
    // An exit code of success is none when the worker had to kill.
    let told = run(soft, "trap 'exit 0' TERM; while :; do sleep 0.1; done").await;
    assert_eq!(told.rc(), Some(-1));
    // Ignored: the other signal follows.
    let hard = |args: &mut ShellArgs| {
        args.max_time_secs = Some(10.0);
        args.sigterm_time_secs = Some(0.5);
    };
    let told = run(hard, "trap '' TERM; echo ready; while :; do sleep 0.1; done").await;
    assert!(told.header().contains("process killed by signal 9\n"));
    assert_eq!((told.stdout().as_str(), told.rc()), ("ready\n", Some(-1)));
}

#[tokio::test]
async fn the_interrupt_signal_is_the_one_asked_for() {
    let interrupt = |args: &mut ShellArgs| {
        args.max_time_secs = Some(10.0);
        args.interrupt_signal = "INT".to_owned();
    };
    let told = run(interrupt, "trap 'echo got-int; exit 9' INT; echo ready; while :; do sleep 0.1; done").await;
    assert_eq!((told.stdout().as_str(), told.rc()), ("ready\ngot-int\n", Some(9)));
}

#[tokio::test]
async fn an_interrupt_kills_and_shows_what_there_was() {
    let mut master = Master::new().await;
    let pid_file = master.base().join("pid");
    let line = format!("trap '' TERM; echo start; sleep 600 & echo $! > {}; wait; echo never", pid_file.display());
    let pending = master.start("c", &Command::Shell(master.line(&line))).await;
    let grandchild = pid_in(&pid_file).await;
    master.interrupt("unknown").await;
    master.interrupt("c").await;
    master.interrupt("c").await;
    // The buffer leaves at once, although it is neither old nor full.
    let told = master.finish().await;
    pending.result().await.unwrap();
    assert_eq!(told.keys(), ["header", "stdout", "header", "rc", "header"]);
    assert!(told.header().contains("\n\ncommand interrupted, attempting to kill\nprocess killed by signal 9\n"));
    assert_eq!((told.rc(), told.failure.as_deref(), told.has_elapsed()), (Some(-1), None, false));
    assert!(!told.updates.iter().any(|update| matches!(update, CommandUpdate::FailureReason(_))));
    eventually("the end of the grandchild", || !is_alive(grandchild)).await;
    // Over: no error.
    master.interrupt("c").await;
}

#[tokio::test]
async fn the_whole_group_dies_also_after_a_soft_end_of_its_leader() {
    let mut master = Master::new().await;
    let pid_file = master.base().join("pid");
    // The grandchild ignores SIGTERM and has closed the pipes, so nothing of it shows.
    let line = format!(
        "trap 'exit 1' TERM; (trap '' TERM; exec sleep 600) >/dev/null 2>&1 & echo $! > {}; wait",
        pid_file.display()
    );
    let mut args = master.line(&line);
    args.sigterm_time_secs = Some(30.0);
    let pending = master.start("c", &Command::Shell(args)).await;
    let grandchild = pid_in(&pid_file).await;
    master.interrupt("c").await;
    let told = master.finish().await;
    pending.result().await.unwrap();
    assert_eq!(told.rc(), Some(1));
    eventually("the end of the grandchild", || !is_alive(grandchild)).await;
}

#[tokio::test]
async fn a_process_that_left_the_group_cannot_hold_the_end() {
    let mut master = Master::new().await;
    let pid_file = master.base().join("pid");
    let line = format!("setsid sh -c 'echo $$ > {}; exec sleep 600' & wait", pid_file.display());
    let pending = master.start("c", &Command::Shell(master.line(&line))).await;
    let escaped = pid_in(&pid_file).await;
    master.interrupt("c").await;
    assert_eq!(master.finish().await.rc(), Some(-1));
    pending.result().await.unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(escaped), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn a_command_on_a_terminal_is_killed_too() {
    let mut master = Master::new().await;
    let pid_file = master.base().join("pid");
    let mut args = master.line(&format!("sleep 600 & echo $! > {}; wait", pid_file.display()));
    args.use_pty = true;
    let pending = master.start("c", &Command::Shell(args)).await;
    let grandchild = pid_in(&pid_file).await;
    master.interrupt("c").await;
    assert_eq!(master.finish().await.rc(), Some(-1));
    pending.result().await.unwrap();
    eventually("the end of the grandchild", || !is_alive(grandchild)).await;
}
