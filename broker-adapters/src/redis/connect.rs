//! From a URL to connections: a server, or whichever server the sentinels call the primary.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisResult, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use crate::{BrokerOptions, OpenError};

/// How long connecting, TLS and authentication included, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections.
pub(super) enum Connector {
    Server(Client),
    /// The client learns from the sentinels at each connection who the primary is.
    Sentinels(Mutex<SentinelClient>),
}

impl Connector {
    pub(super) fn new(options: &BrokerOptions) -> Result<Self, OpenError> {
        crate::tls::use_ring();
        let certificates =
            TlsCertificates { client_tls: None, root_cert: options.authorities.clone().map(String::into_bytes) };
        let invalid = |error: redis::RedisError| OpenError::Invalid(error.into());
        if let Some((scheme, rest)) = options.url.split_once("+sentinel://") {
            return sentinels(scheme, rest, certificates).map(|client| Self::Sentinels(Mutex::new(client)));
        }
        let client = if options.url.starts_with("rediss:") {
            Client::build_with_tls(options.url.as_str(), certificates).map_err(invalid)?
        } else {
            Client::open(options.url.as_str()).map_err(invalid)?
        };
        Ok(Self::Server(client))
    }

    /// A new connection. What is asked on it has no time limit of its own.
    pub(super) async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIMEOUT)).set_response_timeout(None);
        match self {
            Self::Server(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Self::Sentinels(client) => client.lock().await.get_async_connection_with_config(&config).await,
        }
    }
}

/// `[user:password@]host[:port],host[:port].../service[/database]`; the credentials are those of the servers.
fn sentinels(scheme: &str, rest: &str, certificates: TlsCertificates) -> Result<SentinelClient, OpenError> {
    let wrong = |what: &str| OpenError::Invalid(what.into());
    let (authority, path) = rest.split_once('/').ok_or_else(|| wrong("the service is missing: host,host/service"))?;
    let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (service, database) = path.split_once('/').unwrap_or((path, "0"));
    if service.is_empty() {
        return Err(wrong("the service is missing: host,host/service"));
    }
    let mut nodes = Vec::new();
    for host in hosts.split(',') {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
        nodes.push(ConnectionAddr::Tcp(name.to_owned(), port.parse().map_err(|_| wrong("a port is not a number"))?));
    }
    // The crate's own parser decodes the credentials.
    let info = format!("redis://{credentials}{}localhost", if credentials.is_empty() { "" } else { "@" });
    let info = info.into_connection_info().map_err(|error| OpenError::Invalid(error.into()))?;
    let build = || {
        let mut builder = SentinelClientBuilder::new(nodes, service, SentinelServerType::Master)?
            .set_client_to_redis_db(database.parse().unwrap_or_default());
        if let Some(username) = info.redis_settings().username() {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = info.redis_settings().password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if scheme == "rediss" {
            builder =
                builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_redis_certificates(certificates);
        }
        builder.build()
    };
    build().map_err(|error: redis::RedisError| OpenError::Invalid(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_understood_or_refused_without_showing_the_password() {
        let open = |url: &str| Connector::new(&BrokerOptions::new(url.to_owned()));
        for url in [
            "redis://h",
            "rediss://:secret@h:7000/3",
            "redis+sentinel://a:1,b,c:3/main",
            "rediss+sentinel://u:secret@a/main/2",
        ] {
            assert!(open(url).is_ok(), "{url}");
        }
        for url in ["redis://:secret@h:port", "redis+sentinel://u:secret@a:1,b", "redis+sentinel://u:secret@a:x/main"] {
            let Err(error) = open(url) else { panic!("{url} is understood") };
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
