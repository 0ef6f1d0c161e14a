//! `--auth`, `--allow` and related options of the built program.

use std::io::Write;
use std::process::Stdio;

use crate::built::{Answer, Built, PATIENCE, folder, modest, run};

/// Cheap hashes of `a long secret` and of `x`, by `htpasswd -B -C 4` and `htpasswd -2`.
const ADA: &str = "ada:$2y$04$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n";
const BOB: &str = "bob:$5$rW1nZVrDqwo8p4JX$AmhwoYHb6LLjFNkXN3ovbq4nauqm0KLfwr7TK/0C5e6\n";
const AS_ADA: &str = "Authorization: Basic YWRhOmEgbG9uZyBzZWNyZXQ=";
const AS_BOB: &str = "Authorization: Basic Ym9iOng=";
const WRONG: &str = "Authorization: Basic YWRhOnNlY3JldA==";

/// A site, and a users file beside it.
fn site() -> tempfile::TempDir {
    let users = format!("# who\n{ADA}{BOB}");
    folder(&[("www/a.txt", "open"), ("www/private/key.txt", "SECRET"), ("www/x/index.html", "x"), ("users", &users)])
}

fn start(files: &tempfile::TempDir, words: &[&str]) -> Built {
    Built::start(modest(["www", "-p", "0"]).args(words).current_dir(files))
}

fn get(modest: &Built, target: &str, fields: &[&str]) -> Answer {
    modest.ask("GET", target, fields, "")
}

