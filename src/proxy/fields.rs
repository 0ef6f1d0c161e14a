//! The header fields that the backend and the client get. Fields that concern one connection are left out, and fields
//! about the client are set from the data of this server.

use http::header;

use crate::grammar::{METHOD_OVERRIDES, canonical_name, list_members};
use crate::http::backend_response::BackendHead;
use crate::{HeaderName, HeaderValue, Method, Request, Version};

/// Fields that concern one connection, in addition to those that `Connection` names (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that this server sets itself, and fields that could mislead a backend about the client or the path. Some
/// programs (CGI, WSGI, PHP) treat an underscore, a dot or any other character as a hyphen, so such spellings are also
/// left out. `Proxy` would become the variable `HTTP_PROXY` in them, which sets the proxy for the program's own
/// requests.
const OWN: [&str; 22] = [
    "cf-connecting-ip",
    "client-ip",
    "content-length",
    "destination", // the URL of another path: see `ReverseProxy::destination`
    "expect",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "host",
    "proxy",
    "remote-user",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-original-host",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-url-scheme",
];
/// All fields with this prefix are also left out.
const OWN_PREFIX: &[u8] = b"x-forwarded-";

/// Returns whether the method is one for which the right to read suffices.
pub(super) fn only_reads(request: &Request) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
}

/// Returns the protocols that a client offers to switch to, as one list. A server may ignore any upgrade (RFC 9110,
/// section 7.8). Not passed on: an upgrade in a request other than a GET without a body, and protocols that carry
/// further requests, whose rights nobody would check: other versions of HTTP, and TLS (RFC 2817), in which HTTP goes
/// on.
pub(super) fn upgrade(request: &Request) -> Option<String> {
    let asks = request.version() == Version::HTTP_11 && request.lists("connection", "upgrade");
    if !asks || *request.method() != Method::GET || request.announces_body() {
        return None;
    }
    let offered = request.header_all("upgrade").flat_map(list_members).filter_map(|one| std::str::from_utf8(one).ok());
    let passed: Vec<&str> = offered.filter(|one| !carries_requests(&one.to_ascii_lowercase())).collect();
    (!passed.is_empty()).then(|| passed.join(", "))
}

/// Returns whether a protocol, in lower case and perhaps with a version, is HTTP or carries it.
fn carries_requests(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default().trim();
    protocol.contains("h2c") || matches!(name, "http" | "https" | "h2" | "h3" | "tls" | "ssl")
}

