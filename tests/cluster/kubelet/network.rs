//! The pods' network: one bridge, and for each pod a network namespace with an address on it.
//!
//! Every pod can listen on 0.0.0.0:8080, as in a cluster, and API servers take these addresses in
//! `EndpointSlice`s, which they refuse for loopback ones. An address is never given twice: a late
//! packet to a dead pod must not find a living one.

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::sandbox::run;

/// The bridge's own address: where the node, the API server and the tests are.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 1);

/// Gives a namespace its half of a cable and brings everything up.
const ATTACH: &str = r#"
set -e
ip netns add "$1"
ip link add "veth$2" type veth peer name eth0 netns "$1"
ip link set "veth$2" master pods up
ip -n "$1" address add "$3/16" dev eth0
ip -n "$1" link set lo up
ip -n "$1" link set eth0 up
ip -n "$1" route add default via "$4"
"#;

/// Gives out addresses.
#[derive(Debug)]
pub struct Network {
    next: AtomicU32,
}

/// A pod's place in the network.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: Ipv4Addr,
    name: String,
}

impl Network {
    /// Makes the bridge.
    pub fn new() -> io::Result<Self> {
        // With an address of its own: a bridge without one takes the lowest of its ports, so another
        // one whenever that pod ends, and for half a minute every pod would send to the old one.
        run("ip", &["link", "add", "pods", "address", "02:0a:58:00:00:01", "type", "bridge"])?;
        run("ip", &["address", "add", &format!("{GATEWAY}/16"), "dev", "pods"])?;
        run("ip", &["link", "set", "pods", "up"])?;
        Ok(Self { next: AtomicU32::new(u32::from(GATEWAY) + 9) })
    }

    /// Makes a namespace. Blocks for some ten milliseconds.
    pub fn attach(&self) -> io::Result<Place> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::from(number);
        let name = format!("pod-{address}");
        let short = (number - u32::from(GATEWAY)).to_string();
        let arguments =
            ["-c", ATTACH, "sh", &name, &short, &address.to_string(), &GATEWAY.to_string()];
        run("sh", &arguments)?;
        Ok(Place { address, name })
    }
}

impl Place {
    /// What `nsenter --net=` takes.
    pub fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Takes the namespace away; the cable goes with it.
    pub fn detach(&self) -> io::Result<()> {
        run("ip", &["netns", "delete", &self.name])
    }
}
