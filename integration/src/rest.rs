//! The REST interface, as any client uses it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::waiting::{DEADLINE, wait_for};

/// A client of one master.
#[derive(Clone, Debug)]
pub struct Rest {
    base: String,
    client: reqwest::Client,
}

impl Rest {
    /// A client of the master at `base`, for example `http://127.0.0.1:8010/`.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn new(base: &str) -> Result<Self> {
        // A second call finds it installed, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), client })
    }

    /// The same, with less patience for each answer.
    ///
    /// # Errors
    /// If the client cannot be made.
    pub fn within(mut self, timeout: Duration) -> Result<Self> {
        self.client = reqwest::Client::builder().timeout(timeout).build()?;
        Ok(self)
    }

    /// The base URL, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A GET below `/api/v2`, which must succeed.
    ///
    /// # Errors
    /// If it does not.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let url = format!("{}/api/v2/{path}", self.base);
        let answer = self.client.get(&url).header("Accept", "application/json").send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {url}: {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("GET {url}: {text}"))
    }

    /// The items of a collection.
    ///
    /// # Errors
    /// As [`Rest::get`].
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let answer = self.get(path).await?;
        let object = answer.as_object().context("not an object")?;
        let (_, items) = object.iter().find(|(name, _)| *name != "meta").context("no collection")?;
        Ok(items.as_array().context("not a list")?.clone())
    }

    /// The only item.
    ///
    /// # Errors
    /// As [`Rest::get`], and if there is not exactly one.
    pub async fn one(&self, path: &str) -> Result<Value> {
        let mut items = self.list(path).await?;
        ensure!(items.len() == 1, "{path}: {} items", items.len());
        items.pop().context("one item")
    }

    /// Text at any path of the server.
    ///
    /// # Errors
    /// If the answer is no success.
    pub async fn text(&self, path: &str) -> Result<String> {
        let url = format!("{}/{path}", self.base);
        let answer = self.client.get(&url).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "GET {url}: {status}: {text}");
        Ok(text)
    }

    /// A control call; gives its result.
    ///
    /// # Errors
    /// If the call is refused.
    pub async fn control(&self, path: &str, method: &str, params: Value) -> Result<Value> {
        let url = format!("{}/api/v2/{path}", self.base);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer: Value = self.client.post(&url).json(&body).send().await?.json().await?;
        ensure!(answer.get("error").is_none(), "{method} {path}: {}", answer["error"]);
        Ok(answer["result"].clone())
    }

    /// Forces a build through the force scheduler named `force`; gives the request's id.
    ///
    /// # Errors
    /// If the call is refused.
    pub async fn force(&self, builder: &str, params: Value) -> Result<i64> {
        let mut params = params;
        let builder = self.one(&format!("builders/{builder}")).await?["builderid"].clone();
        params["builderid"] = builder.clone();
        let result = self.control("forceschedulers/force", "force", params).await?;
        result[1][builder.to_string()].as_i64().with_context(|| format!("no request in {result}"))
    }

    /// Waits until the request is complete; gives its builds, the oldest first.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn builds_of_completed(&self, request: i64) -> Result<Vec<Value>> {
        wait_for(&format!("build request {request} is complete"), DEADLINE, async || {
            let state = self.one(&format!("buildrequests/{request}")).await?;
            Ok((state["complete"] == json!(true)).then_some(()))
        })
        .await?;
        self.list(&format!("buildrequests/{request}/builds?order=buildid")).await
    }

    /// The whole text of a step's log, channel letters cut off.
    ///
    /// # Errors
    /// If there is no such log.
    pub async fn log(&self, build: i64, step: &str, slug: &str) -> Result<String> {
        self.text(&format!("api/v2/builds/{build}/steps/{step}/logs/{slug}/raw_inline")).await
    }
}
