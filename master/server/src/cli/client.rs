//! The command line's view of a master: REST reads and control calls, and errors that say what to do.
//!
//! Only the public API is used, so the same commands work against a Buildbot 4 master. The wire types here name the
//! few fields that the commands read and tolerate everything else.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::header::{ACCEPT, COOKIE, SET_COOKIE};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Exit code of a command that could not do its work: no connection, refused, not found.
pub(crate) const EXIT_TROUBLE: u8 = 3;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Which master, and who asks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServerArgs {
    /// Address of the master's web page
    #[arg(long, env = "BUILDGUILD_URL", default_value = "http://localhost:8010", value_name = "URL")]
    pub(crate) url: Url,

    /// Log in as this user; the password comes from BUILDGUILD_PASSWORD
    #[arg(long, env = "BUILDGUILD_USER", value_name = "NAME")]
    pub(crate) user: Option<String>,

    /// The password; from the environment only, since arguments are visible to everybody on the machine
    #[arg(skip = std::env::var("BUILDGUILD_PASSWORD").ok())]
    password: Option<String>,
}

/// What can go wrong between the command line and a master.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot reach {url}: {source}; is the master running, and is --url (or BUILDGUILD_URL) right?")]
    Unreachable {
        url: Url,
        #[source]
        source: RootCause,
    },
    #[error("{what} not found: {message}")]
    NotFound { what: String, message: String },
    #[error("not allowed: {0}; log in with --user and BUILDGUILD_PASSWORD, or change c['www']['authz'] in master.cfg")]
    Forbidden(String),
    #[error("user name or password refused by {0}")]
    LoginRefused(Url),
    #[error("the master refused some values:{}", list_fields(.0))]
    Fields(BTreeMap<String, String>),
    #[error("the master refused this: {0}")]
    Refused(String),
    #[error("the master failed with status {status}: {message}")]
    Server { status: StatusCode, message: String },
    #[error("{url} did not answer as a master does: {reason}")]
    NoMaster { url: Url, reason: String },
    #[error("{0}")]
    Usage(String),
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

/// The innermost cause of a connection failure: "connection refused" says more than "error sending request".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct RootCause(String);

impl RootCause {
    fn of(error: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        Self(cause.to_string())
    }
}

impl ClientError {
    /// Whether the same request may work in a moment: the master restarts, a proxy has no backend.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Server { status, .. } => matches!(status.as_u16(), 502..=504),
            Self::NotFound { .. }
            | Self::Forbidden(_)
            | Self::LoginRefused(_)
            | Self::Fields(_)
            | Self::Refused(_)
            | Self::NoMaster { .. }
            | Self::Usage(_)
            | Self::Output(_) => false,
        }
    }

    fn of_status(status: StatusCode, what: &str, message: String) -> Self {
        match status {
            // The text of a 404 is for developers of masters; the path says it all.
            StatusCode::NOT_FOUND => {
                Self::NotFound { what: what.to_owned(), message: "the master has no such thing".to_owned() }
            }
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Self::Forbidden(message),
            status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => Self::Refused(message),
            status => Self::Server { status, message },
        }
    }
}

fn list_fields(fields: &BTreeMap<String, String>) -> String {
    fields.iter().map(|(name, text)| format!("\n  {name}: {text}")).collect()
}

/// Runs a command to its end, prints its error, if any, and turns its outcome into the process's exit code.
///
/// # Errors
/// If the runtime cannot start.
pub(crate) fn execute(command: impl Future<Output = Result<u8, ClientError>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(match runtime.block_on(command) {
        Ok(code) => ExitCode::from(code),
        // Whoever reads the output has seen enough (`| head`): that is no trouble.
        Err(ClientError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("buildguild: {error}");
            ExitCode::from(EXIT_TROUBLE)
        }
    })
}

/// A connection to one master.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    cookie: Option<String>,
}

