//! `shell`: texts, output, environment, terminal, input, log files.

use crate::support::Master;
use worker_protocol::{
    Command, CommandUpdate, EnvValue, LogFile, MasterRequest, ShellArgs, ShellCommand, Value, WorkerInfo, codec,
};

#[tokio::test]
async fn the_life_of_a_simple_command_is_the_recorded_one() {
    let mut master = Master::new().await;
    let mut args = ShellArgs::new(
        ShellCommand::Argv(["sh", "-c", "printf 'out1\nout2\n'; exit 3"].map(str::to_owned).to_vec()),
        master.path("build"),
    );
    args.log_environ = false;
    args.max_time_secs = Some(1.0);
    let told = master.run(Command::Shell(args)).await;
    assert_eq!(told.keys(), ["header", "stdout", "rc", "header", "elapsed"]);
    assert_eq!(told.stdout(), "out1\nout2\n");
    assert_eq!((told.rc(), told.failure.as_deref()), (Some(3), None));
    let header = told.header();
    let dir = master.path("build");
    let expected = format!(
        "sh -c 'printf '\"'\"'out1\nout2\n'\"'\"'; exit 3'\n in dir {dir} (timeout 1200 secs) (maxTime 1 sec)\n \
         watching logfiles {{}}\n argv: [b'sh', b'-c', b\"printf 'out1\\nout2\\n'; exit 3\"]\n using PTY: False\nelapsedTime="
    );
    assert!(header.starts_with(&expected), "{header}");
}

#[tokio::test]
async fn the_environment_follows_the_rules_and_is_shown_sorted() {
    let mut master = Master::new().await;
    let mut args = master.line("echo \"$FOO|$LIST|$PYTHONPATH|${HOME-unset}|$SUB|$PWD\"");
    args.log_environ = true;
    args.env = vec![
        ("FOO".to_owned(), EnvValue::Text("café".to_owned())),
        ("LIST".to_owned(), EnvValue::List(vec!["a".to_owned(), "b".to_owned()])),
        ("PYTHONPATH".to_owned(), EnvValue::Text("/pp".to_owned())),
        ("HOME".to_owned(), EnvValue::Unset),
        ("SUB".to_owned(), EnvValue::Text("x${PATH}y${NOPE}z".to_owned())),
    ];
    let told = master.run(Command::Shell(args)).await;
    let path = std::env::var("PATH").unwrap();
    assert_eq!(told.stdout(), format!("café|a:b|/pp:|unset|x{path}yz|{}\n", master.path("build")));
    let header = told.header();
    let shown: Vec<&str> = header.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(shown.contains(&"  FOO=café") && shown.is_sorted(), "{header}");
}

#[tokio::test]
async fn an_unfinished_last_line_gets_its_newline() {
    let mut master = Master::new().await;
    let told = master.run(Command::Shell(master.line("echo whole; printf partial; printf 'err' >&2"))).await;
    assert_eq!(told.stdout(), "whole\npartial\n");
    assert_eq!(told.stderr(), "err\n");
}

#[tokio::test]
async fn cursor_movements_and_bad_bytes_are_cleaned() {
    let mut master = Master::new().await;
    let line =
        r#"printf '10%%\r20%%\r30%%\n'; printf 'a\r\nb\n\033[2Jc\n\033[3;4Hd\nback\010\010x\n'; printf 'tail\r'"#;
    let told = master.run(Command::Shell(master.line(line))).await;
    assert_eq!(told.stdout(), "10%\n20%\n30%\na\nb\n\nc\n\nd\nback\nx\ntail\n");
    let line = r#"printf 'bad\377\376byte\n'; printf 'split\303'; sleep 0.2; printf '\251end\n'"#;
    let told = master.run(Command::Shell(master.line(line))).await;
    assert_eq!(told.stdout(), "bad\u{fffd}\u{fffd}byte\nsplitéend\n");
}

#[tokio::test]
async fn over_long_lines_are_split_without_loss() {
    let mut master = Master::with_settings(|settings| settings.max_line_length = 100).await;
    let told = master.run(Command::Shell(master.line("head -c 1000 /dev/zero | tr '\\0' A; echo; echo next"))).await;
    let stdout = told.stdout();
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.last(), Some(&"next"));
    assert!(lines.iter().all(|line| line.len() <= 99));
    assert_eq!(lines[..lines.len() - 1].concat(), "A".repeat(1000));
    // Unfinished, and with characters of several bytes.
    let told =
        master.run(Command::Shell(master.line("for i in $(seq 150); do printf é; done; sleep 0.1; printf x"))).await;
    assert_eq!(told.stdout().lines().map(|line| line.chars().count()).collect::<Vec<_>>(), [99, 52]);
}

