//! The implementation of services on which promises depend: see `modest::system_services`.

pub fn way_of(service: &str) -> &'static str {
    let services = modest::system_services();
    let found = services.iter().find(|(known, _)| *known == service);
    found.unwrap_or_else(|| panic!("no {service} in {services:?}")).1
}

/// Whether a connection that the server cuts off while a thread uses it is reset. Otherwise its end looks normal.
pub fn used_sockets_are_reset() -> bool {
    way_of("clients at a shutdown").contains("streams that don't end are reset")
}

/// Whether the kernel reports how much of the output has not arrived.
pub fn are_unsent_bytes_counted() -> bool {
    way_of("unsent bytes").contains("sock_diag") && has_netlink()
}

/// A sandbox may forbid it.
fn has_netlink() -> bool {
    const NETLINK: i32 = 16;
    const SOCK_DIAG: i32 = 4;
    let kind = socket2::Type::DGRAM;
    socket2::Socket::new(NETLINK.into(), kind, Some(SOCK_DIAG.into())).is_ok()
}