impl Client {
    /// Prepares a client, and logs in if a user is named.
    pub(crate) async fn connect(args: &ServerArgs) -> Result<Self, ClientError> {
        // Whoever came first has installed it: then this one is not needed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut base = args.url.clone();
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(ClientError::Usage(format!("--url {base}: the address must begin with http:// or https://")));
        }
        base.set_fragment(None);
        base.set_query(None);
        if !base.path().ends_with('/') {
            let path = format!("{}/", base.path());
            base.set_path(&path);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("buildguild/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ClientError::Unreachable { url: base.clone(), source: RootCause::of(&error) })?;
        let mut client = Self { http, base, cookie: None };
        if let Some(user) = &args.user {
            client.login(user, args.password.as_deref()).await?;
        }
        Ok(client)
    }

    async fn login(&mut self, user: &str, password: Option<&str>) -> Result<(), ClientError> {
        let url = self.address(&["auth", "login"], &[]);
        let request = self.http.get(url.clone()).basic_auth(user, password);
        let response = self.answer(&url, request.send().await)?;
        if response.status() == StatusCode::UNAUTHORIZED {
            return Err(ClientError::LoginRefused(url));
        }
        // If an answer sets a cookie twice, the last one counts.
        self.cookie = response
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next().map(str::to_owned))
            .next_back();
        Ok(())
    }

    /// The address of a page for people, such as `#/buildrequests/3`.
    pub(crate) fn page(&self, fragment: &str) -> String {
        format!("{}#/{fragment}", self.base)
    }

    /// Joins path segments, each encoded, to the base address.
    fn address(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn api(&self, segments: &[&str], query: &[(&str, String)]) -> Url {
        let all: Vec<&str> = ["api", "v2"].iter().chain(segments).copied().collect();
        self.address(&all, query)
    }

    fn answer(&self, url: &Url, sent: Result<Response, reqwest::Error>) -> Result<Response, ClientError> {
        let response =
            sent.map_err(|error| ClientError::Unreachable { url: url.clone(), source: RootCause::of(&error) })?;
        if response.status().is_redirection() && !url.path().ends_with("/auth/login") {
            let target =
                response.headers().get("Location").and_then(|value| value.to_str().ok()).unwrap_or("elsewhere");
            let reason = format!("it redirects to {target}");
            return Err(ClientError::NoMaster { url: url.clone(), reason });
        }
        Ok(response)
    }

    fn request(&self, method: Method, url: Url) -> reqwest::RequestBuilder {
        let request = self.http.request(method, url).header(ACCEPT, "application/json");
        match &self.cookie {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    /// Reads a collection, or a single resource as a list of one.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<Vec<T>, ClientError> {
        let url = self.api(segments, query);
        let response = self.answer(&url, self.request(Method::GET, url.clone()).send().await)?;
        let status = response.status();
        let text = response
            .text()
            .await
            .map_err(|error| ClientError::Unreachable { url: url.clone(), source: RootCause::of(&error) })?;
        let body: Option<Value> = serde_json::from_str(&text).ok();
        if !status.is_success() {
            let message = body.as_ref().and_then(|body| body["error"].as_str()).unwrap_or("no reason given");
            return Err(ClientError::of_status(status, &segments.join("/"), message.to_owned()));
        }
        let items = body
            .as_ref()
            .and_then(Value::as_object)
            .and_then(|object| object.iter().find(|(key, _)| *key != "meta"))
            .map(|(_, items)| items.clone());
        let Some(items) = items else {
            return Err(ClientError::NoMaster { url, reason: "the body is no API answer".to_owned() });
        };
        serde_json::from_value(items)
            .map_err(|error| ClientError::NoMaster { url, reason: format!("unexpected fields: {error}") })
    }

    /// Reads a single resource.
    pub(crate) async fn one<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, ClientError> {
        let what = segments.join("/");
        self.list(segments, &[])
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| ClientError::NotFound { what, message: "the answer is empty".to_owned() })
    }

    /// A control call; answers its result.
    pub(crate) async fn control(
        &self,
        segments: &[&str],
        method: &str,
        params: &serde_json::Map<String, Value>,
    ) -> Result<Value, ClientError> {
        let url = self.api(segments, &[]);
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.answer(&url, self.request(Method::POST, url.clone()).json(&call).send().await)?;
        let status = response.status();
        let body: Value = response
            .json()
            .await
            .map_err(|error| ClientError::NoMaster { url: url.clone(), reason: RootCause::of(&error).0 })?;
        if let Some(result) = body.get("result") {
            return Ok(result.clone());
        }
        match &body["error"]["message"] {
            Value::Object(fields) => Err(ClientError::Fields(
                fields
                    .iter()
                    .map(|(name, text)| (name.clone(), text.as_str().map_or_else(|| text.to_string(), str::to_owned)))
                    .collect(),
            )),
            Value::String(message) => Err(ClientError::of_status(status, &segments.join("/"), message.clone())),
            _ => Err(ClientError::of_status(status, &segments.join("/"), "no reason given".to_owned())),
        }
    }
}

/// A builder.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Builder {
    pub(crate) builderid: i64,
    pub(crate) name: String,
}

