//! Networks of IP addresses, such as `10.0.0.0/8`, for lists of trusted addresses.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network of IP addresses with a common prefix. Written `10.0.0.0/8`, `2001:db8::/32`, or as a single address.
///
/// ```
/// use modest::IpNetwork;
///
/// let network: IpNetwork = "10.0.0.0/8".parse()?;
/// assert!(network.contains([10, 1, 2, 3].into()));
/// assert!(!network.contains([11, 1, 2, 3].into()));
/// # Ok::<(), modest::InvalidNetwork>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    first: IpAddr,
    prefix: u8, // in bits of that address family
}

impl IpNetwork {
    /// Creates the network of this address with a prefix of this many bits. An IPv4 network mapped into IPv6
    /// (`::ffff:10.0.0.0/104`) becomes an IPv4 network.
    ///
    /// # Errors
    /// If the prefix is longer than the address, or the address has bits after it: `10.0.0.1/8` is probably a mistake.
    pub fn new(first: IpAddr, prefix: u8) -> Result<IpNetwork, InvalidNetwork> {
        let bits = if first.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(InvalidNetwork(format!("{first}/{prefix}: the prefix has at most {bits} bits")));
        }
        if masked(first, prefix) != first {
            let network = masked(first, prefix);
            return Err(InvalidNetwork(format!("{first}/{prefix}: is it {network}/{prefix} or {first}/{bits}?")));
        }
        let canonical = first.to_canonical();
        Ok(match (first, canonical) {
            (IpAddr::V6(_), IpAddr::V4(_)) if prefix >= 96 => IpNetwork { first: canonical, prefix: prefix - 96 },
            _ => IpNetwork { first, prefix },
        })
    }

    /// Returns whether the network contains this address. An IPv4 address mapped into IPv6 counts as an IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.prefix) == self.first
    }

    /// Returns the addresses that count as one client: an IPv4 address, or all that share the first 64 bits of an IPv6
    /// address. One customer of a provider has at least a network of this size (RFC 6177).
    pub(crate) fn of_client(address: IpAddr) -> IpNetwork {
        let address = address.to_canonical();
        let prefix = if address.is_ipv4() { 32 } else { 64 };
        IpNetwork { first: masked(address, prefix), prefix }
    }
}

/// Returns the address with the bits after the prefix cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl FromStr for IpNetwork {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<IpNetwork, InvalidNetwork> {
        let invalid =
            || InvalidNetwork(format!("{text:?}: expected a network, such as 10.0.0.0/8, 2001:db8::/32 or 10.0.0.1"));
        let (first, prefix) = text.split_once('/').map_or((text, None), |(first, prefix)| (first, Some(prefix)));
        let first: IpAddr = first.parse().map_err(|_| invalid())?;
        let Some(prefix) = prefix else { return Ok(IpNetwork::from(first)) };
        let is_number = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| is_number).ok_or_else(invalid)?;
        IpNetwork::new(first, prefix)
    }
}

/// Creates a network that contains only this address.
impl From<IpAddr> for IpNetwork {
    fn from(address: IpAddr) -> IpNetwork {
        let first = address.to_canonical();
        IpNetwork { first, prefix: if first.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// The reason why a text is not an [`IpNetwork`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidNetwork(String);

impl fmt::Display for InvalidNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a network: {}", self.0)
    }
}

impl Error for InvalidNetwork {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        for (text, shown, inside, outside) in [
            (
                "10.0.0.0/8",
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "::1"][..],
            ),
            ("127.0.0.1", "127.0.0.1/32", &["127.0.0.1"], &["127.0.0.2", "::1"]),
            ("192.168.1.128/25", "192.168.1.128/25", &["192.168.1.128"], &["192.168.1.127"]),
            ("0.0.0.0/0", "0.0.0.0/0", &["0.0.0.0", "255.255.255.255"], &["::", "::1"]),
            ("::1", "::1/128", &["::1"], &["::2", "127.0.0.1"]),
            ("2001:db8::/32", "2001:db8::/32", &["2001:db8:ffff::1"], &["2001:db9::", "32.1.13.184"]),
            ("::/0", "::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
            ("fe80::/10", "fe80::/10", &["febf::1"], &["fec0::"]),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8", &["10.1.2.3"], &["11.0.0.0"]),
            ("::ffff:10.0.0.1", "10.0.0.1/32", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            let network: IpNetwork = text.parse().unwrap();
            assert_eq!(network.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(network), "{text}");
            inside.iter().for_each(|ip| assert!(network.contains(ip.parse().unwrap()), "{text} contains {ip}"));
            outside.iter().for_each(|ip| assert!(!network.contains(ip.parse().unwrap()), "{text} contains {ip}"));
        }
    }

    #[test]
    fn invalid_networks_are_rejected() {
        for text in [
            "",
            "/",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/256",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10/8",
            "10.0.0.0/ 8",
            " 10.0.0.0/8",
            "10.0.0.1/8",
            "0.0.0.1/0",
            "::/129",
            "::1/64",
            "localhost",
            "010.0.0.0/8",
            "10.0.0.0:80",
            "[::1]",
            "::ffff:10.0.0.1/104",
        ] {
            assert!(text.parse::<IpNetwork>().is_err(), "{text:?}: {:?}", text.parse::<IpNetwork>());
        }
        let mistaken = "10.0.0.1/8".parse::<IpNetwork>().unwrap_err().to_string();
        assert_eq!(mistaken, "not a network: 10.0.0.1/8: is it 10.0.0.0/8 or 10.0.0.1/32?");
    }
}
