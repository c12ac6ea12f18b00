//! From which address a request comes: that of the connection, or behind trusted proxies the one that they tell of.
//!
//! `Forwarded` is RFC 7239, `X-Forwarded-For` its forerunner. Each proxy adds the address that it was called from at the right, so only what
//! stands right of the first address that is no trusted proxy's can be believed.

use crate::config::Network;
use actix_web::HttpRequest;
use actix_web::http::header::{FORWARDED, HeaderMap, X_FORWARDED_FOR};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The address of who sent a request.
pub fn of(request: &HttpRequest, trusted: &[Network]) -> IpAddr {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical());
    if trusted.is_empty() { peer } else { behind(peer, request.headers(), trusted) }
}

/// Where both headers are there they have to agree: a proxy adds to one of them, and the other may be of the client's making.
fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.has(address));
    if !is_trusted(peer) {
        return peer;
    }
    let hops = |name, read: fn(&str) -> Option<IpAddr>| {
        let values: Vec<&str> = headers.get_all(name).map(|value| value.to_str().unwrap_or_default()).collect();
        let mut last = peer;
        for hop in values.iter().flat_map(|value| value.split(',')).rev() {
            match read(hop) {
                Some(address) => last = address,
                None => break,
            }
            if !is_trusted(last) {
                break;
            }
        }
        (!values.is_empty()).then_some(last)
    };
    match (hops(FORWARDED, forwarded), hops(X_FORWARDED_FOR, address)) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(address), _) | (None, Some(address)) => address,
        (None, None) => peer,
    }
}

/// `for` of one element of `Forwarded`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    address(value.trim_matches('"'))
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn from(peer: &str, headers: &[(&'static str, &str)]) -> String {
        let trusted: Vec<Network> =
            ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"].map(|text| text.parse().unwrap()).into();
        let request = TestRequest::default().peer_addr(SocketAddr::new(peer.parse().unwrap(), 4711));
        let request = headers.iter().fold(request, |request, header| request.append_header(*header));
        of(&request.to_http_request(), &trusted).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_no_proxy_counts() {
        const X: &str = "X-Forwarded-For";
        const F: &str = "Forwarded";
        for (peer, headers, address) in [
            ("10.1.1.1", &[][..], "10.1.1.1"),
            ("10.1.1.1", &[(X, "192.0.2.7")], "192.0.2.7"),
            ("::ffff:10.1.1.1", &[(X, "::ffff:192.0.2.7")], "192.0.2.7"),
            ("10.1.1.1", &[(X, "198.51.100.1, 192.0.2.7, 10.2.2.2")], "192.0.2.7"),
            ("10.1.1.1", &[(X, "198.51.100.1"), (X, "192.0.2.7:99,10.2.2.2")], "192.0.2.7"),
            ("10.1.1.1", &[(X, "10.3.3.3, 10.2.2.2")], "10.3.3.3"),
            ("10.1.1.1", &[(X, "192.0.2.7, nonsense, 10.2.2.2")], "10.2.2.2"),
            ("10.1.1.1", &[(F, "for=198.51.100.1, proto=https;For=\"[2001:dead::1]:80\";by=x")], "2001:dead::1"),
            ("10.1.1.1", &[(F, "for=192.0.2.7, for=\"[2001:db8::9]\"")], "192.0.2.7"),
            ("10.1.1.1", &[(F, "for=192.0.2.7, for=unknown")], "10.1.1.1"),
            ("10.1.1.1", &[(F, "for=\"x"), (F, "for=192.0.2.7")], "192.0.2.7"),
            // The client's own word beside the proxy's, and proxies that nobody trusts.
            ("10.1.1.1", &[(F, "for=198.51.100.1"), (X, "192.0.2.7")], "10.1.1.1"),
            ("10.1.1.1", &[(F, "for=192.0.2.7"), (X, "192.0.2.7")], "192.0.2.7"),
            ("192.0.2.9", &[(X, "192.0.2.7")], "192.0.2.9"),
            ("192.0.2.9", &[(F, "for=127.0.0.1")], "192.0.2.9"),
        ] {
            assert_eq!(from(peer, headers), address, "{peer} {headers:?}");
        }
    }
}
