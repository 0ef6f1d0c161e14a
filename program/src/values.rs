//! Values of options, parsed from text: sizes, times, limits, fields and patterns. Called by `options`. Each error says
//! what was expected; `sources` adds the option's name.

use std::net::IpAddr;
use std::time::Duration;

use modest::layers::PathRule;
use modest::{HeaderName, HeaderValue, LogFormat, Overwrite, Routes, Symlinks};

/// A limit that `none` switches off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit<T>(pub Option<T>);

impl<T> From<Limit<T>> for Option<T> {
    fn from(Limit(limit): Limit<T>) -> Option<T> {
        limit
    }
}

/// A field, for the files that match a pattern or for all responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub pattern: Option<String>,
    pub name: String,
    pub value: String,
}

/// A `Cache-Control`, for the files that match a pattern or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    pub pattern: Option<String>,
    pub value: String,
}

/// Bytes per second, averaged over the given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub bytes_per_second: u64,
    pub over: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
    pub within: Duration,
}

/// A user and a group, by names or numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub users: Vec<String>,
}

/// A trusted proxy: a network, or all clients of Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Network(modest::IpNetwork),
    Unix,
}

/// A path whose requests another server responds to, without a slash at its end, and the URL of that server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub at: String,
    pub url: String,
}

/// Parses `/PATH=URL`.
pub fn backend(text: &str) -> Result<Backend, String> {
    let (at, url) = pair(text, "/api=http://127.0.0.1:3000")?;
    modest::ReverseProxy::new(&url).map_err(|error| error.to_string())?;
    Ok(Backend { at: prefix(&at)?, url })
}

/// Parses `Name: value`, or `PATTERN=Name: value`.
pub fn field(text: &str) -> Result<Field, String> {
    let wanted =
        || "expected a header field, such as 'X-Frame-Options: DENY' or '/assets/=X-Robots-Tag: noindex'".to_owned();
    let (left, value) = text.split_once(':').ok_or_else(wanted)?;
    // A name is a token, which has no `=` (RFC 9110, section 5.6.2).
    let (pattern, name) = match left.rsplit_once('=') {
        Some((pattern, name)) => (Some(pattern.to_owned()), name),
        None => (None, left),
    };
    let (name, value) = (name.trim(), value.trim());
    if name.parse::<HeaderName>().is_err() || pattern.as_deref() == Some("") {
        return Err(wanted());
    }
    if value.parse::<HeaderValue>().is_err() {
        return Err("the value of a header field must be plain text".into());
    }
    Ok(Field { pattern, name: name.into(), value: value.into() })
}

/// Parses `VALUE`, or `PATTERN=VALUE`. A pattern contains a slash, a dot or an asterisk, and the name of a directive
/// contains none of them.
pub fn caching(text: &str) -> Result<Caching, String> {
    let (pattern, value) = match text.split_once('=') {
        Some((pattern, value)) if pattern.contains(['/', '.', '*']) => (Some(pattern.to_owned()), value),
        _ => (None, text),
    };
    match are_directives(value) {
        true => Ok(Caching { pattern, value: value.into() }),
        false => Err("expected directives, such as max-age=3600 or '*.css=no-cache, max-age=3600'".into()),
    }
}

/// Returns whether this is a list of directives: names, each with an optional value (RFC 9111, section 5.2).
fn are_directives(text: &str) -> bool {
    let is_token = |text: &str| text.parse::<HeaderName>().is_ok() && !text.contains(['/', '.', '*']);
    let mut is_quoted = false;
    let is_end = |letter: char| {
        is_quoted ^= letter == '"';
        letter == ',' && !is_quoted
    };
    text.split(is_end).all(|directive| match directive.trim().split_once('=') {
        None => is_token(directive.trim()),
        Some((name, value)) => {
            let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let is_text =
                inner.is_some_and(|inner| inner.is_ascii() && !inner.contains(|c: char| c == '"' || c.is_control()));
            is_token(name) && (is_text || value.parse::<HeaderName>().is_ok())
        }
    })
}

/// Parses `KEY=VALUE`, neither of them empty.
pub fn pair(text: &str, example: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.into(), value.into())),
        _ => Err(format!("expected two words with '=' between them, such as {example}")),
    }
}

/// Parses the value of the `Server` field.
pub fn server(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.is_ascii() && text.parse::<HeaderValue>().is_ok();
    good.then(|| text.to_owned()).ok_or_else(|| "expected plain text, such as modest, or none".into())
}

/// Parses the name of a file in each folder.
pub fn file_name(text: &str) -> Result<String, String> {
    let good = !["", ".", ".."].contains(&text) && !text.contains(['/', '\0']);
    good.then(|| text.to_owned()).ok_or_else(|| "expected a file name, such as index.html".into())
}

