//! Where to listen: addresses of the settings, ports and endpoint strings of the farm config.
//!
//! The checker of the farm config and the server that binds the sockets read them alike, so that what is checked is what
//! is served.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;

/// Why a text names no place to listen at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A number beyond the ports.
    #[error("a port is a number from 0 to 65535, not {0}")]
    Port(String),
    /// Neither a number nor a text.
    #[error("a port is a number or an endpoint string")]
    Shape,
    /// Not `host:port`.
    #[error("{0:?}: expected a port, or host:port with the host as a number (127.0.0.1, [::1])")]
    Address(String),
    /// The `interface=` of an endpoint is no address.
    #[error("the interface {0:?} is no address")]
    Interface(String),
    /// An endpoint of Twisted's that is not served.
    #[error("only tcp endpoints are served, not {0}; put TLS into the proxy in front of the master")]
    Endpoint(String),
    /// An option of an endpoint that is not known.
    #[error("unknown option {0:?} of a tcp endpoint; allowed are port, interface and backlog")]
    Option(String),
    /// An endpoint without a port.
    #[error("the endpoint names no port")]
    NoPort,
}

/// An address of the settings: `host:port`, `[::1]:port`, or a port for all interfaces. Several are separated by commas.
///
/// # Errors
/// If it is none of these.
pub fn from_setting(text: &str) -> Result<Vec<SocketAddr>, ListenError> {
    text.split(',').map(|part| address(part.trim())).collect()
}

/// A port of the farm config: a number, or an endpoint string such as `tcp:8010:interface=127.0.0.1`.
///
/// # Errors
/// If it is neither.
pub fn from_farm(port: &Value) -> Result<SocketAddr, ListenError> {
    match port {
        Value::Number(number) => number
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            .ok_or_else(|| ListenError::Port(number.to_string())),
        Value::String(text) => endpoint(text),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(ListenError::Shape),
    }
}

fn address(text: &str) -> Result<SocketAddr, ListenError> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port_number(text)?)));
    }
    text.replace("localhost", "127.0.0.1").parse().map_err(|_| ListenError::Address(text.to_owned()))
}

fn port_number(text: &str) -> Result<u16, ListenError> {
    text.parse().map_err(|_| ListenError::Port(text.to_owned()))
}

/// `tcp:PORT[:interface=ADDRESS]`, `tcp:port=PORT`, or just digits; the form of Twisted's endpoints.
fn endpoint(text: &str) -> Result<SocketAddr, ListenError> {
    let Some(options) = text.strip_prefix("tcp:") else {
        return match text.split_once(':') {
            Some((kind @ ("ssl" | "tls" | "haproxy" | "unix" | "systemd" | "tcp6" | "fd"), _)) => {
                Err(ListenError::Endpoint(kind.to_owned()))
            }
            _ => address(text),
        };
    };
    // A backslash keeps a colon from being a separator, as in interface=\:\:1.
    let unescaped = options.replace("\\:", "\u{0}");
    let mut interface = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut port = None;
    for (index, part) in unescaped.split(':').enumerate() {
        let part = part.replace('\u{0}', ":");
        match part.split_once('=') {
            Some(("interface", value)) => {
                let value = if value == "localhost" { "127.0.0.1" } else { value };
                interface = value.parse().map_err(|_| ListenError::Interface(value.to_owned()))?;
            }
            Some(("port", value)) => port = Some(port_number(value)?),
            Some(("backlog", _)) => {}
            Some((other, _)) => return Err(ListenError::Option(other.to_owned())),
            None if index == 0 => port = Some(port_number(&part)?),
            None => return Err(ListenError::Option(part)),
        }
    }
    Ok(SocketAddr::new(interface, port.ok_or(ListenError::NoPort)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn buildbots_endpoints_are_understood() {
        for (port, expected) in [
            (json!(8010), "0.0.0.0:8010"),
            (json!("8010"), "0.0.0.0:8010"),
            (json!("tcp:8010"), "0.0.0.0:8010"),
            (json!("tcp:8010:interface=127.0.0.1"), "127.0.0.1:8010"),
            (json!("tcp:port=8010:interface=localhost"), "127.0.0.1:8010"),
            (json!("tcp:8010:interface=\\:\\:1"), "[::1]:8010"),
            (json!("127.0.0.1:8010"), "127.0.0.1:8010"),
        ] {
            assert_eq!(from_farm(&port).expect("parses").to_string(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (port, expected) in [
            (json!(70000), "65535, not 70000"),
            (json!(-1), "65535, not -1"),
            (json!("99999"), "65535, not 99999"),
            (json!("tcp:99999"), "65535, not 99999"),
            (json!("tcp:x"), "65535, not x"),
            (json!("xyz"), "host:port"),
            (json!(""), "host:port"),
            (json!("ssl:443"), "only tcp endpoints are served, not ssl"),
            (json!([1]), "a number or an endpoint string"),
            (json!("tcp:1:colour=red"), "unknown option \"colour\""),
            (json!("tcp:interface=127.0.0.1"), "no port"),
            (json!("tcp:1:interface=here"), "\"here\" is no address"),
        ] {
            let error = from_farm(&port).expect_err("refused").to_string();
            assert!(error.contains(expected), "{port}: {error}");
        }
    }

    #[test]
    fn settings_may_name_several_addresses() {
        assert_eq!(from_setting("127.0.0.1:8010, [::1]:8010").map(|a| a.len()), Ok(2));
        assert!(from_setting("nowhere").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in "(tcp:|ssl:)?[0-9a-z:=\\\\.\\[\\]]{0,40}") {
            let _ = from_farm(&Value::from(text.as_str()));
            let _ = from_setting(&text);
        }
    }
}
