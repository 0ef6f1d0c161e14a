//! The settings of the library have one description: the documentation of their methods. docs/options.md is generated
//! from it, and the defaults in other pages, in the help of the program and in the code are compared with it.
//!
//! The documentation of a setting begins with its meaning, followed by `Default: `, the default, and a full stop.
//! `docs/files.md#name` in code font is a link in the page.

use std::collections::BTreeSet;

use crate::readme::{pages, read};

/// The types with a table in docs/options.md, and the files of their settings in the order of the table.
const TYPES: &[(&str, &[&str])] = &[
    ("TcpServer", &["src/tcp/server/binding.rs", "src/tcp/server/settings.rs", "src/tcp/server.rs"]),
    ("Listen", &["src/tcp/listen/mod.rs"]),
    ("ProxyProtocol", &["src/tcp/proxy_protocol/mod.rs"]),
    ("Tls", &["src/tls/mod.rs"]),
    ("Lines", &["src/tcp/lines.rs"]),
    ("UdpServer", &["src/udp/server.rs"]),
    ("Broadcast", &["src/http/live/broadcast.rs"]),
    ("ChannelOptions", &["src/http/live/pushed.rs"]),
    ("ReverseProxy", &["src/proxy/mod.rs"]),
    ("WebSocket", &["src/websocket/settings.rs"]),
    ("Http", &["src/http/service.rs"]),
    ("StaticFileHandler", &["src/files/options.rs"]),
    ("Uploads", &["src/files/uploads/settings.rs"]),
];

/// The layers, and `UserFile`: they share a table.
const LAYERS: &[(&str, &[&str])] = &[
    ("TrustedProxies", &["src/layers/trusted_proxies.rs"]),
    ("AllowedHosts", &["src/layers/allowed_hosts.rs"]),
    ("Redirects", &["src/layers/redirects.rs"]),
    ("RequestIds", &["src/layers/request_ids.rs"]),
    ("HttpsOnly", &["src/layers/https_only.rs"]),
    ("Cors", &["src/layers/cors.rs"]),
    ("Csrf", &["src/layers/csrf.rs"]),
    ("Sessions", &["src/layers/sessions/mod.rs"]),
    ("RateLimit", &["src/layers/rate_limit.rs"]),
    ("BasicAuth", &["src/layers/basic_auth.rs"]),
    ("BearerAuth", &["src/layers/bearer_auth.rs"]),
    ("UserFile", &["src/layers/users/mod.rs"]),
    ("PathRights", &["src/layers/path_rights.rs"]),
    ("ETags", &["src/layers/etags.rs"]),
    ("Compress", &["src/layers/compress/mod.rs"]),
];

struct Setting {
    /// `TcpServer::workers`
    name: String,
    /// `workers(count)`
    call: String,
    default: String,
    meaning: String,
}

fn settings_of((kind, files): &(&str, &[&str])) -> Vec<Setting> {
    let settings: Vec<Setting> = files.iter().flat_map(|file| settings_in(file, kind)).collect();
    assert!(!settings.is_empty(), "{kind} has no settings in {files:?}");
    settings
}

fn all_settings() -> Vec<Setting> {
    TYPES.iter().chain(LAYERS).flat_map(settings_of).collect()
}

/// Returns the settings of a type in a file: public methods that take `self` and return the type.
fn settings_in(file: &str, kind: &str) -> Vec<Setting> {
    let code = read(file);
    let lines: Vec<&str> = code.lines().collect();
    let (mut settings, mut doc, mut of_kind) = (Vec::new(), Vec::new(), false);
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("impl") {
            let header = if line.starts_with("impl<") { line.split_once("> ") } else { line.split_once(' ') };
            of_kind = header.is_some_and(|(_, name)| name.split(['<', ' ']).next() == Some(kind));
        } else if let Some(text) = line.strip_prefix("    ///") {
            doc.push(text.trim());
        } else if let Some(start) = line.strip_prefix("    pub fn ") {
            let rest = lines[at + 1..].iter().take_while(|line| line.starts_with("    w") || line.starts_with("     "));
            let signature = [start].into_iter().chain(rest.copied()).collect::<Vec<_>>().join(" ");
            let setting = of_kind.then(|| call(&signature, kind)).flatten();
            settings.extend(setting.map(|call| described(kind, call, &doc)));
            doc.clear();
        } else if !line.starts_with("    #[") {
            doc.clear();
        }
    }
    settings
}