#[tokio::test]
async fn stdin_is_closed_or_what_was_asked_for() {
    let mut master = Master::new().await;
    assert_eq!(master.run(Command::Shell(master.line("cat; echo end"))).await.stdout(), "end\n");
    let mut args = master.line("cat");
    args.initial_stdin = Some("line one\nline two".to_owned());
    args.use_pty = true;
    let told = master.run(Command::Shell(args)).await;
    assert_eq!(told.stdout(), "line one\nline two\n");
    let header = told.header();
    assert!(header.starts_with("WARNING: disabling usePTY for this commandcat\n"), "{header}");
    assert!(header.contains("\n writing 17 bytes to stdin\n using PTY: False\n"));
    // More than a pipe holds, to a program that does not read it.
    let mut args = master.line("exit 4");
    args.initial_stdin = Some("x".repeat(1_000_000));
    assert_eq!(master.run(Command::Shell(args)).await.rc(), Some(4));
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let mut master = Master::new().await;
    let mut args = master.line("test -t 0 && test -t 1 && test -t 2 && echo yes; echo err >&2");
    args.use_pty = true;
    let told = master.run(Command::Shell(args)).await;
    assert_eq!(told.stdout(), "yes\nerr\n");
    assert!(told.header().contains("using PTY: True\n"));
    assert_eq!(told.rc(), Some(0));
}

