//! The text of logs: by line, and as a download.

use std::collections::VecDeque;

use buildguild_db::logs;
use buildguild_db::query::{self, LogRef, Scope, resources};
use buildguild_db::{Db, origins};
use buildguild_types::ids::LogId;
use buildguild_types::spec::ResultSpec;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Map, Value, json};

use crate::error::DataError;
use crate::reply::{Raw, Reply};

/// The most text of one answer by line. A log may be larger than memory; whoever wants all of it downloads it.
const MAX_CONTENT_BYTES: usize = 32 << 20;

/// What is needed of a log to read it.
struct Header {
    id: LogId,
    slug: String,
    kind: String,
    stepid: i64,
    num_lines: i64,
    complete: bool,
}

async fn find(db: &Db, log: LogRef) -> Result<Option<Header>, DataError> {
    let fields = ["logid", "slug", "type", "stepid", "num_lines", "complete"].map(str::to_owned).to_vec();
    let spec = ResultSpec { fields, ..ResultSpec::default() };
    let item = query::find(db.read(), &resources::LOGS, &[Scope::Log("logid", log)], &spec).await?;
    Ok(item.and_then(|item| {
        Some(Header {
            id: LogId(item.get("logid")?.as_i64()?),
            slug: item.get("slug")?.as_str()?.to_owned(),
            kind: item.get("type")?.as_str()?.to_owned(),
            stepid: item.get("stepid")?.as_i64()?,
            num_lines: item.get("num_lines")?.as_i64()?,
            complete: item.get("complete")?.as_bool()?,
        })
    }))
}

/// Lines `offset` to `offset + limit` of a log; `None` if there is no such log.
pub(super) async fn contents(db: &Db, log: LogRef, spec: &ResultSpec) -> Result<Option<Reply>, DataError> {
    let id = match &log {
        LogRef::Id(id) => LogId(*id),
        LogRef::Slug(..) => match find(db, log.clone()).await? {
            Some(header) => header.id,
            None => return Ok(None),
        },
    };
    let first = i64::try_from(spec.offset.unwrap_or(0)).unwrap_or(i64::MAX);
    let end = match spec.limit {
        Some(limit) => first.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX)),
        None => i64::MAX,
    };
    let content = logs::lines(db.read(), id, first, end.saturating_sub(1), MAX_CONTENT_BYTES).await?;
    // A log that has such lines exists; only one without them has to be asked for.
    if content.is_empty() && matches!(log, LogRef::Id(_)) && find(db, log).await?.is_none() {
        return Ok(None);
    }
    let item: Map<String, Value> = [
        ("logid".to_owned(), json!(id.get())),
        ("firstline".to_owned(), json!(first)),
        ("content".to_owned(), Value::String(content)),
    ]
    .into_iter()
    .collect();
    super::one_in_memory(&resources::LOG_CHUNKS, item, spec).map(Some)
}

/// A log as a download, or to be shown in place; `None` if there is no such log.
pub(super) async fn raw(db: &Db, log: LogRef, inline: bool) -> Result<Option<Reply>, DataError> {
    let Some(header) = find(db, log).await? else { return Ok(None) };
    let Some(origin) = origins::of_step(db.read(), header.stepid.into()).await? else { return Ok(None) };
    let is_stream = header.kind == "s";
    let head = is_stream.then(|| {
        Bytes::from(format!(
            "Builder: {}\nBuild number: {}\nWorker name: {}\n",
            origin.builder, origin.number, origin.worker
        ))
    });
    let filename = format!("{}_build_{}_step_{}_log_{}", origin.builder, origin.number, origin.step, header.slug);
    Ok(Some(Reply::Raw(Raw {
        mime_type: if header.kind == "h" { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" },
        filename: (!inline).then_some(filename),
        tag: header.complete.then(|| format!("log{}-{}", header.id, header.num_lines)),
        body: body(db.clone(), header.id, head, is_stream),
    })))
}

/// Where a download is.
struct Position {
    db: Db,
    log: LogId,
    /// The next line to read; `None` after the last one.
    line: Option<i64>,
    ready: VecDeque<Bytes>,
    strip: bool,
}

/// The text, read as it is sent. A log that still grows ends where it ends now.
fn body(db: Db, log: LogId, head: Option<Bytes>, strip: bool) -> BoxStream<'static, Result<Bytes, DataError>> {
    let start = Position { db, log, line: Some(0), ready: head.into_iter().collect(), strip };
    stream::try_unfold(start, |mut at| async move {
        loop {
            if let Some(bytes) = at.ready.pop_front() {
                return Ok(Some((bytes, at)));
            }
            let Some(line) = at.line else { return Ok(None) };
            let pieces = logs::next_chunks(at.db.read(), at.log, line, logs::CHUNKS_AT_ONCE).await?;
            at.line = pieces.last().map(|piece| piece.last_line.saturating_add(1));
            for piece in pieces {
                let text = if at.strip { without_channels(&piece.content) } else { piece.content };
                at.ready.push_back(Bytes::from(text));
            }
        }
    })
    .boxed()
}

/// Cuts off the letter at the start of each line that tells its channel.
fn without_channels(content: &str) -> String {
    let mut text = String::with_capacity(content.len());
    for line in content.split_inclusive('\n') {
        let mut chars = line.chars();
        if !line.starts_with('\n') {
            chars.next();
        }
        text.push_str(chars.as_str());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_cut_off_each_line() {
        assert_eq!(without_channels("hmake\nooñe\ne\no two\n"), "make\noñe\n\n two\n");
    }
}