/// Returns how a setting is called, from its signature without `pub fn`. `None`: it is another method.
fn call(signature: &str, kind: &str) -> Option<String> {
    let (name, rest) = signature.split_once('(')?;
    let name = name.split('<').next()?;
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    })?;
    let arguments = rest[..end].trim_start_matches("mut ").strip_prefix("self")?.replace("->", "");
    let returned = rest[end..].strip_prefix(") -> ")?;
    let can_fail = returned.starts_with("io::Result<");
    let returned = returned.trim_start_matches("io::Result<").split(|c: char| !c.is_alphanumeric()).next()?;
    let arguments: Vec<String> = split_arguments(&arguments).into_iter().filter_map(argument).collect();
    let mark = if can_fail { "?" } else { "" };
    [kind, "Self"].contains(&returned).then(|| format!("{name}({}){mark}", arguments.join(", ")))
}

/// Splits at commas outside brackets.
fn split_arguments(arguments: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = arguments.split(|c: char| {
        depth += i32::from("(<[".contains(c)) - i32::from(")>]".contains(c));
        c == ',' && depth == 0
    });
    parts.collect()
}

/// Returns a name for an argument: the name of its type, if that is clearer.
fn argument(argument: &str) -> Option<String> {
    let (name, kind) = argument.trim().split_once(": ")?;
    let of_option = kind.strip_prefix("impl Into<Option<").map(|kind| kind.trim_end_matches(">>"));
    let name = match of_option.unwrap_or(kind) {
        "bool" => "bool",
        "Duration" => "time",
        "F" => "closure",
        kind if kind.contains("Fn") => "closure",
        _ => name,
    };
    Some(if of_option.is_some() { format!("{name} or None") } else { name.to_owned() })
}

fn described(kind: &str, call: String, doc: &[&str]) -> Setting {
    let name = format!("{kind}::{}", call.split('(').next().unwrap_or_default());
    let first = doc.split(|line| line.is_empty()).next().unwrap_or_default().join(" ");
    let parts = first.split_once(". Default: ");
    let (meaning, rest) = parts.unwrap_or_else(|| panic!("{name} has no `Default: ` in its first paragraph: {first}"));
    let meaning = meaning.trim_start_matches("Sets ");
    let (initial, others) = meaning.split_at(1);
    let begins_sentence = |at: &usize| rest[at + 2..].starts_with(|c: char| c.is_uppercase() || "`[".contains(c));
    let end = rest.match_indices(". ").map(|(at, _)| at).find(begins_sentence);
    let default = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
    Setting { name, call, default: in_page(default), meaning: in_page(&format!("{}{others}", initial.to_lowercase())) }
}

/// Returns a documentation comment for a page: links to items are plain text, and names of pages are links.
fn in_page(doc: &str) -> String {
    let mut text = String::new();
    for (number, part) in doc.split('`').enumerate() {
        if number % 2 == 0 {
            let mut pieces = part.split("](");
            let before = pieces.next().unwrap_or_default();
            let rest: String = pieces.filter_map(|piece| piece.split_once(')')).map(|(_, after)| after).collect();
            text += &format!("{before}{rest}").replace(['[', ']'], "");
        } else if let Some(link) = part.strip_prefix("docs/") {
            text += &format!("[{}]({link})", link.split('#').next().unwrap_or_default());
        } else {
            text += &format!("`{part}`");
        }
    }
    text
}

