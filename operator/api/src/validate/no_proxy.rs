//! Which hosts are reached without a proxy, by the rules of the variable `NO_PROXY` as Go reads it.
//! Pure.

use std::net::IpAddr;

use ipnet::IpNet;

/// Whether one of the entries excludes an address, host:port, from the proxy.
pub fn excludes<'a>(entries: impl Iterator<Item = &'a str>, address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let host = host_name(host);
    let mut entries = entries.map(str::trim);
    entries.any(|entry| entry == "*" || excludes_host(entry, &host, port))
}

fn excludes_host(entry: &str, host: &str, port: &str) -> bool {
    if let Ok(range) = entry.parse::<IpNet>() {
        return host.parse().is_ok_and(|ip: IpAddr| range.contains(&ip));
    }
    let (entry, entry_port) = split_port(entry);
    if entry_port.is_some_and(|entry_port| entry_port != port) {
        return false;
    }
    let entry = host_name(entry);
    if let (Ok(entry), Ok(host)) = (entry.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        return entry == host;
    }
    let entry = entry.strip_prefix('*').unwrap_or(&entry);
    let domain = entry.strip_prefix('.');
    let parent = host.strip_suffix(domain.unwrap_or(entry));
    // An empty entry is no parent.
    parent.is_some_and(|rest| match rest {
        "" => domain.is_none(),
        rest => rest.ends_with('.') && !entry.is_empty(),
    })
}

/// An entry without its port. An IPv6 address has a port only if it is in brackets.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (entry, None),
    }
}

/// A host as it is compared: without brackets and the dot of an absolute name.
fn host_name(host: &str) -> String {
    let host = host.trim_matches(['[', ']']);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_excluded_by_its_name_its_domain_its_address_or_its_network() {
        let table = [
            ("*", "temporal.shop.svc:7233", true),
            ("temporal.shop.svc", "temporal.shop.svc:7233", true),
            ("Shop.SVC", "temporal.shop.svc:7233", true),
            (".shop.svc", "temporal.shop.svc:7233", true),
            ("*.shop.svc", "temporal.shop.svc:7233", true),
            ("shop.svc.", "temporal.shop.svc:7233", true),
            ("svc", "temporal.shop.svc.:7233", true),
            (".temporal.shop.svc", "temporal.shop.svc:7233", false),
            ("hop.svc", "temporal.shop.svc:7233", false),
            ("temporal", "temporal.shop.svc:7233", false),
            ("shop.svc:7233", "temporal.shop.svc:7233", true),
            ("shop.svc:443", "temporal.shop.svc:7233", false),
            (".", "temporal:7233", false),
            ("", "temporal:7233", false),
            ("10.0.0.0/8", "10.1.2.3:7233", true),
            ("10.0.0.0/8", "11.1.2.3:7233", false),
            ("10.0.0.0/8", "temporal:7233", false),
            ("10.1.2.3", "10.1.2.3:7233", true),
            ("10.1.2.3:443", "10.1.2.3:7233", false),
            ("fd00::/8", "[fd00::1]:7233", true),
            ("fd00:0::1", "[fd00::1]:7233", true),
            ("[fd00::1]:7233", "[fd00::1]:7233", true),
            ("[fd00::1]:443", "[fd00::1]:7233", false),
        ];
        for (entry, address, expected) in table {
            let found = excludes([entry].into_iter(), address);
            assert_eq!(found, expected, "{entry:?} for {address}");
        }
        assert!(!excludes([].into_iter(), "temporal:7233"));
        assert!(excludes(["other", "*"].into_iter(), "temporal:7233"));
    }
}
