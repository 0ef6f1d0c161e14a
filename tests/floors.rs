//! The structure of the source: three levels (floors), dependencies in one direction only, and code that must not
//! occur.
//!
//! `files, layers, proxy, websocket > http > tcp`, `tls > tcp`, `udp > tcp`. Within a floor a module uses only modules
//! below it in the list of `mod.rs`, which is the order in which to read them. The program is the package `program`;
//! its list is in `lib.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of the source. `path` is below `src`, or below `program/src` with `program/` before it; `code` is without
/// comments and unit tests.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = sources_in(&root.join("src"), "");
    found.extend(sources_in(&root.join("program/src"), "program/"));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 20, "no source files below src");
    found
}

fn sources_in(root: &Path, prefix: &str) -> Vec<Source> {
    // the packaged crate has no program
    let (mut folders, mut found) = (Vec::from_iter(root.exists().then(|| root.to_owned())), Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = format!("{prefix}{}", path.strip_prefix(root).unwrap().to_str().unwrap());
                found.push(Source { path, code: code_of(&text) });
            }
        }
    }
    found
}

/// Removes comments, and everything after the first `#[cfg(test)]` of a file: tests may use any module.
fn code_of(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The words after this path in the code, such as `crate::`: the first name of each, including those inside braces.
fn names_after(code: &str, path: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(path) {
        let before = code[..at].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || matches!(before, '_' | ':' | '$') {
            continue;
        }
        let rest = &code[at + path.len()..];
        let inside = rest.strip_prefix('{').map(top_level_of);
        names.extend(inside.unwrap_or_else(|| vec![first_name(rest)]));
    }
    names
}

/// `a, b::{c, d}, e}` gives a, b, e.
fn top_level_of(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(first_name(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(first_name(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_name(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[test]
fn each_floor_uses_only_lower_floors() {
    let public = names_after(&read("lib.rs"), "pub use tcp::")
        .into_iter()
        .chain(names_after(&read("lib.rs"), "pub use crate::http::"))
        .chain(names_after(&read("lib.rs"), "pub use http::"))
        .chain(names_after(&read("lib.rs"), "pub use logging::"))
        .chain(names_after(&read("lib.rs"), "pub use ::http::"))
        .collect::<Vec<_>>();
    assert!(
        public.iter().any(|name| name == "TcpServer") && public.iter().any(|name| name == "Response"),
        "{public:?}"
    );
    // Tests may use any module.
    for source in sources().into_iter().filter(|source| !source.path.ends_with("tests.rs")) {
        let floor = source.path.split('/').next().unwrap_or_default();
        let allowed = |name: &str| match floor {
            // Catching panics, the number of processors, the grammar of fields, the meaning of a file's metadata and of
            // characters, limits of the log, locking, new files, names with numbers, randomness, slots, and times in
            // words: they use no floor.
            _ if [
                "contain",
                "cores",
                "grammar",
                "log_limit",
                "metadata",
                "misleading",
                "mutex",
                "new_file",
                "numbered",
                "random",
                "slots",
                "words",
            ]
            .contains(&name) =>
            {
                true
            }
            // `http` has the paths that lead to a handler, for permissions and redirects, the calendar, and the fields
            // that can be configured.
            _ if name == "http"
                && ["files/options.rs", "files/rights.rs", "files/stat.rs", "layers/redirects.rs"]
                    .contains(&source.path.as_str()) =>
            {
                true
            }
            "tcp" => name == "tcp",
            "tls" => matches!(name, "tcp" | "tls"),
            "udp" => matches!(name, "tcp" | "udp"),
            "http" => matches!(name, "tcp" | "http"),
            "layers" => name == "layers" || public.iter().any(|known| known == name), // only the public types
            // It uses `raw` and `live`, as any other protocol could.
            "websocket" => ["websocket", "raw", "live"].contains(&name) || public.iter().any(|known| known == name),
            // `http` has the rules for reading the response of another server, and has no public type for them.
            "proxy" => ["proxy", "raw", "live", "http"].contains(&name) || public.iter().any(|known| known == name),
            "files" => name == "files" || public.iter().any(|known| known == name), // only the public types
            _ => true,
        };
        for name in names_after(&source.code, "crate::") {
            assert!(allowed(&name), "{} uses crate::{name}", source.path);
        }
        // In `src/FLOOR/mod.rs` one `super` leaves the floor, in the files beside it two do, and so on.
        let depth = source.path.matches('/').count();
        let climbs = "super::".repeat(if source.path.ends_with("mod.rs") { depth } else { depth + 1 });
        assert!(!source.code.contains(&climbs), "{} leaves its floor by {climbs}", source.path);
    }
}

fn read(path: &str) -> String {
    sources().into_iter().find(|source| source.path == path).map(|source| source.code).unwrap_or_default()
}

#[test]
fn within_a_floor_dependencies_follow_the_module_order() {
    let mut up_the_list = Vec::new();
    // The modules of `http` also have an order.
    for floor in [
        "program",
        "layers",
        "layers/compress",
        "layers/metrics",
        "layers/users",
        "websocket",
        "proxy",
        "files",
        "files/archive",
        "files/listing",
        "files/uploads",
        "http",
        "http/connection",
        "http/handler",
        "http/handler/routes",
        "http/request",
        "http/response",
        "http/sending",
        "tcp",
        "tls",
        "udp",
    ] {
        let is_package = floor == "program";
        let list = read(&format!("{floor}/{}", if is_package { "lib.rs" } else { "mod.rs" }));
        let order: Vec<String> = names_after(&list, "mod ");
        assert!(order.len() > 1, "{floor}/mod.rs lists no modules");
        let place: BTreeMap<&str, usize> = order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        for source in sources() {
            let Some(rest) = source.path.strip_prefix(&format!("{floor}/")) else { continue };
            if rest.ends_with("tests.rs") {
                continue;
            }
            let room = rest.split(['/', '.']).next().unwrap_or_default();
            let Some(here) = place.get(room) else { continue };
            let up = if rest.contains('/') && !rest.ends_with("mod.rs") { "super::super::" } else { "super::" };
            let whole =
                if is_package { "crate::".to_owned() } else { format!("crate::{}::", floor.replace('/', "::")) };
            let used = names_after(&source.code, up).into_iter().chain(names_after(&source.code, &whole));
            for name in used {
                if place.get(name.as_str()).is_some_and(|there| there <= here) {
                    up_the_list.push(format!("{} uses {name}", source.path));
                }
            }
        }
    }
    up_the_list.dedup();
    assert_eq!(up_the_list, [""; 0], "a module uses only modules below it in its mod.rs");
}

#[test]
fn http_has_no_socket_no_thread_and_no_timer() {
    for source in sources().iter().filter(|source| source.path.starts_with("http/")) {
        for absent in [
            "TcpStream",
            "TcpListener",
            "std::thread",
            "thread::spawn",
            "thread::sleep",
            "Instant::now",
            "mio::",
            "socket2::",
        ] {
            assert!(!source.code.contains(absent), "{} has {absent}", source.path);
        }
    }
}

/// This lets the model checks and the simulation run the files of the engine with other threads and other sockets.
#[test]
fn the_engine_takes_threads_and_sockets_from_two_files() {
    for source in sources().iter().filter(|source| source.path.starts_with("tcp/") || source.path.starts_with("udp/")) {
        // Datagrams are not simulated: they have neither connections nor a poller. Their locks and threads are those of
        // the engine.
        if source.path == "udp/socket.rs" {
            continue;
        }
        // signal-hook needs an atomic of std.
        if ["tcp/sync.rs", "tcp/signals.rs"].contains(&source.path.as_str()) || source.path.starts_with("tcp/sys/") {
            continue;
        }
        // Creating listening sockets is not simulated.
        if source.path.starts_with("tcp/listen/") {
            continue;
        }
        for absent in [
            "Instant::now",
            "atomic::",
            "std::thread::{",
            "thread::spawn",
            "thread::sleep",
            "mio::",
            "rustix::net",
            "rustix::fs",
            "rustix::event",
            "rustix::time",
        ] {
            let found = source.code.lines().find(|line| line.contains(absent));
            assert!(found.is_none(), "{} has {absent}: {}", source.path, found.unwrap_or_default());
        }
        let locks = source.code.lines().find(|line| {
            line.contains("std::sync::")
                && ["Mutex", "Condvar", "RwLock", "Once"].iter().any(|name| line.contains(name))
        });
        assert!(locks.is_none(), "{} takes locks from std: {}", source.path, locks.unwrap_or_default());
        assert!(!source.code.contains("socket2::"), "{} has socket2", source.path);
    }
}

/// Differences between systems are in one module per part, so that no test elsewhere depends on the system that runs
/// it.
#[test]
fn systems_differ_in_one_module_per_part() {
    let modules = ["tcp/sys/", "files/sys/", "new_file/sys/", "layers/metrics/process/", "program/sys/", "python/sys/"];
    let is_of_systems = |path: &str| modules.iter().any(|sys| path.starts_with(sys));
    let wheel = sources_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("python/src"), "python/");
    for source in sources()
        .iter()
        .chain(&wheel)
        .filter(|source| !is_of_systems(&source.path) && !source.path.ends_with("tests.rs"))
    {
        for of_one_system in [
            "target_os",
            "target_vendor",
            "target_family",
            "modest_portable",
            "os::linux",
            "\"/proc/",
            "\"/sys/",
            "inotify::",
            "openat2(",
            "statx(",
            "rustix::fs::sendfile",
            "OFlags::PATH",
            "TMPFILE",
            "renameat_with",
            "eventfd",
        ] {
            let found = source.code.lines().find(|line| line.contains(of_one_system));
            assert!(found.is_none(), "{} has {of_one_system}: {}", source.path, found.unwrap_or_default());
        }
    }
}

/// The code that checks a path and the code that uses it must decode it equally, so only one file decodes paths.
/// Queries and forms have their own encoding.
#[test]
fn one_file_decodes_paths() {
    for source in sources() {
        let decodes = ["percent_decode", "decode_utf8", "PercentDecode"].iter().any(|name| source.code.contains(name));
        let is_form = ["http/request/form.rs", "http/request/form_data/fields.rs"].contains(&source.path.as_str());
        assert!(!decodes || is_form, "{} decodes", source.path);
        let steps_up = source.code.lines().find(|line| line.contains("b\"..\" =>"));
        let is_of_disk = source.path.starts_with("files/open"); // the targets of links
        let is_here = source.path == "http/url_path.rs" || is_of_disk;
        assert!(steps_up.is_none() || is_here, "{} resolves dots: {steps_up:?}", source.path);
    }
}

#[test]
fn forbidden_code_and_crates_are_absent() {
    for source in sources() {
        for absent in
            ["unsafe ", "println!", "eprintln!", "print!(", "dbg!", "todo!", "unimplemented!", "static mut", "async fn"]
        {
            let found = source.code.lines().find(|line| line.contains(absent) && !line.contains("forbid(unsafe_code)"));
            assert!(found.is_none(), "{} has {absent}: {}", source.path, found.unwrap_or_default());
        }
    }
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for absent in ["tokio", "hyper", "async", "panic = \"abort\""] {
        assert!(!manifest.contains(absent), "Cargo.toml has {absent}");
    }
}

/// Names that clients choose must not collide in a map except by chance. Only std's maps draw random keys for sure.
#[test]
fn maps_are_keyed_at_random() {
    for source in sources() {
        for foreseeable in
            ["BuildHasherDefault", "with_hasher", "DefaultHasher", "SipHasher", "impl BuildHasher", "impl Hasher"]
        {
            assert!(!source.code.contains(foreseeable), "{} has {foreseeable}", source.path);
        }
    }
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    for absent in ["fnv", "fxhash", "rustc-hash", "ahash", "hashbrown"] {
        assert!(!manifest.contains(absent), "Cargo.toml has {absent}");
    }
}

#[test]
fn each_file_starts_with_its_purpose() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for source in sources() {
        let path = source.path.strip_prefix("program/").map(|path| format!("../program/src/{path}"));
        let text = fs::read_to_string(root.join(path.as_ref().unwrap_or(&source.path))).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with its purpose", source.path);
    }
}

/// A package that adds the library gets at most this many crates, including the library.
/// `tests/mutants` takes hours, so a name that no longer exists would be found late.
#[test]
fn mutation_tests_name_files_and_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let [script, manifest] = ["tests/mutants", "Cargo.toml"].map(|path| fs::read_to_string(root.join(path)).unwrap());
    let quoted_after = |start: &'static str| -> Vec<&str> {
        script.split(start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
    };
    let (tests, files) = (quoted_after("\"--test\", \""), quoted_after("\"src/"));
    assert!(tests.len() > 10 && files.len() > 10, "{tests:?} {files:?}");
    for name in tests {
        assert!(manifest.contains(&format!("[[test]]\nname = \"{name}\"\n")), "this package has no test {name}");
    }
    for file in files {
        assert!(root.join("src").join(file.trim_end_matches("/*.rs")).exists(), "src/{file} is missing");
    }
}

#[test]
fn the_library_is_lean() {
    for (arguments, most) in [(&[][..], 30), (&["--no-default-features"][..], 26)] {
        let mut command = std::process::Command::new(env!("CARGO"));
        command.args(["tree", "--locked", "--offline", "-p", "modest", "-e", "normal", "--prefix", "none"]);
        let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let tree = String::from_utf8_lossy(&output.stdout);
        let crates: std::collections::BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(
            (2..=most).contains(&crates.len()),
            "{arguments:?}: {} of {most}: {crates:?}\n{}",
            crates.len(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
