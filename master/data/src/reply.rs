//! What the endpoint tree answers.

use std::fmt;

use bytes::Bytes;
use futures::stream::BoxStream;
use serde_json::Value;

use crate::error::DataError;

/// The answer to a read.
#[derive(Debug)]
pub enum Reply {
    /// Resources, as the API's JSON.
    Items(Items),
    /// Resources, as the text of the API's JSON: the same as [`Reply::Items`], where nothing needed to look into them.
    Text(TextItems),
    /// A download: the text of a log, or the value of a piece of build data.
    Raw(Raw),
}

impl Reply {
    /// The items of a reply that is no download.
    pub fn into_items(self) -> Option<Items> {
        match self {
            Self::Items(items) => Some(items),
            // The text was written as JSON a moment ago.
            Self::Text(text) => serde_json::from_str(&text.items).ok().map(|items| Items {
                plural: text.plural,
                items,
                total: text.total,
            }),
            Self::Raw(_) => None,
        }
    }
}

/// Resources of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Items {
    /// The plural name of the resource type: the key of the list in the API's answer.
    pub plural: &'static str,
    /// The resources; exactly one if the path names a single resource.
    pub items: Vec<Value>,
    /// `meta.total` of a collection; `None` for a single resource, whose `meta` is empty.
    pub total: Option<u64>,
}

/// Resources of one type, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextItems {
    /// The plural name of the resource type.
    pub plural: &'static str,
    /// The resources: a JSON list.
    pub items: String,
    /// As [`Items::total`].
    pub total: Option<u64>,
    /// `meta.next`: where the next page begins, for those who page by `after`.
    pub next: Option<String>,
}

/// A download.
pub struct Raw {
    /// The media type, with its character set if it is text.
    pub mime_type: &'static str,
    /// The name under which a browser saves it; `None` for what is shown in place.
    pub filename: Option<String>,
    /// What tells this text from every other that was here: for what will not change any more.
    pub tag: Option<String>,
    /// The bytes. Dropping the stream ends the reading.
    pub body: BoxStream<'static, Result<Bytes, DataError>>,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("mime_type", &self.mime_type)
            .field("filename", &self.filename)
            .finish_non_exhaustive()
    }
}