/// Returns how often an OPTIONS may still be forwarded (RFC 9110, section 7.6.2). `None`: any number of times.
pub(super) fn max_forwards(request: &Request) -> Option<u64> {
    let values = request.header_all("max-forwards").filter(|_| *request.method() == Method::OPTIONS);
    let number = |value: &[u8]| {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
        (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
    };
    values.filter_map(number).min()
}

/// The schemes of `Authorization` that authenticate one request. Other schemes can authenticate its connection (RFC
/// 4559).
const OF_REQUEST: [&str; 3] = ["basic", "bearer", "digest"];

/// Returns whether this request can share a connection with others. It has no body that could be read as another
/// request, it can be repeated (RFC 9110, section 9.2.2), and it does not change the state of the connection.
pub(super) fn may_share(request: &Request, passes_authorization: bool) -> bool {
    let is_of_request = |value: &[u8]| {
        let scheme = value.split(|&byte| byte == b' ').next().unwrap_or_default();
        OF_REQUEST.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
    };
    let has_no_user = !passes_authorization || request.header_all("authorization").all(is_of_request);
    only_reads(request) && has_no_user && request.announced_length().is_none() && upgrade(request).is_none()
}

/// Adds the lines after `Host`, and the empty line that ends the head. `body_length`: the number of bytes that follow,
/// if there is a body. `is_last`: the connection has no further request.
pub(super) fn of_request(
    lines: &mut Vec<u8>,
    request: &Request,
    body_length: Option<u64>,
    prefix: &str,
    passes_authorization: bool,
    is_last: bool,
) {
    let mut add = |name: &[u8], value: &[u8]| {
        [name, b": ", value, b"\r\n"].iter().for_each(|part| lines.extend_from_slice(part));
    };
    let named: Vec<&[u8]> = request.header_all("connection").flat_map(list_members).collect();
    let id = request.id_field();
    let id_name = id.as_ref().map(|(name, _)| canonical_name(name.as_str().as_bytes()).collect::<Vec<u8>>());
    let (mut canonical, forwards) = (Vec::new(), max_forwards(request));
    for (name, value) in request.fields() {
        canonical.clear();
        canonical.extend(canonical_name(name));
        let is_in = |names: &[&str]| names.iter().any(|known| known.as_bytes() == canonical);
        let is_of_connection = is_in(&HOP_BY_HOP) || named.iter().any(|word| word.eq_ignore_ascii_case(name));
        let is_withheld = canonical == b"authorization" && !passes_authorization;
        let is_own =
            canonical.starts_with(OWN_PREFIX) || is_in(&OWN) || id_name.as_ref().is_some_and(|id| *id == canonical);
        let misleads = *request.method() != Method::POST && is_in(&METHOD_OVERRIDES);
        let is_counted = forwards.is_some() && canonical == b"max-forwards"; // added below
        if !is_counted && !is_of_connection && !is_withheld && !is_own && !misleads {
            match canonical == b"cookie" {
                true => request.foreign_cookies(value).iter().for_each(|line| add(name, line)),
                false => add(name, value),
            }
        }
    }
    if let Some(forwards) = forwards {
        add(b"Max-Forwards", forwards.saturating_sub(1).to_string().as_bytes());
    }
    if let Some((name, id)) = id.filter(|(_, id)| id.0.bytes().all(|byte| byte.is_ascii_graphic())) {
        add(name.as_str().as_bytes(), id.0.as_bytes());
    }
    if let Some(length) = body_length {
        add(b"Content-Length", length.to_string().as_bytes());
    }
    match upgrade(request) {
        Some(protocol) => {
            add(b"Connection", b"upgrade");
            add(b"Upgrade", protocol.as_bytes());
        }
        None if is_last => add(b"Connection", b"close"),
        None => {}
    }
    add_client(lines, request, prefix);
    lines.extend_from_slice(b"\r\n");
}

/// Adds the lines about the client and its connection, as this server knows them.
fn add_client(lines: &mut Vec<u8>, request: &Request, prefix: &str) {
    let mut add = |parts: &[&str]| parts.iter().for_each(|part| lines.extend_from_slice(part.as_bytes()));
    let (host, scheme) = (request.host().unwrap_or_default(), request.scheme());
    let host = Some(host).filter(|host| !host.is_empty() && !host.contains(['"', '\\']));
    let ip = request.client_ip().map(|address| (address.to_string(), address.is_ipv6()));
    if let Some((ip, _)) = &ip {
        add(&["X-Forwarded-For: ", ip, "\r\nX-Real-IP: ", ip, "\r\n"]);
    }
    if let Some(host) = host {
        add(&["X-Forwarded-Host: ", host, "\r\n"]);
    }
    if let Some(user) = request.user().filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic())) {
        add(&["X-Forwarded-User: ", &user, "\r\n"]);
    }
    if !prefix.is_empty() {
        add(&["X-Forwarded-Prefix: ", prefix, "\r\n"]);
    }
    add(&["X-Forwarded-Proto: ", scheme, "\r\nForwarded: "]);
    match &ip {
        Some((ip, true)) => add(&["for=\"[", ip, "]\";"]),
        Some((ip, false)) => add(&["for=", ip, ";"]),
        None => {}
    }
    if let Some(host) = host {
        add(&["host=\"", host, "\";"]);
    }
    let version = if request.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
    add(&["proto=", scheme, "\r\nVia: ", version, " modest\r\n"]);
}

/// Returns the fields for the client, with the length as one number. A challenge is left out if the client's
/// credentials are for this server and not passed on.
pub(super) fn of_response(
    head: BackendHead,
    passes_authorization: bool,
) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let named: Vec<Vec<u8>> = head.values(&header::CONNECTION).flat_map(list_members).map(<[u8]>::to_vec).collect();
    let length = head.content_length();
    let offers_upgrade = head.status == http::StatusCode::UPGRADE_REQUIRED;
    let fields = head.fields.into_iter().filter(move |(name, _)| {
        if offers_upgrade && *name == header::UPGRADE {
            return true; // a 426 needs it (RFC 9110, section 15.5.22)
        }
        let is_named = named.iter().any(|word| word.eq_ignore_ascii_case(name.as_str().as_bytes()));
        let is_withheld = *name == header::WWW_AUTHENTICATE && !passes_authorization;
        !is_named && !is_withheld && *name != header::CONTENT_LENGTH && !HOP_BY_HOP.contains(&name.as_str())
    });
    fields.chain(length.map(|length| (header::CONTENT_LENGTH, length.into())))
}

/// Returns the protocol that a 101 switches to.
pub(super) fn protocol(head: &BackendHead) -> String {
    let name = head.values(&header::UPGRADE).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

pub(super) fn is_offered(offered: &str, protocol: &str) -> bool {
    list_members(offered.as_bytes()).any(|word| word.eq_ignore_ascii_case(protocol.as_bytes()))
}