#[test]
fn allow_rules_decide_what_each_user_can_read() {
    let files = site();
    let staff =
        ["--auth", "users", "--allow", "/=*:read,list", "--allow=/private=@staff:read,list", "--group=staff=ada"];
    for (words, target, fields, status) in [
        (&["--auth", "users"][..], "/a.txt", &[][..], 401),
        (&["--auth", "users"], "/a.txt", &[AS_ADA], 200),
        (&["--auth", "users"], "/a.txt", &[AS_BOB], 200),
        (&["--auth", "users"], "/a.txt", &[WRONG], 401),
        (&["--auth", "users", "--health", "/up"], "/up", &[], 200),
        (&["--auth", "users", "--health", "/up"], "/a.txt", &[], 401),
        (&["--auth", "users", "--prefix", "/p"], "/p/a.txt", &[AS_ADA], 200),
        (&staff, "/", &[], 200),
        (&staff, "/private/key.txt", &[], 401),
        (&staff, "/private/", &[], 401),
        (&staff, "/private/?format=json", &[], 401),
        (&staff, "/private/key.txt", &[AS_BOB], 403),
        (&staff, "/private/key.txt", &[AS_ADA], 200),
        (&staff, "/%70rivate/key.txt", &[], 401),
        (&staff, "//private/key.txt", &[], 301), // a redirect to the normal form of the path, before any login
        (&staff, "/x/../private/key.txt", &[], 301),
        (&["--prefix=/p", "--allow=/=*:read", "--allow=/private=*:none"], "/p/private/key.txt", &[], 403),
        (&["--prefix=/p", "--allow=/=*:read", "--allow=/private=*:none"], "/p/a.txt", &[], 200),
        (&["--allow", "/=*:read"], "/private/", &[], 403),
        (&["--allow", "/=*:read"], "/x/", &[], 200),
        (&["--allow", "/x=*:read"], "/a.txt", &[], 403),
    ] {
        let answer = get(&start(&files, words), target, fields);
        assert_eq!(answer.status, status, "{words:?} {target} {fields:?}: {answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401, "{words:?} {target}: {answer:?}");
    }
    let modest =
        start(&files, &["--auth", "users", "--realm", "our \"files\"", "--cache-control", "public, max-age=9"]);
    let challenge = get(&modest, "/", &[]);
    assert_eq!(challenge.field("www-authenticate"), Some("Basic realm=\"our \\\"files\\\"\", charset=\"UTF-8\""));
    assert_eq!(get(&modest, "/a.txt", &[AS_ADA]).field("cache-control"), Some("private, max-age=9"));
    // One file has two paths.
    let one = Built::start(modest_of_file(&files).args(["--allow", "/=*:read", "--allow", "/a.txt=ada:read"]));
    assert_eq!([get(&one, "/", &[]).status, get(&one, "/a.txt", &[]).status], [401, 401]);
    assert_eq!([get(&one, "/", &[AS_ADA]).status, get(&one, "/a.txt", &[AS_ADA]).status], [302, 200]);
}

/// The access log also has the user of responses that `--auth` itself generates.
#[test]
fn logins_and_logouts_are_logged() {
    let files = site();
    let modest = start(&files, &["--auth", "users"]);
    let statuses = [
        get(&modest, "/?log-in=x/", &[AS_ADA]).status,
        modest.ask("HEAD", "/?log-in=x/", &[AS_BOB], "").status,
        modest.ask("POST", "/?log-out", &[AS_ADA, "Content-Length: 0"], "").status,
    ];
    assert_eq!(statuses, [303, 303, 401]);
    modest.signal(rustix::process::Signal::TERM);
    let (_, _, err) = modest.end();
    for (user, line) in [("ada", "\"GET /?log-in=x/"), ("bob", "\"HEAD /?log-in=x/"), ("ada", "\"POST /?log-out")] {
        let found = err.iter().find(|found| found.contains(line)).unwrap_or_else(|| panic!("no {line}: {err:?}"));
        assert!(found.contains(&format!(" - {user} [")), "{found}");
    }
}

/// After a logout, the browser's Back button shows no listing of the user.
#[test]
fn listings_of_a_user_are_not_stored() {
    let files = site();
    let modest = start(&files, &["--auth", "users", "--allow", "/=*:read,list", "--allow", "/private=ada:all"]);
    for (target, fields, is_stored) in [
        ("/", &[][..], true),
        ("/", &[AS_ADA], false),
        ("/private/", &[AS_ADA], false),
        ("/private/key.txt", &[AS_ADA], true),
    ] {
        let page = get(&modest, target, fields);
        let caching = page.field("cache-control").unwrap_or_default();
        assert_eq!((page.status, caching.contains("no-store")), (200, !is_stored), "{target} {fields:?}: {page:?}");
        assert_eq!(page.fields("cache-control").len(), 1, "one policy applies: {page:?}");
    }
}

fn modest_of_file(files: &tempfile::TempDir) -> std::process::Command {
    let mut command = modest(["www/a.txt", "-p", "0", "--auth", "users"]);
    command.current_dir(files);
    command
}

#[test]
fn the_user_file_is_reloaded() {
    let files = site();
    let users = files.path().join("users");
    let modest = start(&files, &["--auth", "users"]);
    assert_eq!(get(&modest, "/a.txt", &[AS_BOB]).status, 200);
    std::fs::write(&users, ADA).unwrap();
    let begun = std::time::Instant::now();
    while get(&modest, "/a.txt", &[AS_BOB]).status == 200 {
        assert!(begun.elapsed() < PATIENCE, "bob was still accepted");
    }
    std::fs::write(&users, "ada:{SHA}EfatjsUqKYSrqv18O1FlA3hcIHI=\n").unwrap();
    loop {
        assert_eq!(get(&modest, "/a.txt", &[AS_ADA]).status, 200);
        let line = modest.err_line().unwrap();
        if line.contains("[ERROR]") {
            assert!(line.contains("users: line 1: ada: this is SHA-1 without salt"), "{line}");
            assert!(line.ends_with("the previous users stay in effect"), "{line}");
            break;
        }
    }
}

#[test]
fn a_password_flood_does_not_starve_other_clients() {
    let files = site();
    // In a debug build a hash of 2^13 rounds takes more than a second.
    let slow = "eve:$2y$13$Ti8MrsUBsO06.Fz01VkTeuEv1SjaO4Ul8ySiWXZlaqj0.ea/oWxm2\n";
    std::fs::write(files.path().join("users"), slow).unwrap();
    let rules = ["--auth", "users", "--allow", "/=*:read", "--allow", "/private=eve:read", "--workers", "4"];
    let modest = start(&files, &rules);
    let mut guessing: Vec<_> = (0..40).map(|_| modest.connect()).collect();
    for (number, client) in guessing.iter_mut().enumerate() {
        // Different names: each check fails, and the delays for wrong passwords do not apply.
        let name = crate::built::base64(&format!("user{number}:x"));
        let request = format!("GET /a.txt HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {name}\r\n\r\n");
        client.write_all(request.as_bytes()).unwrap();
    }
    for _ in 0..20 {
        assert_eq!(get(&modest, "/a.txt", &[]).status, 200);
    }
    let statuses: Vec<u16> = guessing.iter_mut().map(|client| crate::built::read_answer(client).status).collect();
    let count = |status| statuses.iter().filter(|&&found| found == status).count();
    assert!(count(503) >= 30 && count(401) >= 1 && count(503) + count(401) == 40, "{statuses:?}");
}

#[test]
fn passwords_are_never_sent_in_clear_text() {
    let files = site();
    let words = ["www", "-p", "0", "-b", "0.0.0.0", "--auth", "users"];
    let (code, out, err) = run(modest(words).current_dir(&files));
    assert_eq!((code, out.as_str(), err.lines().count()), (Some(2), "", 1), "{err}");
    assert!(err.contains("has no TLS") && err.contains("--auth-over-http"), "{err}");
    // The PROXY protocol does not report TLS, even with other options for trusted proxies.
    let proxied = ["--proxy-protocol", "10.0.0.0/8", "--trusted-proxy", "10.0.0.0/8"];
    let (code, _, err) = run(modest(words).args(proxied).current_dir(&files));
    assert!(code == Some(2) && err.contains("has no TLS"), "{err}");
    let allowed = Built::start(modest(words).arg("--auth-over-http").current_dir(&files));
    assert_eq!(get(&allowed, "/a.txt", &[AS_ADA]).status, 200);
    // Behind a proxy, the program trusts the proxy's report; here the test is the proxy.
    let proxied = Built::start(modest(words).args(["--trusted-proxy", "127.0.0.1"]).current_dir(&files));
    let forwarded = "X-Forwarded-For: 192.0.2.7";
    for (fields, status) in [
        (&[forwarded, "X-Forwarded-Proto: https", AS_ADA][..], 200),
        (&[forwarded, "X-Forwarded-Proto: https"], 401),
        (&[forwarded, "X-Forwarded-Proto: http", AS_ADA], 403),
        (&[forwarded, "X-Forwarded-Proto: http"], 403),
        (&[AS_ADA], 200),                                                          // from this machine
        (&["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", AS_ADA], 200), // likewise
        (&["X-Forwarded-For: ::1", AS_ADA], 200),
        // The loopback address of another proxy.
        (&["X-Forwarded-For: 127.0.0.1, 127.0.0.1", "X-Forwarded-Proto: http", AS_ADA], 403),
        (&["X-Forwarded-For: 127.0.0.1, 192.0.2.9", "X-Forwarded-Proto: http", AS_ADA], 403),
        // A report that does not say `https`, or that can't be read.
        (&[forwarded, AS_ADA], 403),
        (&["X-Forwarded-Proto: http", AS_ADA], 403),
        (&["X-Forwarded-For: unknown", "X-Forwarded-Proto: http", AS_ADA], 403),
        (&["X-Forwarded-For: fe80::1%eth0", "X-Forwarded-Proto: http", AS_ADA], 403),
        (&[forwarded, "X-Forwarded-Proto: ftp", AS_ADA], 403),
        (&["X-Forwarded-Proto: on", AS_ADA], 403),
        (&["X-Forwarded-Proto: \u{ff}", AS_ADA], 403),
        (&["X-Forwarded-Proto:", AS_ADA], 403),
        (&["X-Forwarded-Proto: https, http", AS_ADA], 403),
        (&["Forwarded: for=192.0.2.7;proto=https", AS_ADA], 403), // not the fields that this server reads
        (&["X-Forwarded-Host: a", AS_ADA], 403),
        (&["X-Forwarded-Proto: HTTPS", AS_ADA], 200),
    ] {
        let answer = get(&proxied, "/a.txt", fields);
        assert_eq!(answer.status, status, "{fields:?}: {answer:?}");
        assert_eq!(answer.field("www-authenticate").is_some(), status == 401, "{fields:?}: {answer:?}");
    }
}

#[test]
fn invalid_auth_options_are_rejected_with_a_reason() {
    let files = site();
    std::fs::copy(files.path().join("users"), files.path().join("www/users")).unwrap();
    std::fs::write(files.path().join("plain"), "ada:secret\n").unwrap();
    for (words, status, said) in [
        (&["--auth", "ada:secret"][..], 2, "--hash-password USER > users"),
        // this error, not the one about a served folder
        (&["--auth", "www/ada:secret"], 2, "--hash-password USER > users"),
        (&["--auth", "missing"], 1, "there is no file 'missing'; create it"),
        (&["--auth", "plain"], 1, "plain: line 1: ada: this is not the hash of a password"),
        (&["--auth", "www/users"], 2, "is in 'www', which is served"),
        (&["--auth", "users", "--allow", "/=@crew:read"], 2, "there is no group crew"),
        (&["--allow", "/=ada:read"], 2, "need --auth FILE"),
        (&["--group", "staff=ada"], 2, "--group has no effect: no --allow names @staff"),
        (&["--auth", "users", "--group", "staff=ada"], 2, "no --allow names @staff"),
        (
            &["--auth", "users", "--group", "a=ada", "--group", "b=ada", "--allow", "/=@a:read"],
            2,
            "no --allow names @b",
        ),
        (&["--auth-over-http"], 2, "--auth-over-http has no effect without --auth"),
    ] {
        let (code, out, err) = run(modest(["www", "-p", "0"]).args(words).current_dir(&files));
        assert_eq!((code, out.as_str(), err.lines().count()), (Some(status), "", 1), "{words:?}: {err}");
        assert!(err.contains(said) && !err.contains("secret"), "{words:?}: {err}");
    }
}

/// The page of a server without a folder at its root contains no folders that the client may not read.
#[test]
fn the_overview_hides_unreadable_folders() {
    let files = site();
    let words = ["/open=www/x", "/closed=www/private", "-p", "0", "--auth", "users", "--prefix", "/at"];
    let rules = ["--allow", "/=*:read,list", "--allow", "/closed=ada:read"];
    let modest = Built::start(modest(words).args(rules).current_dir(&files));
    for (fields, is_told) in [(&[][..], false), (&[AS_BOB], false), (&[AS_ADA], true)] {
        let page = get(&modest, "/at/", fields);
        assert!(page.status == 200 && page.body.contains("href=\"open/\""), "{fields:?}: {page:?}");
        assert_eq!(page.body.contains("closed/"), is_told, "{fields:?}: {page:?}");
    }
}

/// The memory of argon2 is returned to the system by all workers.
#[test]
fn wrong_passwords_leave_no_memory_in_use() {
    let files = site();
    // 19 MiB and one pass, of `a long secret`.
    let costly =
        "eve:$argon2id$v=19$m=19456,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    std::fs::write(files.path().join("users"), costly).unwrap();
    let modest = start(&files, &["--auth", "users", "--workers", "16"]);
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", modest.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() // KiB
    };
    let before = resident();
    for round in 0..6 {
        let mut guessing: Vec<_> = (0..12).map(|_| modest.connect()).collect();
        for (number, client) in guessing.iter_mut().enumerate() {
            let name = crate::built::base64(&format!("user{round}-{number}:x"));
            let request = format!("GET / HTTP/1.1\r\nHost: test\r\nAuthorization: Basic {name}\r\n\r\n");
            client.write_all(request.as_bytes()).unwrap();
        }
        guessing.iter_mut().for_each(|client| drop(crate::built::read_answer(client)));
    }
    let taken = resident().saturating_sub(before);
    assert!(taken < 20_000, "{taken} KiB");
}

