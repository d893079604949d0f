//! Transfers of files.

use std::os::unix::fs::PermissionsExt as _;

use worker_protocol::{Command, Value, WorkerRequest};

use crate::support::{Master, Told};

/// Runs an upload and collects what arrives: the blocks, and the names of the other requests.
async fn upload(master: &mut Master, command: &Command) -> (Told, Vec<Vec<u8>>, Vec<&'static str>) {
    let pending = master.start("c", command).await;
    let (mut blocks, mut others) = (Vec::new(), Vec::new());
    let told = master
        .finish_with(|request| {
            match request {
                WorkerRequest::UploadFileWrite { data, .. } | WorkerRequest::UploadDirectoryWrite { data, .. } => {
                    blocks.push(data.to_vec());
                }
                other => others.push(worker_protocol::WireRequest::op(other)),
            }
            Value::Nil
        })
        .await;
    pending.result().await.unwrap();
    (told, blocks, others)
}

fn upload_file(path: String, max_size: Option<u64>, block_size: u64, keepstamp: bool) -> Command {
    Command::UploadFile { path, max_size, block_size, keepstamp }
}

#[tokio::test]
async fn a_file_is_uploaded_in_blocks() {
    let mut master = Master::new().await;
    let content: Vec<u8> = (0..40_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(master.path("rnd.bin"), &content).unwrap();
    let command = upload_file(master.path("rnd.bin"), None, 16384, false);
    let (told, blocks, others) = upload(&mut master, &command).await;
    assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [16384, 16384, 7232]);
    assert_eq!((blocks.concat(), others), (content, vec!["update_upload_file_close"]));
    assert_eq!(told.keys(), ["header", "rc", "elapsed"]);
    assert_eq!((told.header(), told.rc()), (format!("sending {}\n", master.path("rnd.bin")), Some(0)));
    let command = upload_file(master.path("rnd.bin"), None, 65536, true);
    let (told, blocks, others) = upload(&mut master, &command).await;
    assert_eq!((blocks.len(), told.rc()), (1, Some(0)));
    assert_eq!(others, ["update_upload_file_close", "update_upload_file_utime"]);
}

#[tokio::test]
async fn upload_limits_and_missing_files_are_told() {
    let mut master = Master::new().await;
    std::fs::write(master.path("hello.txt"), "hello").unwrap();
    let path = master.path("hello.txt");
    for max in [3, 5] {
        let (told, blocks, _) = upload(&mut master, &upload_file(path.clone(), Some(max), 262_144, false)).await;
        assert_eq!(blocks.concat(), b"hello"[..max as usize]);
        assert_eq!((told.rc(), told.failure.as_deref()), (Some(1), None));
        assert_eq!(told.stderr(), format!("Maximum filesize reached, truncating file '{path}'\n"));
    }
    let command = upload_file(master.path("missing"), None, 100, true);
    let (told, blocks, others) = upload(&mut master, &command).await;
    assert_eq!((blocks.len(), told.rc()), (0, Some(1)));
    assert_eq!(others, ["update_upload_file_close", "update_upload_file_utime"]);
    assert_eq!(told.stderr(), format!("Cannot open file '{}' for upload\n", master.path("missing")));
}

#[tokio::test]
async fn an_error_of_the_master_ends_an_upload_with_a_failure() {
    let mut master = Master::new().await;
    std::fs::write(master.path("f"), vec![0; 100_000]).unwrap();
    let command = upload_file(master.path("f"), None, 1000, false);
    let pending = master.start("c", &command).await;
    let (request, responder) = master.next().await;
    assert!(matches!(request, WorkerRequest::UploadFileWrite { .. }));
    responder.error("disk full").await;
    let told = master.finish().await;
    pending.result().await.unwrap();
    assert_eq!(told.rc(), Some(1));
    assert!(told.failure.unwrap().contains("RemoteWorkerError'>: disk full"));
}

#[tokio::test]
async fn an_interrupted_upload_stops_before_the_next_block() {
    let mut master = Master::new().await;
    std::fs::write(master.path("f"), vec![0; 100_000]).unwrap();
    let pending = master.start("c", &upload_file(master.path("f"), None, 1000, false)).await;
    let (_, responder) = master.next().await;
    master.interrupt("c").await;
    responder.ok(Value::Nil).await;
    let mut rest = Vec::new();
    let told = master
        .finish_with(|request| {
            rest.push(worker_protocol::WireRequest::op(request));
            Value::Nil
        })
        .await;
    pending.result().await.unwrap();
    assert_eq!(rest, ["update_upload_file_close"]);
    assert_eq!((told.rc(), told.has_elapsed(), told.failure.as_deref()), (Some(1), false, None));
}

