//! Who listens where: the kernel's lists of TCP sockets. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kernel's number of a socket that listens: `TCP_LISTEN` of its `include/net/tcp_states.h`.
const LISTEN: &str = "0A";

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// Where.
    pub(super) at: SocketAddr,
    /// By which it is known again among the descriptors of a process.
    pub(super) inode: u64,
}

/// The sockets that listen, out of the text of `/proc/net/tcp` or `/proc/net/tcp6`: see proc_pid_net(5).
pub(super) fn listeners(text: &str) -> Vec<Listener> {
    text.lines().filter_map(listener).collect()
}

fn listener(line: &str) -> Option<Listener> {
    // sl, local_address, rem_address, st, tx:rx, tr:when, retrnsmt, uid, timeout, inode.
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Listener { at: SocketAddr::new(address_of(address)?, u16::from_str_radix(port, 16).ok()?), inode })
}

/// Each four bytes are a number in the host's own order.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.as_flattened().try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The socket's inode, out of what a descriptor in `/proc/PID/fd` leads to.
pub(super) fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// Where to connect to reach one of the sockets in `own` at `port`, among all that listen, and nobody else; the loopback's
/// addresses come first. The kernel gives a connection to the socket that is bound to the very address before it gives it
/// to one that is bound to all of them.
pub(super) fn ways(all: &[Listener], own: &BTreeSet<u64>, port: u16) -> Vec<SocketAddr> {
    let here: Vec<&Listener> = all.iter().filter(|l| l.at.port() == port).collect();
    let is_own = |listener: &&&Listener| own.contains(&listener.inode);
    let taken = |ip: IpAddr| here.iter().any(|l| l.at.ip() == ip && !own.contains(&l.inode));
    let mut ways = Vec::new();
    for listener in here.iter().filter(is_own) {
        let ip = match listener.at.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        // Also where another shares its port with it (SO_REUSEPORT).
        if !taken(ip) && !taken(listener.at.ip()) {
            ways.push(SocketAddr::new(ip, port));
        }
    }
    ways.sort_by_key(|way| (!way.ip().is_loopback(), way.is_ipv6()));
    ways.dedup();
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(at: &str, inode: u64) -> Listener {
        Listener { at: at.parse().unwrap(), inode }
    }

    fn ways(all: &[Listener], own: &[u64], port: u16) -> Vec<String> {
        super::ways(all, &own.iter().copied().collect(), port).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_kernels_lists_are_read() {
        let word = |bytes: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(bytes));
        let v4 = word([127, 0, 0, 1]);
        let v6 = [word([0; 4]), word([0; 4]), word([0; 4]), word([0, 0, 0, 1])].concat();
        let rest = "00000000:0000 ST 00000000:00000000 00:00000000 00000000  1000        0";
        let line = |address: &str, state| format!("   0: {address}:1F90 {} 4711 1 0 100", rest.replace("ST", state));
        let text = format!("  sl  local_address rem_address st\n{}\n{}\n", line(&v4, "0A"), line(&v4, "01"));
        assert_eq!(listeners(&text), [listener("127.0.0.1:8080", 4711)]);
        assert_eq!(listeners(&line(&v6, "0A")), [listener("[::1]:8080", 4711)]);
        assert_eq!(listeners("garbage\n 0: 00:00 x 0A\n0: \u{e9}7000001:1F90 a 0A b c d e f 1\n"), []);
        assert_eq!(socket_inode("socket:[12]"), Some(12));
        assert_eq!(socket_inode("pipe:[12]"), None);
    }

    #[test]
    fn only_what_leads_to_the_pod_is_a_way() {
        let all = [listener("0.0.0.0:1", 10), listener("[::]:1", 11), listener("127.0.0.1:2", 12)];
        assert_eq!(ways(&all, &[10, 11], 1), ["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(ways(&all, &[11], 1), ["[::1]:1"]);
        assert_eq!(ways(&all, &[10], 2), [""; 0]);
        // Another has the loopback's address for itself, or shares the port.
        let all = [listener("0.0.0.0:1", 10), listener("127.0.0.1:1", 12)];
        assert_eq!(ways(&all, &[10], 1), [""; 0]);
        let all = [listener("0.0.0.0:1", 10), listener("0.0.0.0:1", 12)];
        assert_eq!(ways(&all, &[10], 1), [""; 0]);
        let all = [listener("10.0.0.1:1", 10), listener("127.0.0.1:1", 11)];
        assert_eq!(ways(&all, &[10, 11], 1), ["127.0.0.1:1", "10.0.0.1:1"]);
    }
}
