//! Who may ask: not a page of another site, although the browser that shows it is on this machine.
//!
//! A page can make its own host name point to the loopback, and then reads what is served there as if it were its own. It cannot
//! make a browser send another `Host` than its name: so a request must be for an address, for `localhost`, or for a name that
//! the configuration lists. Whoever is no browser says what it likes, and reaches the port anyway.

use std::net::{IpAddr, Ipv6Addr};

use hyper::header::{HOST, ORIGIN};
use hyper::{Request, StatusCode};

/// Refuses `request` with a status and a line for whoever sent it; `hosts` are the names that are allowed, in lower case.
pub(super) fn refuse<B>(request: &Request<B>, hosts: &[String]) -> Option<(StatusCode, String)> {
    let header = |name| request.headers().get_all(name).iter();
    let mut named = header(HOST);
    // What the request line says wins, as HTTP has it; a request of HTTP/1.0 need not say.
    let asked = match request.uri().authority() {
        Some(authority) => Some(authority.as_str().to_owned()),
        None => named.next().map(|value| value.to_str().unwrap_or("?").to_owned()),
    };
    if named.next().is_some() && request.uri().authority().is_none() {
        return Some((StatusCode::BAD_REQUEST, "more than one Host\n".to_owned()));
    }
    if let Some(authority) = &asked
        && !is_allowed(authority, hosts)
    {
        let text = format!(
            "this server does not answer for {authority:?}: ask for its address or localhost, or add the name to \
             engine.admin_hosts\n"
        );
        return Some((StatusCode::MISDIRECTED_REQUEST, text));
    }
    let same = |origin: &str| {
        let of = origin.split_once("://").map(|(_, authority)| authority);
        of.is_some() && of == asked.as_deref()
    };
    if header(ORIGIN).any(|origin| !origin.to_str().is_ok_and(same)) {
        return Some((StatusCode::FORBIDDEN, "not for pages of another site\n".to_owned()));
    }
    None
}

/// Whether `authority`, a host with or without a port, is an address, `localhost` or a name of `hosts`.
fn is_allowed(authority: &str, hosts: &[String]) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => return rest.split_once(']').is_some_and(|(host, _)| host.parse::<Ipv6Addr>().is_ok()),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host.parse::<IpAddr>().is_ok() || host == "localhost" || hosts.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uri: &str, headers: &[(&str, &str)]) -> u16 {
        let builder = headers.iter().fold(Request::get(uri), |builder, (name, value)| builder.header(*name, *value));
        refuse(&builder.body(()).unwrap(), &["node-1.example.org".to_owned()])
            .map_or(200, |(status, _)| status.as_u16())
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9740",
            "localhost",
            "LOCALHOST:9740",
            "localhost.",
            "[::1]",
            "[::1]:9740",
            "10.0.0.7:9740",
            "node-1.example.org",
            "Node-1.Example.ORG:80",
        ] {
            assert_eq!(status("/metrics", &[("host", host)]), 200, "{host}");
        }
        assert_eq!(status("/metrics", &[]), 200, "HTTP/1.0");
        for host in [
            "attacker.example",
            "attacker.example:9740",
            "127.0.0.1.attacker.example",
            "localhost.attacker.example",
            "",
            "[attacker]",
            "::1",
            "node-1.example.org.evil",
            "127.0.0.1@attacker.example",
        ] {
            assert_eq!(status("/metrics", &[("host", host)]), 421, "{host}");
        }
        // The request line wins over the header, and two headers are no answer.
        assert_eq!(status("http://attacker.example/metrics", &[("host", "localhost")]), 421);
        assert_eq!(status("http://localhost/metrics", &[("host", "attacker.example")]), 200);
        assert_eq!(status("/metrics", &[("host", "localhost"), ("host", "attacker.example")]), 400);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let of = |origin: &str| status("/metrics", &[("host", "localhost:9740"), ("origin", origin)]);
        assert_eq!(of("http://localhost:9740"), 200);
        for origin in
            ["http://attacker.example", "null", "http://localhost", "http://localhost:9741", "", "localhost:9740"]
        {
            assert_eq!(of(origin), 403, "{origin}");
        }
    }
}
