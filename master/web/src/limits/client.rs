//! Whose request it is: the address of the connection, or what a trusted proxy says.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use actix_web::HttpRequest;

/// The address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address; of IPv6 the network, because one client has all addresses of it.
    pub(crate) address: IpAddr,
    /// Whether limits apply to it.
    pub(crate) is_limited: bool,
    /// Whether a proxy speaks for it.
    pub(crate) is_proxied: bool,
}

/// A range of addresses that proxies have, such as `10.0.0.0/8` or `::1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyRange {
    network: IpAddr,
    prefix: u8,
}

/// A text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an address such as 10.1.2.3 or a range such as 10.0.0.0/8")]
pub struct ProxyRangeError;

impl FromStr for ProxyRange {
    type Err = ProxyRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, prefix) = match text.split_once('/') {
            Some((network, prefix)) => (network, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = network.parse().map_err(|_| ProxyRangeError)?;
        let max = if network.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= max).ok_or(ProxyRangeError)?,
            None => max,
        };
        Ok(Self { network, prefix })
    }
}

impl ProxyRange {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.network, plain(address)) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// An IPv4 address in IPv6 notation, as sockets for both have it, is an IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

/// What limits are counted by.
pub(super) fn counted(address: IpAddr) -> IpAddr {
    match plain(address) {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn peer(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| plain(peer.ip()))
}

fn is_trusted(address: IpAddr, proxies: &[ProxyRange]) -> bool {
    proxies.iter().any(|range| range.contains(address))
}

/// An address as proxies write it: alone, or with a port.
fn written_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    text.parse::<std::net::SocketAddr>().map(|address| address.ip()).ok()
}

/// The client of a request: the last address in `X-Forwarded-For` that is no trusted proxy, if the connection comes from
/// one; what stands before that the client may have written itself.
pub(crate) fn client_of(request: &HttpRequest, proxies: &[ProxyRange]) -> Client {
    let peer = peer(request);
    if is_trusted(peer, proxies) {
        let mut client = None;
        let values = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
        let addresses: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
        for address in addresses.into_iter().rev() {
            let Some(address) = written_address(address).map(plain) else { break };
            client = Some(address);
            if !is_trusted(address, proxies) {
                break;
            }
        }
        if let Some(address) = client {
            return Client { address: counted(address), is_limited: true, is_proxied: true };
        }
    }
    Client { address: counted(peer), is_limited: !peer.is_loopback(), is_proxied: false }
}

/// The host that a trusted proxy says the client asked for.
pub(crate) fn forwarded_host<'a>(request: &'a HttpRequest, proxies: &[ProxyRange]) -> Option<&'a str> {
    if !is_trusted(peer(request), proxies) {
        return None;
    }
    let host = request.headers().get("x-forwarded-host")?.to_str().ok()?;
    host.split(',').next().map(str::trim)
}

/// Whether a proxy, trusted or not, says that a request comes from another machine.
pub(crate) fn comes_from_elsewhere(request: &HttpRequest) -> bool {
    let headers = request.headers();
    let is_loopback = |value: &str| written_address(value).is_some_and(|address| plain(address).is_loopback());
    let mut addresses = ADDRESSES.iter().flat_map(|name| headers.get_all(*name));
    PROXIED.iter().any(|name| headers.contains_key(*name))
        || addresses.any(|value| !value.to_str().is_ok_and(|value| value.split(',').all(is_loopback)))
}

/// Headers in which proxies tell whose request they hand on.
const ADDRESSES: [&str; 3] = ["x-forwarded-for", "x-real-ip", "x-client-ip"];

