//! Logs: appending, reading by line, compression, resent output.

use buildguild_db::logs::{self, Appended, CHUNK_BYTES, CommandOutput, Compression, Prepared};
use buildguild_db::test_support::TestDb;
use buildguild_db::{Db, DbError, steps};
use buildguild_types::ids::LogId;
use buildguild_types::resources::LogKind;
use proptest::prelude::*;

use crate::support::Farm;

async fn new_log(farm: &Farm, kind: LogKind) -> LogId {
    let build = farm.running_build().await.buildid;
    farm.db
        .write(|tx| async move {
            let step = steps::add(&tx, build, "shell", "running").await?;
            logs::add(&tx, step.stepid, "stdio", "stdio", kind).await
        })
        .await
        .unwrap()
        .logid
}

async fn append(db: &Db, log: LogId, prepared: &Prepared, output: Option<&CommandOutput>) -> Result<Appended, DbError> {
    db.write(|tx| async move { logs::append(&tx, log, prepared, output).await }).await
}

async fn raw(db: &Db, log: LogId) -> String {
    let (mut text, mut line) = (String::new(), 0);
    loop {
        let pieces = logs::next_chunks(db.read(), log, line, 3).await.unwrap();
        let Some(last) = pieces.last() else { return text };
        line = last.last_line + 1;
        pieces.iter().for_each(|piece| text.push_str(&piece.content));
    }
}

async fn lines_are_addressed_and_a_finished_log_never_changes(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let log = new_log(&farm, LogKind::Stream).await;
    let db = &farm.db;
    let prepared = Prepared::new("hcmd\noone\netwo\n", true, Compression::Zstd);
    let Appended::Lines { first, last, log: now } = append(db, log, &prepared, None).await.unwrap() else {
        panic!("three lines are new")
    };
    assert_eq!((first, last, now.num_lines), (0, 2, 3));
    append(db, log, &Prepared::new("othree\n", true, Compression::Gz), None).await.unwrap();
    assert_eq!(logs::lines(db.read(), log, 1, 3, usize::MAX).await.unwrap(), "oone\netwo\nothree\n");
    assert_eq!(logs::lines(db.read(), log, 2, 2, usize::MAX).await.unwrap(), "etwo\n");
    assert_eq!(logs::lines(db.read(), log, 4, 9, usize::MAX).await.unwrap(), "");
    let done = db.write(|tx| async move { logs::finish(&tx, log).await }).await.unwrap();
    assert!(done.complete);
    assert!(matches!(append(db, log, &prepared, None).await, Err(DbError::AlreadyComplete)));
    assert!(matches!(db.write(|tx| async move { logs::finish(&tx, log).await }).await, Err(DbError::AlreadyComplete)));
    let saved = logs::compress(db, log, Compression::Zstd).await.unwrap();
    assert!(saved >= 0, "{saved}");
    assert_eq!(raw(db, log).await, "hcmd\noone\netwo\nothree\n");
}

async fn numbered_output_that_is_sent_twice_is_stored_once(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let log = new_log(&farm, LogKind::Stream).await;
    let prepared = Prepared::new("oline\n", true, Compression::Zstd);
    for sequence in [1, 2, 2, 1, 3] {
        let output = CommandOutput { command: "c1".to_owned(), sequence };
        append(&farm.db, log, &prepared, Some(&output)).await.unwrap();
    }
    assert_eq!(logs::get(farm.db.read(), log).await.unwrap().unwrap().num_lines, 3);
    assert_eq!(logs::last_sequence(farm.db.read(), "c1").await.unwrap(), Some(3));
}