/// `UPDATE=1 cargo test -p modest-cli --test program options_md` writes the page.
#[test]
fn options_md_is_generated_from_the_code() {
    let before = read("docs/options.md");
    let mut page = before.clone();
    let row = |call: &str, setting: &Setting| format!("| `{call}` | {} | {} |\n", setting.default, setting.meaning);
    let of_type = |kind| settings_of(kind).iter().map(|setting| row(&setting.call, setting)).collect();
    let of_layer =
        |setting: &Setting| row(&format!("{}::{}", setting.name.split("::").next().unwrap(), setting.call), setting);
    let mut tables: Vec<(&str, String)> = TYPES.iter().map(|kind| (kind.0, of_type(kind))).collect();
    tables.push(("layers", LAYERS.iter().flat_map(settings_of).map(|setting| of_layer(&setting)).collect()));
    for (name, rows) in tables {
        let start = format!("<!-- settings of {name}, from its documentation -->\n");
        let at = page.find(&start).unwrap_or_else(|| panic!("docs/options.md has no {start}")) + start.len();
        let end = at + page[at..].find("<!-- end -->").expect("the end of a table");
        page.replace_range(at..end, &format!("| setting | default | meaning |\n| --- | --- | --- |\n{rows}"));
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(crate::built::root().join("docs/options.md"), &page).unwrap();
    } else if let Some((ours, written)) = page.lines().zip(before.lines()).find(|(ours, written)| ours != written) {
        panic!("the code gives\n{ours}\ndocs/options.md has\n{written}\nUPDATE=1 writes the page");
    } else {
        assert!(page == before, "docs/options.md has more lines than the code gives; UPDATE=1 writes the page");
    }
}