#[tokio::test]
async fn a_directory_is_uploaded_as_an_archive() {
    let mut master = Master::new().await;
    let dir = master.base().join("d");
    std::fs::create_dir_all(dir.join("sub/empty")).unwrap();
    std::fs::write(dir.join("one.txt"), "1\n").unwrap();
    std::fs::set_permissions(dir.join("one.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let long = "n".repeat(150);
    std::fs::write(dir.join("sub").join(&long), "2\n").unwrap();
    std::os::unix::fs::symlink("one.txt", dir.join("link")).unwrap();
    for compress in [None, Some("gz"), Some("bz2")] {
        let command = Command::UploadDirectory {
            path: master.path("d"),
            max_size: None,
            block_size: 16384,
            compress: compress.map(str::to_owned),
        };
        let (told, blocks, others) = upload(&mut master, &command).await;
        assert_eq!((told.rc(), others), (Some(0), vec!["update_upload_directory_unpack"]));
        let archive = blocks.concat();
        let unpacked = tempfile::tempdir().unwrap();
        let reader: Box<dyn std::io::Read> = match compress {
            None => Box::new(&archive[..]),
            Some("gz") => Box::new(flate2::read::GzDecoder::new(&archive[..])),
            _ => Box::new(bzip2::read::BzDecoder::new(&archive[..])),
        };
        tar::Archive::new(reader).unpack(unpacked.path()).unwrap();
        let one = unpacked.path().join("one.txt");
        assert_eq!(one.metadata().unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(std::fs::read_to_string(unpacked.path().join("sub").join(&long)).unwrap(), "2\n");
        assert_eq!(std::fs::read_link(unpacked.path().join("link")).unwrap(), std::path::Path::new("one.txt"));
        assert!(unpacked.path().join("sub/empty").is_dir());
    }
    let missing = master.path("dmissing");
    let command = Command::UploadDirectory { path: missing.clone(), max_size: None, block_size: 1, compress: None };
    let (told, blocks, others) = upload(&mut master, &command).await;
    assert_eq!((told.rc(), blocks.len(), others.len()), (Some(1), 0, 0));
    assert_eq!(
        told.stderr(),
        format!("Cannot read directory '{missing}' for upload: [Errno 2] No such file or directory: '{missing}'\n")
    );
}

fn download_file(path: String, max_size: Option<u64>, mode: Option<u32>) -> Command {
    Command::DownloadFile { path, max_size, block_size: 16384, mode }
}

/// Runs a download of that content.
async fn download(master: &mut Master, command: &Command, content: &[u8]) -> (Told, usize) {
    let pending = master.start("c", command).await;
    let mut position = 0;
    let mut closes = 0;
    let told = master
        .finish_with(|request| match request {
            WorkerRequest::ReadFile { length, .. } => {
                let end = content.len().min(position + *length as usize);
                let block = content[position..end].to_vec();
                position = end;
                Value::Binary(block)
            }
            WorkerRequest::ReadFileClose { .. } => {
                closes += 1;
                Value::Nil
            }
            other => panic!("{other:?}"),
        })
        .await;
    pending.result().await.unwrap();
    (told, closes)
}

#[tokio::test]
async fn a_file_is_downloaded_in_blocks() {
    let mut master = Master::new().await;
    let content: Vec<u8> = (0..40_000_u32).map(|n| (n % 241) as u8).collect();
    let path = master.path("new/dir/f.bin");
    let (told, closes) = download(&mut master, &download_file(path.clone(), None, Some(0o751)), &content).await;
    assert_eq!((told.rc(), told.failure.as_deref(), closes), (Some(0), None, 1));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o751);
    let (told, _) = download(&mut master, &download_file(path.clone(), Some(100), None), &content).await;
    assert_eq!(told.rc(), Some(1));
    assert_eq!(told.stderr(), format!("Maximum filesize reached, truncating file '{path}'\n"));
    assert_eq!(std::fs::read(&path).unwrap(), content[..100]);
}

#[tokio::test]
async fn downloads_that_cannot_be_written_or_are_no_bytes_fail() {
    let mut master = Master::new().await;
    std::fs::create_dir(master.path("dir")).unwrap();
    let command = download_file(master.path("dir"), None, None);
    let (told, closes) = download(&mut master, &command, b"x").await;
    assert_eq!((told.rc(), closes), (Some(1), 1));
    assert_eq!(told.stderr(), format!("Cannot open file '{}' for download\n", master.path("dir")));
    std::fs::write(master.path("file"), "").unwrap();
    let command = download_file(master.path("file/x/y"), None, None);
    let (told, closes) = download(&mut master, &command, b"x").await;
    assert_eq!((told.rc(), closes), (None, 0));
    assert!(told.failure.is_some());
    // A text where bytes belong.
    let pending = master.start("c", &download_file(master.path("t"), None, None)).await;
    let told = master.finish_with(|_| Value::from("text")).await;
    pending.result().await.unwrap();
    assert!(told.failure.unwrap().contains("a bytes-like object is required"));
    // Nil is the end: a stock master knows no other answer.
    let pending = master.start("c", &download_file(master.path("t"), None, None)).await;
    let told = master.finish().await;
    pending.result().await.unwrap();
    assert_eq!((told.rc(), std::fs::read(master.path("t")).unwrap().len()), (Some(0), 0));
}