/// Headers that only proxies send.
const PROXIED: [&str; 4] = ["forwarded", "via", "x-forwarded-host", "x-forwarded-server"];

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn ranges(texts: &[&str]) -> Vec<ProxyRange> {
        texts.iter().map(|text| text.parse().expect("a range")).collect()
    }

    fn client(peer: &str, forwarded: &[&str], proxies: &[&str]) -> (String, bool, bool) {
        let mut request = TestRequest::default().peer_addr(peer.parse().expect("an address"));
        for value in forwarded {
            request = request.append_header(("x-forwarded-for", *value));
        }
        let client = client_of(&request.to_http_request(), &ranges(proxies));
        (client.address.to_string(), client.is_limited, client.is_proxied)
    }

    #[test]
    fn whatever_a_proxy_says_of_another_machine_counts() {
        let elsewhere = |name: &str, value: &str| {
            comes_from_elsewhere(&TestRequest::default().append_header((name, value)).to_http_request())
        };
        for (name, value) in [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-for", "127.0.0.1, 192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("forwarded", "for=127.0.0.1"),
            ("via", "1.1 proxy"),
            ("x-forwarded-host", "ci.example"),
        ] {
            assert!(elsewhere(name, value), "{name}: {value}");
        }
        assert!(!elsewhere("x-real-ip", "127.0.0.1"));
        assert!(!elsewhere("accept", "application/json"));
    }

    #[test]
    fn only_trusted_proxies_speak_for_others() {
        let nobody: [&str; 0] = [];
        assert_eq!(client("192.0.2.7:1", &["10.9.9.9"], &nobody), ("192.0.2.7".to_owned(), true, false));
        assert_eq!(client("127.0.0.1:1", &["10.9.9.9"], &nobody), ("127.0.0.1".to_owned(), false, false));
        let proxies = ["127.0.0.1", "10.0.0.0/8"];
        for forwarded in
            [&["198.51.100.3"][..], &["1.1.1.1, 198.51.100.3, 10.0.0.2"], &["1.1.1.1", "198.51.100.3:4711"]]
        {
            assert_eq!(client("127.0.0.1:1", forwarded, &proxies), ("198.51.100.3".to_owned(), true, true));
        }
        assert_eq!(client("127.0.0.1:1", &["unknown"], &proxies), ("127.0.0.1".to_owned(), false, false));
        assert_eq!(client("[::ffff:127.0.0.1]:1", &["::1"], &proxies), ("::".to_owned(), true, true));
        // A client of IPv6 is its network.
        let v6 = client("[2001:db8:1:2:3:4:5:6]:1", &[], &nobody);
        assert_eq!(v6, ("2001:db8:1:2::".to_owned(), true, false));
    }

    #[test]
    fn what_a_proxy_on_this_machine_hands_on_is_told_apart() {
        let from_elsewhere = |name: &str, value: &str| {
            let request = TestRequest::default().insert_header((name.to_owned(), value.to_owned())).to_http_request();
            comes_from_elsewhere(&request)
        };
        for value in ["127.0.0.1", "::1, 127.0.0.1"] {
            assert!(!from_elsewhere("x-forwarded-for", value), "{value}");
        }
        for value in ["198.51.100.3", "127.0.0.1, 198.51.100.3", "unknown", ""] {
            assert!(from_elsewhere("x-forwarded-for", value), "{value}");
        }
        assert!(from_elsewhere("forwarded", "for=198.51.100.3"));
    }

    #[test]
    fn ranges_are_checked() {
        for text in ["", "x", "10.0.0.0/33", "::1/129", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<ProxyRange>(), Err(ProxyRangeError), "{text}");
        }
        let all: ProxyRange = "0.0.0.0/0".parse().expect("a range");
        assert!(all.contains(IpAddr::V4(Ipv4Addr::BROADCAST)));
        assert!(!all.contains(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    }

    proptest! {
        /// Whatever a client sends, it gets no other address than its own without a trusted proxy.
        #[test]
        fn headers_do_not_matter_without_a_proxy(value in "[ -~]{0,60}") {
            let request = TestRequest::default()
                .peer_addr(([192, 0, 2, 7], 1).into())
                .insert_header(("x-forwarded-for", value))
                .to_http_request();
            let own = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
            prop_assert_eq!(client_of(&request, &[]).address, own);
        }
    }
}