#[tokio::test]
async fn unwanted_streams_are_read_but_not_sent() {
    let mut master = Master::new().await;
    let mut args = master.line("seq 100000; seq 100000 >&2");
    args.want_stdout = false;
    args.want_stderr = false;
    let told = master.run(Command::Shell(args)).await;
    assert_eq!(told.keys(), ["header", "rc", "header", "elapsed"]);
    assert_eq!(told.rc(), Some(0));
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_a_failure_of_the_command() {
    let mut master = Master::new().await;
    let args = ShellArgs::new(ShellCommand::Argv(vec!["/no/such/program".to_owned()]), master.path("build"));
    let told = master.run(Command::Shell(args)).await;
    assert_eq!((told.rc(), told.failure.as_deref()), (Some(1), None));
    assert!(told.stderr().ends_with("FileNotFoundError: [Errno 2] No such file or directory: b'/no/such/program'\n"));
}

#[tokio::test]
async fn commands_that_cannot_begin_complete_with_a_failure() {
    let mut master = Master::new().await;
    let mut args = master.line("echo x");
    args.workdir = "/proc/nope/dir".to_owned();
    let told = master.run(Command::Shell(args)).await;
    assert_eq!(told.keys(), ["elapsed"]);
    assert!(told.failure.unwrap().contains("<class 'FileNotFoundError'>: [Errno 2] No such file or directory"));
    let args = ShellArgs::new(ShellCommand::Argv(Vec::new()), master.path("build"));
    let told = master.run(Command::Shell(args)).await;
    assert!(told.failure.is_some() && told.rc().is_none());
    let map = |entries: &[(&str, Value)]| {
        let mut all = vec![(Value::from("workdir"), Value::from(master.path("build")))];
        all.extend(entries.iter().map(|(k, v)| (Value::from(*k), v.clone())));
        Value::Map(all)
    };
    let argv = Value::Array(vec!["echo".into(), "x".into()]);
    for (args, text) in [
        (
            map(&[("command", argv.clone()), ("env", Value::Map(vec![("X".into(), 5.into())]))]),
            "'env' values must be strings or lists; key 'X' is incorrect",
        ),
        (
            map(&[("command", argv.clone()), ("usePTY", "slave-config".into())]),
            "Unexpected usePTY argument value: 'slave-config'. Expected boolean.",
        ),
    ] {
        let pending = master.start_raw("shell", args).await;
        let told = master.finish().await;
        assert!(pending.result().await.is_ok());
        assert_eq!(told.keys(), ["elapsed"]);
        assert!(told.failure.unwrap().contains(text));
    }
}

#[tokio::test]
async fn requests_that_are_no_command_are_refused_and_nothing_follows() {
    let mut master = Master::new().await;
    for (name, args, text) in [
        ("nosuchcommand", Value::Map(Vec::new()), "(command raw): unrecognized WorkerCommand 'nosuchcommand'"),
        ("shell", Value::Map(vec![("workdir".into(), "/".into())]), "WorkerShellCommand is missing args: command"),
        ("shell", Value::Nil, "WorkerShellCommand is missing args: workdir, command"),
    ] {
        let error = master.start_raw(name, args).await.result().await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    master.rpc.call(&MasterRequest::Keepalive).await.unwrap();
    assert!(master.requests.try_recv().is_err());
}

#[tokio::test]
async fn watched_files_are_sent_as_they_grow() {
    let mut master = Master::with_settings(|settings| settings.buffer_timeout_secs = 0.1).await;
    std::fs::create_dir_all(master.path("build")).unwrap();
    for (name, text) in [("old.log", "unchanged\n"), ("f.log", "before\n")] {
        std::fs::write(master.base().join("build").join(name), text).unwrap();
    }
    let go = master.path("go");
    let mut args = master.line(&format!(
        "echo first > l.log; echo old >> f.log; until test -e {go}; do sleep 0.02; done; echo second >> l.log; printf end >> f.log"
    ));
    let file =
        |name: &str, path: &str, follow| LogFile { name: name.into(), filename: path.into(), follow, as_map: follow };
    args.logfiles = vec![
        file("plain", "l.log", false),
        file("foll", "f.log", true),
        file("old", "old.log", false),
        file("missing", "no.log", false),
    ];
    let pending = master.start("c", &Command::Shell(args)).await;
    // The first line comes by itself while the command still runs.
    let mut updates =
        master.until(|update| matches!(update, CommandUpdate::Log { text, .. } if text.text == "first\n")).await;
    std::fs::write(&go, "").unwrap();
    let mut told = master.finish().await;
    pending.result().await.unwrap();
    updates.append(&mut told.updates);
    told.updates = updates;
    assert_eq!(told.log("plain"), "first\nsecond\n");
    assert_eq!(told.log("foll"), "old\nend\n");
    assert_eq!((told.log("old").as_str(), told.log("missing").as_str()), ("", ""));
    assert!(told.header().contains(
        " watching logfiles {'plain': 'l.log', 'foll': {'filename': 'f.log', 'follow': True}, 'old': 'old.log', 'missing': 'no.log'}\n"
    ));
}

#[tokio::test]
async fn output_is_sent_when_the_buffer_is_old_or_full() {
    let mut master = Master::with_settings(|settings| {
        settings.buffer_timeout_secs = 0.05;
        settings.buffer_size = 1000;
    })
    .await;
    let go = master.path("go");
    let pending = master
        .start(
            "c",
            &Command::Shell(master.line(&format!("echo early; until test -e {go}; do sleep 0.02; done; seq 500"))),
        )
        .await;
    // Comes although the command goes on.
    master.until(|update| matches!(update, CommandUpdate::Stdout(text) if text.text == "early\n")).await;
    std::fs::write(&go, "").unwrap();
    let told = master.finish().await;
    pending.result().await.unwrap();
    let expected: String = (1..=500).map(|n| format!("{n}\n")).collect();
    assert_eq!(told.stdout(), expected);
    for update in &told.updates {
        if let CommandUpdate::Stdout(text) = update {
            assert!(text.text.len() + 16 * text.positions.len() <= 1000);
        }
    }
}

#[tokio::test]
async fn a_background_child_that_keeps_the_pipes_delays_the_end() {
    let mut master = Master::new().await;
    let told = master.run(Command::Shell(master.line("(sleep 1; echo late) & echo first"))).await;
    assert_eq!(told.stdout(), "first\nlate\n");
}

#[tokio::test]
async fn several_commands_run_at_once_and_ids_in_use_are_refused() {
    let mut master = Master::new().await;
    let go = master.path("go");
    let waiting = Command::Shell(master.line(&format!("until test -e {go}; do sleep 0.02; done")));
    master.start("a", &waiting).await.result().await.unwrap();
    master.start("b", &waiting).await.result().await.unwrap();
    let again = master.start("a", &waiting).await.result().await.unwrap_err();
    assert_eq!(again.to_string(), "command a is still running");
    std::fs::write(&go, "").unwrap();
    assert_eq!(master.finish_one().await.rc(), Some(0));
    assert_eq!(master.finish().await.rc(), Some(0));
    // Over: the id is free again.
    assert_eq!(master.run(Command::Shell(master.line("exit 9"))).await.rc(), Some(9));
}

#[tokio::test]
async fn the_worker_tells_about_itself() {
    let master = Master::new().await;
    std::fs::create_dir(master.base().join("info")).unwrap();
    std::fs::write(master.base().join("info/admin"), "me\n").unwrap();
    let value = master.rpc.call(&MasterRequest::GetWorkerInfo).await.unwrap();
    let info = WorkerInfo::from_value(&value);
    assert_eq!((info.basedir.as_str(), info.system.as_str()), (master.path("").trim_end_matches('/'), "posix"));
    assert_eq!(info.extra_text("admin").unwrap(), "me\n");
    assert!(codec::get(&value, "worker_commands").is_some() && info.environ.contains_key("PATH"));
    let error = master.rpc.call(&MasterRequest::Print { message: "hello".to_owned() }).await;
    assert!(error.unwrap().is_nil());
}
