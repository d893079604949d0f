//! Reading server-sent events.

use std::time::Duration;

use serde_json::Value;

use super::Server;

/// A record: its event name, data and id.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Record {
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

/// A stream that is being read.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    pub(crate) async fn open(server: &Server, path: &str, last: Option<&str>) -> Self {
        // A stream may last longer than an answer may take.
        let mut request = server.client.get(server.url(path)).timeout(Duration::from_secs(120));
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self::of(response)
    }

    pub(crate) fn of(response: reqwest::Response) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next record; none at the end.
    pub(crate) async fn next(&mut self) -> Option<Record> {
        loop {
            if let Some((record, rest)) = self.text.split_once("\n\n") {
                let mut parsed = Record::default();
                if record.starts_with(':') {
                    self.text = rest.to_owned();
                    continue;
                }
                for line in record.lines() {
                    match line.split_once(": ").expect("a field") {
                        ("event", value) => value.clone_into(&mut parsed.event),
                        ("data", value) => value.clone_into(&mut parsed.data),
                        ("id", value) => value.clone_into(&mut parsed.id),
                        (other, _) => panic!("field {other}"),
                    }
                }
                self.text = rest.to_owned();
                return Some(parsed);
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.response.chunk()).await.expect("in time");
            match chunk {
                Ok(Some(chunk)) => self.text.push_str(std::str::from_utf8(&chunk).expect("UTF-8")),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    pub(crate) async fn handshake(&mut self) -> Record {
        let record = self.next().await.expect("a record");
        assert_eq!(record.event, "handshake");
        record
    }

    /// The next event; records with an id only are for resuming.
    pub(crate) async fn event(&mut self) -> (Value, Record) {
        let mut record = self.next().await.expect("a record");
        while record.event.is_empty() {
            record = self.next().await.expect("a record");
        }
        assert_eq!(record.event, "event", "{record:?}");
        (serde_json::from_str(&record.data).expect("JSON"), record)
    }

    pub(crate) async fn key(&mut self) -> String {
        let (data, _) = self.event().await;
        data["key"].as_array().expect("a list").iter().map(|p| p.as_str().expect("text")).collect::<Vec<_>>().join("/")
    }

    /// Reads whatever is left.
    pub(crate) async fn close(self) {
        let _ = self.response.bytes().await;
    }
}
