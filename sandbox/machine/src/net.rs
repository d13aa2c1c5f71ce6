//! Addresses and ports, inside the sandbox's network namespace and outside on loopback. Binds
//! loopback ports to see whether they are free; no other I/O.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, TcpListener},
};

use crate::{
    error::{Attempt, Result},
    paths::Name,
};

/// The node's address, on a bridge of its own; everything beside the pods listens on it.
pub const NODE_ADDRESS: &str = "10.250.0.1";
/// The node's address, to bind to.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 250, 0, 1);
/// The bridge that carries the node's address.
pub(crate) const BRIDGE: &str = "node0";
/// The range of pods' addresses.
pub(crate) const POD_RANGE: &str = "10.244.0.0/24";
/// The range of Services' addresses.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The Service of the Kubernetes API.
pub(crate) const API_SERVICE: &str = "10.96.0.1";
/// The Service of the cluster's DNS.
pub(crate) const DNS_SERVICE: &str = "10.96.0.10";

/// A port inside the sandbox that a person outside reaches on loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// The key under which the port outside is recorded.
    pub name: &'static str,
    /// The port inside.
    pub inside: u16,
    /// The port outside that the sandbox named `default` uses if it is free.
    pub preferred: u16,
}

/// Every port that is reachable from outside.
pub const FORWARDS: [Forward; 7] = [
    Forward {
        name: "api",
        inside: 6443,
        preferred: 16443,
    },
    Forward {
        name: "temporal",
        inside: 7233,
        preferred: 17233,
    },
    Forward {
        name: "temporal-ui",
        inside: 8233,
        preferred: 18233,
    },
    Forward {
        name: "prometheus",
        inside: 9090,
        preferred: 19090,
    },
    Forward {
        name: "gateway",
        inside: 8090,
        preferred: 18090,
    },
    Forward {
        name: "postgres",
        inside: 5432,
        preferred: 15432,
    },
    Forward {
        name: "smtp",
        inside: 2525,
        preferred: 12525,
    },
];

/// Ports outside, by the names of [`FORWARDS`].
pub type Ports = BTreeMap<String, u16>;

/// A listener with the forward that it serves.
pub(crate) type Bound = (Forward, TcpListener);

/// Binds every forwarded port on loopback: the one used before, else the preferred one of the
/// sandbox `default`, else any free one.
pub(crate) fn bind_all(name: &Name, before: &Ports) -> Result<Vec<Bound>> {
    FORWARDS
        .iter()
        .map(|forward| Ok((*forward, bind(*forward, name, before)?)))
        .collect()
}

/// The ports that pods of an external cluster need.
const FOR_PODS: [&str; 4] = ["temporal", "postgres", "smtp", "gateway"];

/// The same beside an external cluster, whose API is elsewhere. What its pods need is bound at
/// `host`, too, or at every address where `host` is none of this machine's (then something
/// translates it).
pub(crate) fn bind_for_external_cluster(
    name: &Name,
    before: &Ports,
    host: IpAddr,
) -> Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for forward in FORWARDS.into_iter().filter(|forward| forward.name != "api") {
        let local = bind(forward, name, before)?;
        let port = local
            .local_addr()
            .attempt(|| format!("reading the port of {}", forward.name))?
            .port();
        if !FOR_PODS.contains(&forward.name) {
            bound.push((forward, local));
            continue;
        }
        let what = |address: IpAddr| move || format!("listening on {address}:{port}");
        match TcpListener::bind((host, port)) {
            Ok(there) => bound.extend([(forward, local), (forward, there)]),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                drop(local);
                let every = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                bound.push((
                    forward,
                    TcpListener::bind((every, port)).attempt(what(every))?,
                ));
            }
            Err(error) => return Err(error).attempt(what(host)),
        }
    }
    Ok(bound)
}

fn bind(forward: Forward, name: &Name, before: &Ports) -> Result<TcpListener> {
    candidates(forward, name, before)
        .into_iter()
        .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
        .map_or_else(
            || {
                TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .attempt(|| format!("looking for a free port for {}", forward.name))
            },
            Ok,
        )
}

fn candidates(forward: Forward, name: &Name, before: &Ports) -> Vec<u16> {
    let preferred = name.is_default().then_some(forward.preferred);
    before
        .get(forward.name)
        .copied()
        .into_iter()
        .chain(preferred)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_used_before_come_first_and_only_the_default_sandbox_has_preferred_ones() {
        let api = FORWARDS[0];
        let before = Ports::from([("api".to_owned(), 40123)]);
        let other: Name = "other".parse().unwrap();
        assert_eq!(candidates(api, &Name::default(), &before), [40123, 16443]);
        assert_eq!(candidates(api, &Name::default(), &Ports::new()), [16443]);
        assert_eq!(candidates(api, &other, &before), [40123]);
        assert_eq!(candidates(api, &other, &Ports::new()), [0_u16; 0]);
    }

    #[test]
    fn services_for_pods_are_bound_where_pods_expect_them() {
        let bound = |host: &str| -> Vec<(&'static str, String)> {
            let name: Name = "other".parse().unwrap();
            let all =
                bind_for_external_cluster(&name, &Ports::new(), host.parse().unwrap()).unwrap();
            let ip = |listener: &TcpListener| listener.local_addr().unwrap().ip().to_string();
            all.iter()
                .map(|(forward, listener)| (forward.name, ip(listener)))
                .collect()
        };
        // An address for documentation, which no machine has.
        let elsewhere = bound("192.0.2.1");
        assert_eq!(elsewhere[0], ("temporal", "0.0.0.0".to_owned()));
        assert_eq!(elsewhere[1], ("temporal-ui", "127.0.0.1".to_owned()));
        assert_eq!(elsewhere.len(), 6);
        // Every Linux machine has this one.
        let here = bound("127.0.0.2");
        assert_eq!(here[0], ("temporal", "127.0.0.1".to_owned()));
        assert_eq!(here[1], ("temporal", "127.0.0.2".to_owned()));
        assert_eq!(here.len(), 10);
    }

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let before = Ports::from([("api".to_owned(), port)]);
        let other: Name = "other".parse().unwrap();
        let bound = bind(FORWARDS[0], &other, &before).unwrap();
        assert_ne!(bound.local_addr().unwrap().port(), port);
    }
}