/// Parses `EXT=TYPE`.
pub fn media_type(text: &str) -> Result<(String, String), String> {
    let (extension, media_type) = pair(text, "md=text/markdown")?;
    Ok((extension, content_type(&media_type)?))
}

/// Parses `text/plain`, optionally with parameters.
pub fn content_type(text: &str) -> Result<String, String> {
    let is_type = text.split_once('/').is_some_and(|(kind, rest)| !kind.is_empty() && !rest.is_empty());
    match is_type && text.is_ascii() && text.parse::<HeaderValue>().is_ok() {
        true => Ok(text.into()),
        false => Err("expected a media type, such as text/plain".into()),
    }
}

/// Parses `STATUS=FILE`.
pub fn error_page(text: &str) -> Result<(u16, String), String> {
    let (status, file) = pair(text, "404=missing.html")?;
    let known = status.parse().ok().filter(|status| [400, 403, 404].contains(status));
    known.map(|status| (status, file)).ok_or_else(|| "expected one of the statuses 400, 403 and 404".into())
}

/// Parses a path on the server: it begins with a slash.
pub fn path(text: &str) -> Result<String, String> {
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err("expected a path without '.' and '..' segments, such as /status".into());
    }
    if !text.starts_with('/') {
        return Err("expected a path that starts with a slash, such as /status".into());
    }
    match text.chars().find(|letter| ['?', '#', '{', '}', '*', '\0'].contains(letter)) {
        Some(letter) => Err(format!("expected a path without '{}', such as /status", letter.escape_default())),
        None => Ok(text.to_owned()),
    }
}

/// Parses a path that ends in a name.
pub fn page(text: &str) -> Result<String, String> {
    let page = path(text).map_err(|why| why.replace("/status", "/metrics"))?;
    match Routes::<()>::fault_of(&page) {
        None if !page.ends_with('/') => Ok(page),
        _ => Err("expected the path of a page, such as /metrics, without a slash at its end, percent-encodings and \
                  empty segments"
            .into()),
    }
}

/// Parses the path of health checks.
pub fn health(text: &str) -> Result<String, String> {
    routable(path(text)?, "expected a path without percent-encodings and empty segments, such as /status")
}

/// Parses the path of a prefix, without a slash at its end.
pub fn prefix(text: &str) -> Result<String, String> {
    let wrong = "expected a path without percent-encodings, patterns and empty segments, such as /docs";
    routable(path(text)?.trim_end_matches('/').to_owned(), wrong)
}

fn routable(path: String, wrong: &str) -> Result<String, String> {
    if Routes::<()>::fault_of(&path).is_none() { Ok(path) } else { Err(wrong.into()) }
}

/// Means all served folders. It is not a valid path.
pub const ALL: &str = "*";

/// Parses `*`, all folders, or the path of one folder, without a slash at its end.
pub fn upload(text: &str) -> Result<String, String> {
    if text == ALL {
        return Ok(text.to_owned());
    }
    let wanted = "expected the path of a folder, such as /inbox; without a path, all folders accept uploads";
    prefix(text).map_err(|why| if text.starts_with('/') { why } else { wanted.into() })
}

/// Parses an origin as browsers send it, or `*`.
pub fn origin(text: &str) -> Result<String, String> {
    let good = match text.split_once("://") {
        None => text == "*",
        Some((scheme, host)) => {
            let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte);
            let default =
                matches!(scheme, "http" if host.ends_with(":80")) || scheme == "https" && host.ends_with(":443");
            let scheme_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
            !scheme.is_empty()
                && !host.is_empty()
                && !default
                && scheme.bytes().all(scheme_letter)
                && host.bytes().all(letter)
        }
    };
    let wanted =
        || "expected an origin, such as https://app.example or http://localhost:3000, in lower case and without a path";
    good.then(|| text.to_owned()).ok_or_else(|| wanted().into())
}

/// Parses the name of a host, without a port, or an IP address. `*` means all names, and `*.` all names below a domain.
pub fn host(text: &str) -> Result<String, String> {
    let wanted = "expected a host name, such as www.example.org or *.example.org, or * for all";
    let name = text.strip_suffix('.').unwrap_or(text);
    let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || [b'-', b'_'].contains(&byte))
    };
    let is_name = name.strip_prefix("*.").unwrap_or(name).split('.').all(is_label);
    match () {
        () if text == "*" || is_name || inside.parse::<IpAddr>().is_ok() => Ok(name.to_ascii_lowercase()),
        () if !text.is_ascii() => Err(format!("{wanted}, in ASCII: such as xn--mnchen-3ya.de for münchen.de")),
        () => Err(wanted.into()),
    }
}

