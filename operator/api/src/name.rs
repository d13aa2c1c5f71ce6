//! Names of the objects that the operator creates. Pure.

use sha2::{Digest, Sha256};

/// The longest name of a Deployment. Its pods add up to 17 characters (the hashes of the ReplicaSet
/// and of the pod). The name of a pod is also its host name, at most 63 characters, and must not be
/// cut: the worker's heartbeats are matched by it.
pub const MAX_DEPLOYMENT_NAME: usize = 46;

/// Hexadecimal digits of the hash.
const HASH: usize = 8;

/// The name of the Deployment of a queue: `{resource}-{queue}-{hash of both}`. Readable as far as
/// it fits, and unique by its hash (`a-b` with `c` differs from `a` with `b-c`).
pub fn deployment_name(resource: &str, queue: &str) -> String {
    // No name contains a slash, so different pairs give different texts to hash.
    let digest = Sha256::digest(format!("{resource}/{queue}"));
    let hash: u32 = digest
        .iter()
        .take(4)
        .fold(0, |hash, byte| hash << 8 | u32::from(*byte));
    let readable: String = format!("{resource}-{queue}")
        .chars()
        .take(MAX_DEPLOYMENT_NAME - HASH - 1)
        .collect();
    format!("{}-{hash:08x}", readable.trim_end_matches('-'))
}

/// Whether a text is a DNS label as Kubernetes defines it.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| inner(byte) || byte == b'-')
        && text.bytes().next().is_some_and(inner)
        && text.bytes().last().is_some_and(inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_readable_and_differs_for_each_pair() {
        assert_eq!(
            deployment_name("orders", "payments"),
            "orders-payments-bd01aba0"
        );
        assert_eq!(deployment_name("a-b", "c"), "a-b-c-4e84717d");
        assert_eq!(deployment_name("a", "b-c"), "a-b-c-b88f83c8");
        let long = "a".repeat(36);
        assert_eq!(deployment_name(&long, "b"), format!("{long}-bdab2d69"));
    }

    proptest! {
        #[test]
        fn names_are_short_valid_and_distinct(
            one in ("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
            two in ("[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"),
        ) {
            let name = deployment_name(&one.0, &one.1);
            prop_assert!(name.len() <= MAX_DEPLOYMENT_NAME, "{}", name);
            prop_assert!(is_dns_label(&name), "{}", name);
            prop_assert_eq!(one == two, name == deployment_name(&two.0, &two.1));
        }

        #[test]
        fn moving_a_hyphen_between_the_parts_changes_the_name(
            parts in proptest::collection::vec("[a-z0-9]{1,8}", 3..6),
        ) {
            let pairs = 1..parts.len();
            let names: std::collections::BTreeSet<String> = pairs
                .clone()
                .map(|cut| deployment_name(&parts[..cut].join("-"), &parts[cut..].join("-")))
                .collect();
            prop_assert_eq!(names.len(), pairs.len());
        }
    }
}