/// The table has all settings of all public layers.
#[test]
fn each_layer_with_settings_is_in_the_table() {
    let folder = crate::built::root().join("src/layers");
    let (mut folders, mut files) = (vec![folder], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path.strip_prefix(crate::built::root()).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let names = |settings: Vec<Setting>| settings.into_iter().map(|setting| setting.name).collect::<BTreeSet<_>>();
    let in_table = names(LAYERS.iter().flat_map(settings_of).collect());
    let exports = read("src/layers/mod.rs");
    let exports = exports.split("\npub use ").skip(1).filter_map(|export| export.split(';').next()?.split_once("::"));
    let code: String = files.iter().map(|file| read(file)).collect();
    let is_layer = |kind: &&str| code.contains(&format!("Layer for {kind}")) || LAYERS.iter().any(|row| row.0 == *kind);
    let kinds = exports.flat_map(|(_, names)| names.trim_matches(['{', '}']).split(',').map(str::trim));
    let kinds = kinds.filter(is_layer);
    let in_code = names(kinds.flat_map(|kind| files.iter().flat_map(|file| settings_in(file, kind))).collect());
    assert_eq!(in_table, in_code, "LAYERS has the layers in the table, and the files of their settings");
}

/// The default in short: without the conditions that follow, and with the abbreviations of a table.
fn short(default: &str) -> String {
    let end = default.match_indices([',', ';', '(']).map(|(at, _)| at);
    let end = end.clone().find(|at| !default[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let clause = default[..end.unwrap_or(default.len())].trim();
    let clause = clause.split(" except").next().unwrap_or_default();
    clause.replace(" seconds", " s").replace("no limit", "none")
}

/// Checks each row of a table whose first cell names settings with their type, and each setting that is followed by
/// parentheses: `Http::body_quota` (1 GiB).
#[test]
fn pages_state_the_defaults_of_the_code() {
    let (settings, mut faults, mut found) = (all_settings(), Vec::new(), 0);
    for page in pages().into_iter().filter(|page| page != "CHANGELOG.md") {
        let (text, mut states_defaults) = (read(&page), None);
        for line in text.split("```").step_by(2).flat_map(str::lines) {
            let in_table = line.starts_with("| ").then(|| *states_defaults.get_or_insert(line.contains("| default |")));
            if in_table.is_none() {
                states_defaults = None;
            }
            let stated = if in_table == Some(false) { Vec::new() } else { statements(line) };
            for (named, stated) in stated {
                let Some(setting) = settings.iter().find(|setting| setting.name == named) else { continue };
                let default = short(&setting.default);
                found += 1;
                let fits = |(at, _): (usize, &str)| !stated[at + default.len()..].starts_with(|c: char| c.is_numeric());
                if !stated.match_indices(&default).any(fits) {
                    faults.push(format!("{page}: {named} (default: {default}): {stated}"));
                }
            }
        }
    }
    assert_eq!(faults, [""; 0], "other defaults than in the code");
    assert!(found > 50, "{found} statements");
}

/// Returns the settings named in a line, each with the text that states its default.
fn statements(line: &str) -> Vec<(&str, &str)> {
    let row = line.strip_prefix("| ").and_then(|row| row.split_once(" | "));
    let names = line.split('`').skip(1).step_by(2).filter(|name| name.contains("::"));
    let stated = names.filter_map(|name| {
        let bare = name.split('(').next()?;
        if let Some((first, rest)) = row {
            return first.contains(&format!("`{name}`")).then_some((bare, rest));
        }
        let after = line.split_once(&format!("`{name}` ("))?.1;
        (!after.starts_with("`--")).then_some((bare, after.split(')').next()?))
    });
    stated.collect()
}

/// An option of the program has the default of the setting of the same name, or of the one given here.
const OPTIONS: &[(&str, &str)] = &[
    ("proxy-timeout", "ReverseProxy::response_timeout"),
    ("proxy-at-once", "ReverseProxy::at_once"),
    ("proxy-body-limit", "ReverseProxy::body_limit"),
    ("proxy-idle-connections", "ReverseProxy::idle_connections"),
    ("proxy-idle-timeout", "ReverseProxy::idle_timeout"),
    ("proxy-header-timeout", "ProxyProtocol::header_timeout"),
    ("tls-handshake-timeout", "Tls::handshake_timeout"),
    ("upload-reserve", "Uploads::reserve"),
    ("idle-timeout", "Http::idle_timeout"),
    ("body-limit", "Http::body_limit"),
    ("field-limit", "Http::max_fields"),
];

#[test]
fn options_of_the_program_have_the_defaults_of_the_library() {
    let settings: Vec<Setting> = TYPES.iter().flat_map(settings_of).collect();
    let (page, mut compared) = (read("docs/cli.md"), 0);
    for row in page.lines().filter(|line| line.starts_with("| `-")) {
        let option = row.split("--").nth(1).and_then(|rest| rest.split(['`', ' ', '[']).next()).unwrap_or_default();
        let default = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let given = OPTIONS.iter().find(|(name, _)| *name == option).map(|(_, setting)| (*setting).to_owned());
        let same = |setting: &&Setting| match &given {
            Some(name) => setting.name == *name,
            None => setting.name.ends_with(&format!("::{}", option.replace('-', "_"))),
        };
        let Some(setting) = settings.iter().find(same) else { continue };
        if let (Some(of_program), Some(of_library)) = (quantity(default), quantity(&short(&setting.default))) {
            compared += 1;
            assert_eq!(of_program, of_library, "--{option} ({default}) and {} ({})", setting.name, setting.default);
        }
    }
    assert!(compared > 20, "{compared} options");
}

/// Returns a number, a time in seconds or a size in bytes: `1,024`, `10s`, `5 minutes`, `64 KiB`, `1g`.
fn quantity(text: &str) -> Option<u64> {
    let text = text.replace(',', "").replace("one ", "1 ");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit = match text[end..].trim() {
        "" | "s" | "seconds" => 1,
        "minutes" => 60,
        "hour" | "hours" => 3600,
        "k" | "KiB" => 1 << 10,
        "m" | "MiB" => 1 << 20,
        "g" | "GiB" => 1 << 30,
        _ => return None,
    };
    Some(number * unit)
}

/// Where the code has defaults: the type of the settings, a file, and fields with the names of settings.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "TcpServer",
        "src/tcp/server/binding.rs",
        &[
            "queue_limit",
            "queue_timeout",
            "write_timeout",
            "shutdown_timeout",
            "max_streams",
            "max_per_address",
            "max_live_per_address",
            "slow_handler",
            "notify_systemd",
        ],
    ),
    ("ProxyProtocol", "src/tcp/proxy_protocol/mod.rs", &["serve_untrusted", "header_timeout"]),
    ("Lines", "src/tcp/lines.rs", &["line_limit", "line_timeout", "idle_timeout", "push_limit"]),
    ("UdpServer", "src/udp/server.rs", &["queue_limit", "max_packet_size", "shutdown_timeout"]),
    ("Broadcast", "src/http/live/broadcast.rs", &["queue", "history", "max_listeners", "heartbeat"]),
    ("ChannelOptions", "src/http/live/pushed.rs", &["queue", "idle_timeout"]),
    ("ReverseProxy", "src/proxy/mod.rs", &["response_timeout", "half_close_timeout", "body_limit"]),
    ("WebSocket", "src/websocket/settings.rs", &["queue"]),
    (
        "Http",
        "src/http/config.rs",
        &[
            "idle_timeout",
            "head_timeout",
            "body_timeout",
            "keep_alive",
            "max_requests",
            "max_connection_age",
            "chunked_bodies",
            "rewrite",
            "strict_paths",
        ],
    ),
    (
        "StaticFileHandler",
        "src/files/handler.rs",
        &["listing", "link_up", "markdown", "app_page", "clean_urls", "webdav"],
    ),
    ("Uploads", "src/files/uploads/settings.rs", &["max_size", "delete", "fsync", "reserve", "quota"]),
    ("HttpsOnly", "src/layers/https_only.rs", &["port"]),
    ("Cors", "src/layers/cors.rs", &["credentials"]),
    ("Sessions", "src/layers/sessions/mod.rs", &["idle_timeout", "max_age"]),
    ("BasicAuth", "src/layers/basic_auth.rs", &["optional"]),
    ("ETags", "src/layers/etags.rs", &["limit"]),
    ("Compress", "src/layers/compress/mod.rs", &["level", "min_size"]),
];

/// Settings whose default has another name: the text before it.
const NAMED: &[(&str, &str, &str)] = &[
    ("Listen::backlog", "src/tcp/listen/mod.rs", "BACKLOG: u32 = "),
    ("Tls::handshake_timeout", "src/tls/conversation.rs", "Handshakes { timeout: "),
    ("Tls::handshake_limit", "src/tls/conversation.rs", "limit: "),
    ("ReverseProxy::at_once", "src/proxy/mod.rs", "places: places("),
    ("ReverseProxy::idle_connections", "src/proxy/mod.rs", "ConnectionPool::new("),
    ("ReverseProxy::idle_timeout", "src/proxy/mod.rs", "ConnectionPool::new(64, "),
    ("WebSocket::max_message", "src/websocket/settings.rs", "message: "),
    ("WebSocket::ping_interval", "src/websocket/settings.rs", "ping: "),
    ("WebSocket::idle_timeout", "src/websocket/settings.rs", "idle: "),
    ("WebSocket::close_timeout", "src/websocket/settings.rs", "close: "),
    ("Http::request_line_limit", "src/http/config.rs", "HeadLimits { line: "),
    ("Http::head_limit", "src/http/config.rs", ", head: "),
    ("Http::max_fields", "src/http/config.rs", ", fields: "),
    ("Http::accept_bare_lf", "src/http/config.rs", "bare_lf: "),
    ("Http::body_limit", "src/http/request/quotas.rs", "body: "),
    ("Http::body_memory", "src/http/request/quotas.rs", "memory: "),
    ("Http::body_quota", "src/http/request/quotas.rs", "memory_quota(available_memory()), "),
    ("StaticFileHandler::hidden", "src/files/handler.rs", "hidden: "),
    ("StaticFileHandler::precompressed", "src/files/handler.rs", "sidecars: "),
    ("StaticFileHandler::archives", "src/files/archive/mod.rs", "offered: "),
    ("StaticFileHandler::archives_at_once", "src/files/archive/mod.rs", "AT_ONCE: usize = "),
    ("StaticFileHandler::archive_depth", "src/files/archive/mod.rs", "DEPTH: usize = "),
    ("StaticFileHandler::archive_entries", "src/files/archive/mod.rs", "ENTRIES: usize = "),
    ("Uploads::copies_at_once", "src/files/uploads/settings.rs", "COPIES: usize = "),
    ("TrustedProxies::unix_sockets", "src/layers/trusted_proxies.rs", "trusts_unix: "),
    ("TrustedProxies::scheme", "src/layers/trusted_proxies.rs", "XForwarded { scheme: "),
    ("ReverseProxy::connect_timeout", "src/proxy/mod.rs", "Connector::new(backend, "),
    ("TrustedProxies::host", "src/layers/trusted_proxies.rs", "scheme: false, host: "),
    ("Cors::expose", "src/layers/cors.rs", "exposed: "),
    ("RequestIds::trust_unix_sockets", "src/layers/request_ids.rs", "trusts_unix: "),
    ("Compress::max_streams", "src/layers/compress/mod.rs", "streams: Slots::new("),
    ("Sessions::keep", "src/layers/sessions/mod.rs", "is_kept: "),
    ("Sessions::new_per_hour", "src/layers/sessions/mod.rs", "beginnings: Buckets::new("),
    ("RateLimit::max_clients", "src/layers/buckets.rs", "most: "),
    ("UserFile::remember", "src/layers/users/mod.rs", "Remembered::new(random::bytes()?, "),
];

#[test]
fn documented_defaults_are_those_of_the_code() {
    let settings = all_settings();
    let same = |kind: &str, name: &&str| (format!("{kind}::{name}"), format!("{name}: "));
    let fields = FIELDS.iter().flat_map(|(kind, file, names)| names.iter().map(move |name| (same(kind, name), *file)));
    let named = NAMED.iter().map(|(name, file, before)| (((*name).to_owned(), (*before).to_owned()), *file));
    for ((name, before), file) in fields.chain(named) {
        let setting = settings.iter().find(|setting| setting.name == name);
        let default = short(&setting.unwrap_or_else(|| panic!("there is no {name}")).default);
        let code = read(file);
        let mut values = code.split(before.as_str()).skip(1).filter_map(value);
        let value = values.next().unwrap_or_else(|| panic!("{file} has no value after {before:?}"));
        let documented = quantity(&default).map_or(default, |number| number.to_string());
        assert_eq!(documented, value, "{name}: the documentation, then {file}");
    }
}

/// Returns the value at the start of this code: a number, a time in seconds, a size in bytes, `true`, `false` or `none`.
fn value(code: &str) -> Option<String> {
    let code = code.split([',', ';', '}', '\n']).next()?.trim().trim_end_matches(')');
    let code = code.trim_start_matches("Some(").trim_start_matches("Duration::from_secs(");
    let number = |word: &str| match word {
        "KIB" => Some(1 << 10),
        "MIB" => Some(1 << 20),
        word => word.replace('_', "").parse::<u64>().ok(),
    };
    match code {
        "true" | "false" => Some(code.to_owned()),
        "None" => Some("none".to_owned()),
        _ if code.contains(" << ") => {
            let (number, shift) = code.split_once(" << ")?;
            Some((number.parse::<u64>().ok()? << shift.parse::<u32>().ok()?).to_string())
        }
        _ => Some(code.split(" * ").map(number).product::<Option<u64>>()?.to_string()),
    }
}
