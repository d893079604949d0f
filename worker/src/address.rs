//! Where the master is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use worker_protocol::DEFAULT_PORT;

/// A master's address. Written as `HOST[:PORT]`, as a URL (`ws://HOST[:PORT]/PATH`, `wss://…`: for masters behind a web
/// server), or as one of Twisted's endpoint strings (`tcp:host=HOST:port=PORT`, `tls:HOST:PORT`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterAddress {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Use TLS.
    pub tls: bool,
    /// The path of the request.
    pub path: String,
}

/// An address that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("\"{0}\" is no master address: expected HOST[:PORT], ws://HOST[:PORT]/PATH or wss://HOST[:PORT]/PATH")]
pub struct AddressError(String);

impl MasterAddress {
    /// The URL of the WebSocket request.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for MasterAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url())
    }
}

impl FromStr for MasterAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        for (scheme, tls, port) in [("ws://", false, 80), ("wss://", true, 443)] {
            if let Some(rest) = text.strip_prefix(scheme) {
                let at = rest.find('/').unwrap_or(rest.len());
                let (host, port) = host_port(&rest[..at], port).ok_or_else(error)?;
                let path = if at == rest.len() { "/" } else { &rest[at..] };
                return Ok(Self { host, port, tls, path: path.to_owned() });
            }
        }
        for (prefix, tls) in [("tcp:", false), ("tls:", true), ("ssl:", true)] {
            if let Some(rest) = text.strip_prefix(prefix) {
                let (host, port) = endpoint(rest).ok_or_else(error)?;
                return Ok(Self { host, port, tls, path: "/".to_owned() });
            }
        }
        let (host, port) = host_port(text, DEFAULT_PORT).ok_or_else(error)?;
        Ok(Self { host, port, tls: false, path: "/".to_owned() })
    }
}

fn host_port(text: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let valid = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    valid.then(|| (host.to_owned(), port))
}

/// `host=H:port=P` or `H:P`; other parameters are ignored.
fn endpoint(text: &str) -> Option<(String, u16)> {
    let (mut host, mut port) = (None, None);
    let mut positional = 0;
    for part in text.split(':') {
        match part.split_once('=') {
            Some(("host", value)) => host = Some(value),
            Some(("port", value)) => port = Some(value),
            Some(_) => {}
            None => {
                positional += 1;
                if positional == 1 { host = Some(part) } else { port = port.or(Some(part)) }
            }
        }
    }
    host_port(&format!("{}:{}", host?, port?), DEFAULT_PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        for (text, url) in [
            ("ci.example.org", "ws://ci.example.org:9989/"),
            ("ci.example.org:1234", "ws://ci.example.org:1234/"),
            ("[::1]:1234", "ws://[::1]:1234/"),
            ("wss://ci.example.org/worker", "wss://ci.example.org:443/worker"),
            ("ws://ci.example.org:8010", "ws://ci.example.org:8010/"),
            ("tcp:host=ci:port=9989", "ws://ci:9989/"),
            ("tls:ci:9989:trustRoots=/etc", "wss://ci:9989/"),
        ] {
            assert_eq!(text.parse::<MasterAddress>().unwrap().url(), url, "{text}");
        }
        for text in ["", ":1", "host:port", "a b", "host:70000", "[::1", "tcp:", "http://x/"] {
            assert!(text.parse::<MasterAddress>().is_err(), "{text}");
        }
    }
}