#[test]
fn hash_password_prints_a_valid_user_line() {
    let make = |name: &str, typed: &str| {
        let mut child = modest(["--hash-password", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // an invalid name is rejected before anything is read
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    };
    let made = make("ada", "a long secret\nmore\n");
    assert!(made.status.success() && made.stdout.starts_with(b"ada:$argon2id$"), "{made:?}");
    let files = site();
    std::fs::write(files.path().join("users"), &made.stdout).unwrap();
    let modest = start(&files, &["--auth", "users"]);
    let statuses = [AS_ADA, AS_BOB, WRONG].map(|field| get(&modest, "/a.txt", &[field]).status);
    assert_eq!(statuses, [200, 401, 401]);
    for (name, typed, said) in [
        ("ada", "", "the input is empty"),
        ("ada", "\n", "1 to 1,024 bytes"),
        ("a:b", "x\n", "without spaces and , : = *"),
        ("a b", "", "without spaces and , : = *"),
        ("@staff", "", "without # or @"),
    ] {
        let made = make(name, typed);
        let err = String::from_utf8_lossy(&made.stderr);
        assert_eq!(
            (made.status.code(), made.stdout.len(), err.lines().count()),
            (Some(2), 0, 1),
            "{name} {typed:?}: {err}"
        );
        assert!(err.contains(said), "{name} {typed:?}: {err}");
    }
}

/// A terminal's modes survive the program: signals that end or stop the program restore the echo, and the program turns
/// the echo off again when it is continued.
#[test]
fn the_echo_of_the_terminal_is_restored() {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
    for (signals, mut typed, code) in [
        (&[Signal::INT][..], "", None),
        (&[Signal::TERM], "", None),
        (&[Signal::HUP], "", None),
        (&[Signal::QUIT], "", None),
        (&[Signal::TSTP, Signal::CONT, Signal::INT], "", None),
        (&[Signal::TSTP, Signal::CONT], "a long secret\na long secret\n", Some(0)),
        (&[Signal::STOP, Signal::CONT], "a long secret\nanother\n", Some(2)),
    ] {
        let terminal = Terminal::new();
        let mut child = terminal.start(&["--hash-password", "ada"]);
        let pid = Pid::from_child(&child);
        terminal.until(false, &format!("{signals:?}: the prompt"));
        for &signal in signals {
            if signal == Signal::CONT && !terminal.echoes() {
                // The user types while the program is stopped and the terminal does not echo. This input must not be
                // lost.
                rustix::io::write(&terminal.ours, std::mem::take(&mut typed).as_bytes()).unwrap();
            }
            kill_process(pid, signal).unwrap();
            match signal {
                // With all of its input the program may have ended.
                Signal::CONT if typed.is_empty() && code.is_some() => {}
                Signal::CONT => terminal.until(false, &format!("{signals:?}: it continues")),
                Signal::TSTP | Signal::STOP => {
                    let status = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap().1;
                    assert!(status.stopped(), "{signals:?}: {status:?}");
                    assert_eq!(
                        terminal.echoes(),
                        signal == Signal::TSTP,
                        "{signals:?}: echo while the program is stopped"
                    );
                }
                _ => {}
            }
        }
        rustix::io::write(&terminal.ours, typed.as_bytes()).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code, "{signals:?}");
        assert!(terminal.echoes(), "{signals:?}: echo after the end");
    }
}

/// A pseudo-terminal.
struct Terminal {
    ours: std::os::fd::OwnedFd,
    theirs: std::fs::File,
}

impl Terminal {
    fn new() -> Terminal {
        use rustix::pty;
        let ours = pty::openpt(pty::OpenptFlags::RDWR | pty::OpenptFlags::NOCTTY).unwrap();
        pty::unlockpt(&ours).unwrap();
        let path = pty::ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        let theirs = std::fs::File::options().read(true).write(true).open(path).unwrap();
        Terminal { ours, theirs }
    }

    /// Starts the program in a process group of its own, as a shell does. SIGTSTP has no effect in an orphaned one, which
    /// the group of the tests can be.
    fn start(&self, words: &[&str]) -> std::process::Child {
        use std::os::unix::process::CommandExt as _;
        let end = || Stdio::from(self.theirs.try_clone().unwrap());
        modest(words).stdin(end()).stdout(Stdio::null()).stderr(end()).process_group(0).spawn().unwrap()
    }

    fn echoes(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.theirs).unwrap().local_modes;
        modes.contains(rustix::termios::LocalModes::ECHO)
    }

    fn until(&self, echoes: bool, what: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while self.echoes() != echoes {
            assert!(std::time::Instant::now() < end, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(5)); // there is no notification
        }
    }
}