/// A build.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Build {
    pub(crate) buildid: i64,
    pub(crate) number: i64,
    pub(crate) builderid: i64,
    pub(crate) started_at: i64,
    pub(crate) complete: bool,
    pub(crate) complete_at: Option<i64>,
    pub(crate) results: Option<i64>,
    pub(crate) state_string: String,
}

/// A build request.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct BuildRequest {
    pub(crate) builderid: i64,
    pub(crate) claimed: bool,
    pub(crate) complete: bool,
    pub(crate) results: Option<i64>,
}

/// A step.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Step {
    pub(crate) stepid: i64,
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) started_at: Option<i64>,
    pub(crate) complete: bool,
    pub(crate) complete_at: Option<i64>,
    pub(crate) results: Option<i64>,
    pub(crate) state_string: String,
    pub(crate) hidden: bool,
}

/// A log of a step.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Log {
    pub(crate) logid: i64,
    pub(crate) name: String,
    pub(crate) slug: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) num_lines: i64,
    pub(crate) complete: bool,
}

/// Some lines of a log.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LogChunk {
    pub(crate) content: String,
}

/// The name of a result code.
pub(crate) fn result_name(results: Option<i64>) -> &'static str {
    match results {
        Some(0) => "success",
        Some(1) => "warnings",
        Some(2) => "failure",
        Some(3) => "skipped",
        Some(4) => "exception",
        Some(5) => "retry",
        Some(6) => "cancelled",
        Some(_) | None => "unknown",
    }
}

/// The exit code for a result: 0 if nothing is wrong (success, warnings, skipped), 1 for a failure, 4 exception,
/// 5 retry, 6 cancelled. Usage errors are 2, trouble of the command itself is 3.
pub(crate) fn result_exit_code(results: Option<i64>) -> u8 {
    match results {
        Some(0 | 1 | 3) => 0,
        Some(2) => 1,
        Some(5) => 5,
        Some(6) => 6,
        Some(_) | None => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn client(url: &str) -> Client {
        let args = ServerArgs { url: url.parse().unwrap(), user: None, password: None };
        Client::connect(&args).await.unwrap()
    }

    #[tokio::test]
    async fn addresses_keep_the_sites_path_and_encode_names() {
        let client = client("http://ci.example.org/farm").await;
        assert_eq!(
            client.api(&["builders", "deploy prod/x"], &[("limit", "3".to_owned())]).as_str(),
            "http://ci.example.org/farm/api/v2/builders/deploy%20prod%2Fx?limit=3"
        );
        assert_eq!(client.page("builds/1"), "http://ci.example.org/farm/#/builds/1");
    }

    #[tokio::test]
    async fn nobody_listening_says_what_to_check() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = client(&url).await.one::<Builder>(&["builders", "1"]).await.unwrap_err();
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(text.contains("refused") && text.contains("--url"), "{text}");
    }

    #[test]
    fn an_address_of_another_kind_is_a_usage_error() {
        let args = ServerArgs { url: "ftp://x/".parse().unwrap(), user: None, password: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(matches!(runtime.block_on(Client::connect(&args)), Err(ClientError::Usage(_))));
    }

    #[test]
    fn results_have_names_and_exit_codes() {
        let codes: Vec<_> = (0..7).map(|code| result_exit_code(Some(code))).collect();
        assert_eq!(codes, [0, 0, 1, 0, 4, 5, 6]);
        assert_eq!(result_name(Some(6)), "cancelled");
        assert_eq!(result_name(Some(-1)), "unknown");
    }
}
