//! Where to listen: addresses of the settings, ports and endpoint strings of the farm config.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// An address of the settings: `host:port`, `[::1]:port`, or a port for all interfaces. Several are separated by commas.
///
/// # Errors
/// If it is none of these.
pub(super) fn from_setting(key: &str, text: &str) -> Result<Vec<SocketAddr>> {
    text.split(',').map(|part| address(part.trim()).with_context(|| format!("{key} = {text:?}"))).collect()
}

/// A port of the farm config: a number, or an endpoint string such as `tcp:8010:interface=127.0.0.1`.
///
/// # Errors
/// If it is neither.
pub(super) fn from_farm(key: &str, port: &Value) -> Result<SocketAddr> {
    let parsed = match port {
        Value::Number(number) => number
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
            .context("a port is a number from 0 to 65535"),
        Value::String(text) => endpoint(text),
        _ => Err(anyhow::anyhow!("a port is a number or an endpoint string")),
    };
    parsed.with_context(|| format!("{key} = {port}"))
}

fn address(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    }
    let text = text.replace("localhost", "127.0.0.1");
    text.parse().context("expected host:port, with the host as a number (127.0.0.1, [::1]), or a port")
}

/// `tcp:PORT[:interface=ADDRESS]`, `tcp:port=PORT`, or just digits; the form of Twisted's endpoints.
fn endpoint(text: &str) -> Result<SocketAddr> {
    if !text.contains(':') || !text.starts_with("tcp:") {
        if text.starts_with("ssl:") || text.starts_with("haproxy:") || text.starts_with("unix:") {
            bail!("only tcp endpoints are served; put TLS into the proxy in front of the master");
        }
        return address(text);
    }
    // A backslash keeps a colon from being a separator, as in interface=\:\:1.
    let unescaped = text.replace("\\:", "\u{0}");
    let mut interface = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut port = None;
    for (index, part) in unescaped.split(':').skip(1).enumerate() {
        let part = part.replace('\u{0}', ":");
        match part.split_once('=') {
            Some(("interface", value)) => {
                let value = if value == "localhost" { "127.0.0.1" } else { value };
                interface = value.parse().with_context(|| format!("{value:?} is no address"))?;
            }
            Some(("port", value)) => port = Some(value.to_owned()),
            Some(("backlog", _)) => {}
            Some((other, _)) => bail!("unknown option {other:?}; allowed are port, interface and backlog"),
            None if index == 0 => port = Some(part),
            None => bail!("{part:?} is no option"),
        }
    }
    let port = port.context("no port")?;
    Ok(SocketAddr::new(interface, port.parse().with_context(|| format!("{port:?} is no port"))?))
}

#[cfg(test)]
mod tests {
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
            assert_eq!(from_farm("port", &port).expect("parses").to_string(), expected);
        }
        for bad in [json!(70000), json!(-1), json!("tcp:x"), json!("ssl:443"), json!([1]), json!("tcp:1:colour=red")] {
            let error = format!("{:#}", from_farm("c['www']['port']", &bad).expect_err("refused"));
            assert!(error.contains("c['www']['port']"), "{error}");
        }
    }

    #[test]
    fn settings_may_name_several_addresses() {
        let addresses = from_setting("web.listen", "127.0.0.1:8010, [::1]:8010").expect("parses");
        assert_eq!(addresses.len(), 2);
        assert!(from_setting("web.listen", "nowhere").is_err());
    }
}