/// The server's own files must not be in a served folder, not even on loopback.
#[test]
fn serving_the_servers_own_files_is_rejected() {
    let files = site();
    std::fs::create_dir_all(files.path().join("www/sub/.hidden")).unwrap();
    for config in ["www/modest.toml", "www/sub/.hidden/modest.toml", "modest.toml"] {
        std::fs::write(files.path().join(config), "").unwrap();
    }
    std::os::unix::fs::symlink("www", files.path().join("link")).unwrap();
    std::os::unix::fs::symlink("../modest.toml", files.path().join("www/out.toml")).unwrap();
    std::os::unix::fs::symlink("sub/.hidden/modest.toml", files.path().join("www/in.toml")).unwrap();
    std::os::unix::fs::symlink("..", files.path().join("www/up")).unwrap();
    std::os::unix::fs::symlink("sub/.hidden", files.path().join("www/folder")).unwrap();
    std::os::unix::fs::symlink("www/out.toml", files.path().join("chain.toml")).unwrap();
    std::os::unix::fs::symlink("loop", files.path().join("loop")).unwrap();
    for (words, said) in [
        (&["--config", "modest.toml"][..], None),
        (&["--config", "www/out.toml"], None), // such links are not followed by default
        (
            &["--config", "www/out.toml", "--follow-symlinks", "anywhere"],
            Some("--config: 'www/out.toml' is in 'www', which is served, so clients could read all"),
        ),
        (
            &["--config", "www/modest.toml"],
            Some("--config: 'www/modest.toml' is in 'www', which is served, so clients could read all"),
        ),
        (&["--config", "link/modest.toml"], Some("--config: 'link/modest.toml' is in 'www', which is served")),
        (&["--config", "www/sub/.hidden/modest.toml"], None),
        (&["--config", "www/sub/.hidden/modest.toml", "--hidden"], Some("modest.toml' is in 'www'")),
        // A link within the folder is followed.
        (&["--config", "www/in.toml"], Some("'www/in.toml' is in 'www', which is served, so clients could read all")),
        (&["--config", "www/in.toml", "--follow-symlinks", "none"], None),
        (&["--config", "www/folder/modest.toml"], Some("clients could read all")),
        // A link that leads out is not followed, and can be replaced where clients can write.
        (
            &["--config", "www/out.toml", "--upload", "--overwrite", "replace"],
            Some("'www/out.toml' is in 'www', which is served, so clients could replace all settings; move"),
        ),
        (&["--config", "www/up/modest.toml"], None),
        (&["--config", "www/up/modest.toml", "--upload", "--allow-delete"], Some("clients could replace all settings")),
        (&["--config", "chain.toml"], None),
        (&["--config", "chain.toml", "--upload"], None),
        (&["--config", "chain.toml", "--upload", "--overwrite", "rename"], None),
        (&["--config", "chain.toml", "--upload", "--allow-delete"], Some("clients could replace all settings")),
        (&["--config", "chain.toml", "--follow-symlinks", "anywhere"], Some("clients could read all settings")),
        (&["--log-file", "www/sub/../../log"], None),
        (&["--config", "modest.toml", "/one=modest.toml"], Some("'modest.toml' is in 'modest.toml'")),
        (&["--log-file", "log"], None),
        (
            &["--log-file", "link/sub/new.log"],
            Some("--log-file: 'link/sub/new.log' is in 'www', which is served, so clients could read which"),
        ),
        (&["--log-file", "www/sub/.log"], None),
    ] {
        for bind in ["127.0.0.1:0", "0.0.0.0:0", "unix:modest.sock"] {
            let (code, _, err) =
                run(modest(["www", "-b", bind, "--auth", "no-such-users"]).args(words).current_dir(&files));
            // If the file is not rejected, the start fails later, because there is no users file.
            assert!(err.contains(said.unwrap_or("no-such-users")), "{words:?} {bind}: {code:?} {err}");
            assert_eq!(err.lines().count(), 1, "{words:?} {bind}: {err}");
        }
    }
}