/// Parses `PATH=USERS:RIGHTS`.
pub fn path_rule(text: &str) -> Result<PathRule, String> {
    text.parse().map_err(|error: modest::layers::InvalidPathRule| error.to_string())
}

/// Parses `NAME=USER,USER`.
pub fn group(text: &str) -> Result<Group, String> {
    let wanted = "expected a name and users, such as staff=ada,bob";
    let (name, users) = pair(text, "staff=ada,bob").map_err(|_| wanted)?;
    let users: Vec<String> = users.split(',').map(str::to_owned).collect();
    match name {
        _ if name == "users" => Err("@users is the group of all users; choose another name".into()),
        _ if name.starts_with('@')
            || name.contains([',', ':'])
            || !users.iter().all(|user| PathRule::is_user_name(user)) =>
        {
            Err(wanted.into())
        }
        _ => Ok(Group { name, users }),
    }
}

/// Parses the name of the area that a password protects.
pub fn realm(text: &str) -> Result<String, String> {
    let good = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    good.then(|| text.to_owned()).ok_or_else(|| "expected printable ASCII, such as 'our photos'".into())
}

pub fn network(text: &str) -> Result<modest::IpNetwork, String> {
    text.parse().map_err(|error: modest::InvalidNetwork| {
        let (line, named) = (error.to_string(), format!("not a network: {text}: ")); // the option is named before it
        let question = line.strip_prefix(&named).filter(|why| why.ends_with('?'));
        question.unwrap_or("expected a network, such as 10.0.0.0/8 or 2001:db8::7").to_owned()
    })
}

pub fn proxy(text: &str) -> Result<Proxy, String> {
    match text {
        "unix" => Ok(Proxy::Unix),
        _ => network(text).map(Proxy::Network).map_err(|why| match why.ends_with('?') {
            true => why,
            false => format!("{why}, or unix"),
        }),
    }
}

pub const OVERWRITE: &[(&str, Overwrite)] =
    &[("refuse", Overwrite::Refuse), ("rename", Overwrite::Rename), ("replace", Overwrite::Replace)];

pub const SYMLINKS: &[(&str, Symlinks)] =
    &[("within", Symlinks::WithinRoot), ("anywhere", Symlinks::Follow), ("none", Symlinks::Deny)];

pub const LOG_FORMAT: &[(&str, LogFormat)] = &[
    ("python", LogFormat::Python),
    ("common", LogFormat::Common),
    ("combined", LogFormat::Combined),
    ("json", LogFormat::Json),
];

/// The values of `--tls-client-auth`.
#[cfg(feature = "tls")]
pub const CLIENT_CERTIFICATES: &[(&str, modest::ClientCertificates)] =
    &[("required", modest::ClientCertificates::Required), ("optional", modest::ClientCertificates::Optional)];

/// Returns the parser of an option that takes one of these words.
pub fn one_of<T: Copy>(words: &[(&str, T)]) -> impl Fn(&str) -> Result<T, String> + Copy {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let (last, others) = words.split_last().expect("an option has several words");
            format!("expected {} or {last}", others.join(", "))
        })
    }
}

/// Parses the values of Python's `--protocol`.
pub fn protocol(text: &str) -> Result<String, String> {
    match text {
        "HTTP/1.0" | "HTTP/1.1" => Ok(text.into()),
        _ => Err("this server always responds with HTTP/1.1; it also serves HTTP/1.0 clients".into()),
    }
}

pub fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err("expected yes or no".into()),
    }
}

/// Parses `660`: the bits of a mode, in octal.
pub fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777 && !text.starts_with('+'));
    mode.ok_or_else(|| "expected a mode in octal, such as 660".into())
}

/// Parses `NAME[:GROUP]`.
pub fn user(text: &str) -> Result<User, String> {
    let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
    match name.is_empty() || group == Some("") {
        true => Err("expected a user, or a user and a group, such as www-data or www-data:www".into()),
        false => Ok(User { name: name.into(), group: group.map(str::to_owned) }),
    }
}

/// Each worker is a thread, so a larger number is probably a typo.
const MAX_WORKERS: usize = 4096;

pub fn workers(text: &str) -> Result<usize, String> {
    let count = count(text).ok().filter(|count| (1..=MAX_WORKERS).contains(count));
    count.ok_or_else(|| format!("expected a number from 1 to {MAX_WORKERS}"))
}

pub fn count(text: &str) -> Result<usize, String> {
    digits(text).and_then(|count| usize::try_from(count).ok()).ok_or_else(|| "expected a number, such as 100".into())
}

