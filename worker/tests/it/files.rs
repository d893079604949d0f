//! The commands on files and directories.

use std::os::unix::fs::PermissionsExt as _;

use worker_protocol::command::RunLimits;
use worker_protocol::{Command, CommandUpdate};

use crate::support::{Master, Told};

fn files(told: &Told) -> Vec<String> {
    let found = told.updates.iter().find_map(|update| match update {
        CommandUpdate::Files(names) => Some(names.clone()),
        _ => None,
    });
    let mut names = found.unwrap_or_default();
    names.sort();
    names
}

#[tokio::test]
async fn directories_are_made_listed_copied_and_removed() {
    let mut master = Master::new().await;
    let base = master.base();
    let path = |name: &str| base.join(name).to_string_lossy().into_owned();
    let (a, b, c) = (path("a"), path("a/b"), path("x/c"));
    let told = master.run(Command::Mkdir { paths: vec![b.clone(), b.clone()] }).await;
    assert_eq!(told.keys(), ["rc", "elapsed"]);
    assert_eq!(told.rc(), Some(0));
    std::fs::write(format!("{b}/f.txt"), "x\n").unwrap();
    std::os::unix::fs::symlink("nowhere", format!("{a}/broken")).unwrap();
    let told = master.run(Command::Listdir { path: a.clone() }).await;
    assert_eq!(
        (told.keys(), files(&told)),
        (vec!["files", "rc", "elapsed"], vec!["b".to_owned(), "broken".to_owned()])
    );
    let copy = Command::Cpdir { from_path: a.clone(), to_path: c.clone(), limits: RunLimits::default() };
    let told = master.run(copy).await;
    assert_eq!(told.keys(), ["header", "stdout", "header", "rc", "elapsed"]);
    assert_eq!((told.rc(), std::fs::read_to_string(format!("{c}/b/f.txt")).unwrap().as_str()), (Some(0), "x\n"));
    assert!(
        told.header()
            .starts_with(&format!("cp -R -P -p -v {a} {c}\n in dir {} (timeout 120 secs)\n", master.base().display()))
    );
    assert!(told.header().contains("\n environment:\n"));
    assert!(std::fs::symlink_metadata(format!("{c}/broken")).unwrap().is_symlink());
    let missing = Command::Cpdir { from_path: path("nope"), to_path: path("y"), limits: RunLimits::default() };
    let told = master.run(missing).await;
    assert_eq!((told.rc(), told.failure.as_deref()), (Some(1), None));
    assert!(told.stderr().contains("cannot stat"));
    let limits = RunLimits { log_environ: false, ..RunLimits::default() };
    let told = master.run(Command::Rmdir { paths: vec![c.clone(), path("never"), format!("{b}/f.txt")], limits }).await;
    assert_eq!(told.rc(), Some(0));
    assert_eq!(told.header().matches("rm -rf ").count(), 3);
    assert!(!std::path::Path::new(&c).exists() && !std::path::Path::new(&b).join("f.txt").exists());
}

#[tokio::test]
async fn stat_and_glob_find_files() {
    let mut master = Master::new().await;
    let build = master.path("build");
    std::fs::create_dir_all(format!("{build}/a/b")).unwrap();
    std::fs::write(format!("{build}/a/b/f.txt"), "12345").unwrap();
    std::fs::set_permissions(format!("{build}/a/b/f.txt"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let told = master.run(Command::Stat { path: format!("{build}/a/b/f.txt") }).await;
    assert_eq!(told.keys(), ["stat", "rc", "elapsed"]);
    let CommandUpdate::Stat(numbers) = &told.updates[0] else { panic!("{:?}", told.updates) };
    assert_eq!((numbers.len(), numbers[0], numbers[6]), (10, 0o100_640, 5));
    let told = master.run(Command::Glob { path: format!("{build}/**/*.txt") }).await;
    assert_eq!(files(&told), [format!("{build}/a/b/f.txt")]);
    let told = master.run(Command::Glob { path: format!("{build}/zzz*") }).await;
    assert_eq!((files(&told), told.rc()), (Vec::new(), Some(0)));
}

#[tokio::test]
async fn failures_have_the_error_number_and_a_text() {
    let mut master = Master::new().await;
    let path = master.path("none");
    for command in [
        Command::Stat { path: path.clone() },
        Command::Listdir { path: path.clone() },
        Command::Rmfile { path: path.clone() },
    ] {
        let name = command.name();
        let told = master.run(command).await;
        assert_eq!(told.keys(), ["rc", "elapsed", "header"]);
        assert_eq!((told.rc(), told.failure.as_deref()), (Some(2), None));
        assert_eq!(told.header(), format!("{name}: No such file or directory: {path}\n"));
    }
    std::fs::write(master.path("file"), "").unwrap();
    let told = master.run(Command::Mkdir { paths: vec![master.path("file/d"), master.path("d")] }).await;
    assert_eq!((told.rc(), std::path::Path::new(&master.path("d")).exists()), (Some(nix::libc::ENOTDIR.into()), false));
    assert_eq!(master.run(Command::Rmfile { path: master.path("file") }).await.rc(), Some(0));
}

#[tokio::test]
async fn a_name_that_is_no_text_does_not_hide_the_others() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut master = Master::new().await;
    let dir = master.base().join("d");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("plain"), "").unwrap();
    std::fs::write(dir.join(std::ffi::OsStr::from_bytes(b"bad\xffname")), "").unwrap();
    let told = master.run(Command::Listdir { path: master.path("d") }).await;
    assert_eq!((files(&told), told.rc()), (vec!["bad\u{fffd}name".to_owned(), "plain".to_owned()], Some(0)));
}

#[tokio::test]
async fn an_interrupted_removal_runs_to_its_end_and_has_no_exit_code() {
    let mut master = Master::new().await;
    let dir = master.base().join("many");
    std::fs::create_dir(&dir).unwrap();
    for n in 0..2000 {
        std::fs::write(dir.join(n.to_string()), "").unwrap();
    }
    let command = Command::Rmdir { paths: vec![master.path("many")], limits: RunLimits::default() };
    let pending = master.start("c", &command).await;
    master.interrupt("c").await;
    let told = master.finish().await;
    pending.result().await.unwrap();
    assert_eq!((told.rc(), told.has_elapsed(), told.failure.as_deref()), (None, false, None));
    assert!(!dir.exists());
}
