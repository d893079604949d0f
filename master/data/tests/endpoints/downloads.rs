//! Logs by line and as downloads, and the values of build data.

use buildguild_data::{ErrorKind, Raw, Reader, Reply};
use buildguild_db::on_both_databases;
use buildguild_db::test_support::TestDb;
use buildguild_types::spec::ResultSpec;
use futures::TryStreamExt;
use serde_json::{Value, json};

use super::farm::{get_with, one, reader};

on_both_databases!(lines_are_read_by_number, a_stream_is_downloaded_without_channels, other_downloads_are_untouched);

async fn lines(reader: &Reader, path: &str, offset: Option<u64>, limit: Option<u64>) -> Value {
    let spec = ResultSpec { offset, limit, ..ResultSpec::default() };
    get_with(reader, path, &spec).await.expect("reads").items.remove(0)
}

async fn lines_are_read_by_number(test: &TestDb) {
    let reader = reader(test).await;
    let all = one(&reader, "logs/1/contents").await;
    let all = all["content"].as_str().expect("text");
    assert_eq!(all.lines().count(), 5_000);
    let expected: Vec<&str> = all.split_inclusive('\n').collect();
    for (offset, limit) in [(0, 3), (1, 1), (1_234, 500), (2_047, 900), (4_998, 10), (4_999, 1), (0, 5_000)] {
        let chunk = lines(&reader, "logs/1/contents", Some(offset), Some(limit)).await;
        let (from, to) = (offset as usize, (offset + limit).min(5_000) as usize);
        assert_eq!(chunk["content"], json!(expected[from..to].concat()), "{offset} {limit}");
        assert_eq!((&chunk["firstline"], &chunk["logid"]), (&json!(offset), &json!(1)));
    }
    for (offset, limit) in
        [(Some(100_000), Some(2)), (Some(100_000), None), (Some(u64::MAX), Some(u64::MAX)), (None, Some(0))]
    {
        let chunk = lines(&reader, "logs/1/contents", offset, limit).await;
        assert_eq!(chunk["content"], json!(""), "{offset:?} {limit:?}");
    }
    let tail = lines(&reader, "logs/1/contents", Some(4_999), None).await;
    assert_eq!(tail["content"], json!("hprogram finished with exit code 0\n"));
    assert_eq!(lines(&reader, "logs/4/contents", None, None).await["content"], json!(""));
    let missing = get_with(&reader, "logs/999/contents", &ResultSpec::default()).await;
    assert!(missing.is_err_and(|error| error.kind() == ErrorKind::NotFound), "no log is not an empty log");
}

async fn download(reader: &Reader, path: &str) -> (Raw, Vec<u8>) {
    let parts: Vec<&str> = path.split('/').collect();
    let reply = reader.get(&parts, &ResultSpec::default()).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    let Reply::Raw(mut raw) = reply else { panic!("{path}: no download") };
    let body = std::mem::replace(&mut raw.body, Box::pin(futures::stream::empty()));
    let chunks: Vec<bytes::Bytes> = body.try_collect().await.expect("streams");
    (raw, chunks.concat())
}

async fn a_stream_is_downloaded_without_channels(test: &TestDb) {
    let reader = reader(test).await;
    let (raw, body) = download(&reader, "logs/1/raw").await;
    let text = String::from_utf8(body).expect("UTF-8");
    assert_eq!(raw.mime_type, "text/plain; charset=utf-8");
    assert_eq!(raw.filename.as_deref(), Some("linux_build_1_step_compile_log_stdio"));
    assert_eq!(raw.tag.as_deref(), Some("log1-5000"));
    let start = "Builder: linux\nBuild number: 1\nWorker name: w1\nmake all\nline 1, xx";
    assert!(text.starts_with(start), "{}", &text[..100]);
    assert!(text.ends_with("\nprogram finished with exit code 0\n"));
    assert_eq!(text.lines().count(), 5_003);
    let (raw, inline) = download(&reader, "builders/1/builds/1/steps/compile/logs/stdio/raw_inline").await;
    assert_eq!((raw.filename, inline), (None, text.into_bytes()));
}

async fn other_downloads_are_untouched(test: &TestDb) {
    let reader = reader(test).await;
    let (raw, body) = download(&reader, "steps/2/logs/notes/raw").await;
    assert_eq!((raw.mime_type, body.as_slice()), ("text/plain; charset=utf-8", "first\nsecond é\n".as_bytes()));
    let (raw, body) = download(&reader, "logs/3/raw").await;
    assert_eq!((raw.mime_type, body.as_slice()), ("text/html; charset=utf-8", b"<p>report</p>\n".as_slice()));
    assert_eq!(raw.filename.as_deref(), Some("linux_build_1_step_compile_log_page_html"));
    let (_, body) = download(&reader, "logs/4/raw").await;
    assert!(body.is_empty());
    for path in ["builds/1/data/coverage/value", "builders/linux/builds/1/data/coverage/value"] {
        let (raw, body) = download(&reader, path).await;
        assert_eq!((raw.mime_type, raw.filename.as_deref()), ("application/octet-stream", Some("coverage")));
        assert_eq!(body, b"\x00\x01 binary");
    }
}