/// Parses a number, at least one.
pub fn some(text: &str) -> Result<usize, String> {
    count(text).ok().filter(|count| *count > 0).ok_or_else(|| "expected a number of at least 1".into())
}

pub fn some_or_none(text: &str) -> Result<Limit<usize>, String> {
    none_or(text, some)
}

pub fn requests(text: &str) -> Result<Limit<u32>, String> {
    none_or(text, |text| some(text)?.try_into().map_err(|_| "expected a smaller number".into()))
}

/// Parses a size: `64k` is 65,536 bytes.
pub fn size(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text[number.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kib" => Some(10),
        "m" | "mib" => Some(20),
        "g" | "gib" => Some(30),
        "t" | "tib" => Some(40),
        _ => None,
    };
    let bytes = digits(number).zip(power).and_then(|(number, power)| number.checked_mul(1 << power));
    let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.ok_or_else(|| "expected a size, such as 500, 64k (of 1,024 bytes), 16m or 1g".into())
}

/// Parses a size in memory.
pub fn memory(text: &str) -> Result<usize, String> {
    size(text)?.try_into().map_err(|_| "expected a size that fits in memory".into())
}

/// Parses the length of a part of a head.
pub fn head(text: &str) -> Result<usize, String> {
    let size = memory(text).ok().filter(|size| (1..=60 << 10).contains(size));
    size.ok_or_else(|| "expected a size from 1 to 60k".into())
}

/// Parses the memory of the server. There is a minimum, below which no limit would be useful.
pub fn server_memory(text: &str) -> Result<u64, String> {
    at_least(size(text)?, 8 << 20, "8m")
}

/// Parses an input quota. It must have room for a request within the default limits.
pub fn input_quota(text: &str) -> Result<Limit<u64>, String> {
    none_or(text, |text| at_least(size(text)?, 64 << 10, "64k"))
}

fn at_least(bytes: u64, least: u64, shown: &str) -> Result<u64, String> {
    (bytes >= least).then_some(bytes).ok_or_else(|| format!("expected at least {shown}"))
}

pub fn size_or_none(text: &str) -> Result<Limit<u64>, String> {
    none_or(text, size)
}

/// Parses `500ms`, `10s`, `2m`, `1h`, `1d`; a bare number is seconds.
pub fn time(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds = match &text[number.len()..] {
        "ms" => Some(1),
        "" | "s" => Some(1000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let time = digits(number).zip(milliseconds).and_then(|(number, unit)| number.checked_mul(unit));
    // A century is longer than any server runs, and no sum with it overflows.
    let time = time.filter(|time| (1..=100 * 366 * 86_400_000).contains(time));
    time.map(Duration::from_millis).ok_or_else(|| "expected a time, such as 500ms, 10s, 2m, 1h or 1d".into())
}

/// Parses a time, or zero.
pub fn delay(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s" | "none") { Ok(Duration::ZERO) } else { time(text) }
}

/// Parses the time of `--hsts`, in whole seconds. Zero withdraws what browsers know (RFC 6797, section 6.1.1).
pub fn hsts(text: &str) -> Result<Duration, String> {
    let age = if matches!(text, "0" | "0s") { Duration::ZERO } else { time(text)? };
    let is_whole = age.subsec_nanos() == 0;
    is_whole.then_some(age).ok_or_else(|| "expected whole seconds, such as 10m or 365d, or 0 to withdraw it".into())
}

pub fn time_or_none(text: &str) -> Result<Limit<Duration>, String> {
    none_or(text, time)
}

/// Parses `500` bytes per second, or `500/30s`: averaged over that time.
pub fn rate(text: &str) -> Result<Limit<Rate>, String> {
    none_or(text, |text| {
        let (bytes, over) = text.split_once('/').unwrap_or((text, "30s"));
        let rate = size(bytes).and_then(|bytes_per_second| Ok(Rate { bytes_per_second, over: time(over)? }));
        rate.map_err(|_| "expected bytes per second, such as 500, or 1k/10s to average over 10 seconds".into())
    })
}

/// Parses `10g`: within a day, or `10g/1h`.
pub fn quota(text: &str) -> Result<Limit<Quota>, String> {
    none_or(text, |text| {
        let (bytes, within) = text.split_once('/').unwrap_or((text, "1d"));
        let quota = size(bytes).and_then(|bytes| Ok(Quota { bytes, within: time(within)? }));
        quota.map_err(|_| "expected a size per period, such as 10g (per day) or 1g/1h".into())
    })
}

fn none_or<T>(text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Limit<T>, String> {
    match text {
        "none" => Ok(Limit(None)),
        _ => parse(text).map(|value| Limit(Some(value))).map_err(|why| format!("{why}, or none")),
    }
}

/// Parses digits only. (`parse` would also accept "+80".)
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