async fn slugs_are_unique_in_a_step(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let first = new_log(&farm, LogKind::Text).await;
    let step = logs::get(farm.db.read(), first).await.unwrap().unwrap().stepid;
    let second =
        farm.db.write(|tx| async move { logs::add(&tx, step, "stdio", "stdio", LogKind::Html).await }).await.unwrap();
    assert_eq!(second.slug, "stdio_2");
    assert_eq!(logs::by_slug(farm.db.read(), step, "stdio_2").await.unwrap().unwrap(), second);
    assert_eq!(logs::for_step(farm.db.read(), step).await.unwrap().len(), 2);
    let closed = farm.db.write(|tx| async move { logs::finish_all_of_step(&tx, step).await }).await.unwrap();
    assert_eq!(closed.len(), 2);
}

async fn a_long_log_is_read_piece_by_piece(test: &TestDb) {
    let farm = Farm::new(&test.db).await;
    let log = new_log(&farm, LogKind::Stream).await;
    let mut expected = String::new();
    for part in 0..12 {
        let content: String = (0..900).map(|line| format!("opart {part} line {line} {}\n", "x".repeat(60))).collect();
        append(&farm.db, log, &Prepared::new(&content, true, Compression::Zstd), None).await.unwrap();
        expected.push_str(&content);
    }
    assert_eq!(raw(&farm.db, log).await, expected);
    let lines: Vec<&str> = expected.split_inclusive('\n').collect();
    assert_eq!(logs::lines(farm.db.read(), log, 5000, 5099, usize::MAX).await.unwrap(), lines[5000..5100].concat());
    let piece = &logs::next_chunks(farm.db.read(), log, 5000, 1).await.unwrap()[0];
    assert!(piece.first_line <= 5000 && piece.last_line >= 5000 && piece.content.len() <= CHUNK_BYTES);
}

buildguild_db::on_both_databases!(
    lines_are_addressed_and_a_finished_log_never_changes,
    numbered_output_that_is_sent_twice_is_stored_once,
    slugs_are_unique_in_a_step,
    a_long_log_is_read_piece_by_piece,
);

/// Lines as a program may print them: short, empty, beyond a chunk, in any script.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[^\n]{0,80}",
        1 => Just(String::new()),
        1 => (1_usize..4, "[a-zé€😀]").prop_map(|(times, letter)| letter.repeat(times * CHUNK_BYTES / 3)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_was_appended_is_read_back(
        parts in prop::collection::vec((prop::collection::vec(line(), 0..40), 0_usize..6), 1..8),
        ranges in prop::collection::vec((0_i64..200, 0_i64..200), 6),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let test = TestDb::sqlite().await.unwrap();
            let farm = Farm::new(&test.db).await;
            let log = new_log(&farm, LogKind::Text).await;
            let mut sent = String::new();
            for (lines, method) in &parts {
                let content: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
                let prepared = Prepared::new(&content, false, Compression::ALL[*method]);
                assert!(prepared.chunks().iter().all(|chunk| {
                    chunk.compression.decompress(&chunk.content).unwrap().len() <= CHUNK_BYTES
                }));
                append(&farm.db, log, &prepared, None).await.unwrap();
                sent.push_str(&content);
            }
            // Only over-long lines are changed: they are split.
            let stored = raw(&farm.db, log).await;
            assert_eq!(stored.replace('\n', ""), sent.replace('\n', ""));
            if sent.lines().all(|line| line.len() < CHUNK_BYTES) {
                assert_eq!(stored, sent);
            }
            let lines: Vec<&str> = stored.split_inclusive('\n').collect();
            assert_eq!(logs::get(farm.db.read(), log).await.unwrap().unwrap().num_lines, lines.len() as i64);
            farm.db.write(|tx| async move { logs::finish(&tx, log).await }).await.unwrap();
            for compacted in [false, true] {
                if compacted {
                    logs::compress(&farm.db, log, Compression::Zstd).await.unwrap();
                    assert_eq!(raw(&farm.db, log).await, stored);
                }
                for (first, length) in &ranges {
                    let from = (*first as usize).min(lines.len());
                    let to = (from + *length as usize + 1).min(lines.len());
                    let read = logs::lines(farm.db.read(), log, *first, *first + *length, usize::MAX).await.unwrap();
                    assert_eq!(read, lines[from..to].concat());
                }
            }
        });
    }
}
