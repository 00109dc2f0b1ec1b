//! Which addresses belong to the public internet, and which a pod may have.
//!
//! A manifest may name any host, and a name may resolve to anything, so the check is made twice with
//! this one function: on literal addresses when a table is compiled, and on every resolved address
//! just before it is connected to (which also defeats names that change their answer).
//!
//! Source: the IANA special-purpose address registries for IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is reachable for everybody, and so no way into this network.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

/// Whether an address may be that of a pod: public or private, but not this machine, its link, a group
/// of machines or a metadata service. Whoever may write an `EndpointSlice` names addresses for us to
/// connect to, and those must lead nowhere that only we can reach.
pub fn is_pod(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_pod_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_pod_v4(inner),
            None => is_pod_v6(address),
        },
    }
}

fn is_pod_v4(address: Ipv4Addr) -> bool {
    // The last is Alibaba Cloud's metadata service; the others' are link-local.
    !matches!(address.octets(), [0 | 127 | 224..=255, ..] | [169, 254, ..] | [100, 100, 100, 200])
}

fn is_pod_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [first, ..] = segments;
    // `::` and `::1`; AWS' metadata service; link-local; multicast.
    !matches!(segments, [0, 0, 0, 0, 0, 0, 0, _] | [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254])
        && first & 0xffc0 != 0xfe80
        && first & 0xff00 != 0xff00
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = match (a, b, c) {
        // "This network", private, loopback, multicast and reserved.
        (0 | 10 | 127 | 224..=255, _, _)
        // Carrier-grade NAT.
        | (100, 64..=127, _)
        // Link-local: cloud metadata services are here.
        | (169, 254, _)
        | (172, 16..=31, _)
        // IETF protocol assignments, documentation, 6to4 relay, private, benchmarks.
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (192, 168, _)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => true,
        _ => false,
    };
    !special
}

/// The IPv4 address inside an IPv6 one: compatible, mapped, translated, NAT64, 6to4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let (high, low) = match address.segments() {
        // `::` and `::1` are not IPv4; they fail the IPv6 check.
        [0, 0, 0, 0, 0, 0, 0, _] => return None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // Global unicast is 2000::/3; taken out of it: documentation, benchmarks, Teredo, ORCHID.
    let global = a & 0xe000 == 0x2000;
    let special = (a == 0x2001 && (b == 0xdb8 || b < 0x200)) || (a == 0x3fff && b < 0x1000);
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for public in
            ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.0.1.1", "100.63.0.1", "2606:4700::1"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::7f00:1:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
    #[test]
    fn a_pod_is_anywhere_but_at_home_and_at_a_metadata_service() {
        for pod in ["10.0.0.1", "100.64.0.1", "172.16.0.1", "192.168.1.1", "8.8.8.8", "fd00::1"] {
            assert!(is_pod(pod.parse().unwrap()), "{pod}");
        }
        for other in [
            "0.0.0.0",
            "127.0.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "fe80::1",
            "ff02::1",
            "fd00:ec2::254",
        ] {
            assert!(!is_pod(other.parse().unwrap()), "{other}");
        }
    }
}
