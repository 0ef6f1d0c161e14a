//! Tests of the merge of arguments, environment and file.

use modest::Symlinks;

use super::*;
use crate::options::Verbosity;
use crate::program::Folders;

fn parse(args: &[&str]) -> Result<Options, String> {
    let all = std::iter::once("modest").chain(args.iter().copied()).map(OsString::from);
    match super::parse(all, &mut Folders) {
        Ok(Action::Serve(options)) => Ok(*options),
        Ok(Action::Print(text)) => Err(text),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns the addresses and places of these arguments.
fn resolved(args: &[&str]) -> Result<(String, String), String> {
    let options = parse(args)?;
    let addresses = mounts::addresses(&options).map_err(|error| error.to_string())?;
    let text = |address: &crate::address::BindAddress| match &address.socket {
        Some(socket) => socket.clone(),
        None => format!("{} {}", address.host, address.port),
    };
    let places = mounts::places(&options, false).map_err(|error| error.to_string())?;
    let places: Vec<String> = places.iter().map(|place| format!("{}={}", place.at, place.path.display())).collect();
    Ok((addresses.iter().map(text).collect::<Vec<_>>().join(", "), places.join(", ")))
}

#[test]
fn default_is_the_current_folder_on_loopback() {
    assert_eq!(resolved(&[]), Ok(("127.0.0.1 8000".into(), "=.".into())));
    assert_eq!(parse(&[]).map(|options| (options.serving.hidden, options.serving.follow_symlinks)), Ok((false, None)));
}

#[test]
fn arguments_become_settings() {
    for (args, address, places) in [
        (&[][..], "127.0.0.1 8000", "=."),
        (&["-p", "9000"], "127.0.0.1 9000", "=."),
        (&["--port=0"], "127.0.0.1 0", "=."),
        (&["9000"], "127.0.0.1 9000", "=."),
        (&["src", "9000"], "127.0.0.1 9000", "=src"),
        (&["9000", "src"], "127.0.0.1 9000", "=src"),
        (&["-d", "src", "9000"], "127.0.0.1 9000", "=src"),
        (&["--directory=src", "-p9000"], "127.0.0.1 9000", "=src"),
        (&["src", "/docs=docs", "--prefix", "/x/"], "127.0.0.1 8000", "/x=src, /x/docs=docs"),
        (&["-b", "::1"], "::1 8000", "=."),
        (&["-b", "[::1]:9000"], "::1 9000", "=."),
        (&["-b", "0.0.0.0", "9000"], "0.0.0.0 9000", "=."),
        (&["-b", "0.0.0.0", "-b", "::1", "9000"], "0.0.0.0 9000, ::1 9000", "=."),
        (&["-b", "0.0.0.0:1", "-b", "::1", "9000"], "0.0.0.0 1, ::1 9000", "=."),
        (&["-b", "localhost:9000", "-p", "9000"], "localhost 9000", "=."),
        (&["-p", "1", "-p", "2"], "127.0.0.1 2", "=."),
        (&["-b", "unix:/run/x.sock"], "unix:/run/x.sock", "=."),
        (&["-b", "systemd"], "systemd", "=."),
    ] {
        assert_eq!(resolved(args), Ok((address.into(), places.into())), "{args:?}");
    }
    assert_eq!(parse(&["-w", "3"]).map(|it| it.limits.workers), Ok(Some(3)));
    assert_eq!(parse(&["--follow-symlinks=none"]).map(|it| it.serving.follow_symlinks), Ok(Some(Symlinks::Deny)));
    assert_eq!(parse(&["--index", "a", "--index", "b"]).map(|it| it.serving.index), Ok(vec!["a".into(), "b".into()]));
    for (args, spa) in
        [(&["--spa"][..], Some("index.html")), (&["--spa=app.html", "src"], Some("app.html")), (&[], None)]
    {
        assert_eq!(parse(args).map(|it| it.serving.spa), Ok(spa.map(str::to_owned)), "{args:?}");
    }
    for (args, field) in [
        (&["-H", "X-A", "b", "src"][..], ("X-A", "b")),
        (&["-H", "X-A: b", "src"], ("X-A", "b")),
        (&["--header", "X-A", "b: c", "src"], ("X-A", "b: c")),
    ] {
        let options = parse(args).expect(args[1]);
        let found = &options.fields.header[0];
        assert_eq!(
            (found.name.as_str(), found.value.as_str(), &options.words[..]),
            (field.0, field.1, &["src".into()][..])
        );
    }
    assert_eq!(parse(&["-p", "HTTP/1.1"]).map(|it| it.listening.protocol), Ok(Some("HTTP/1.1".into())));
    for (args, verbosity) in [
        (&["-q"][..], Verbosity::Quiet),
        (&["--verbose"], Verbosity::Verbose),
        (&["-v", "-q", "-v"], Verbosity::Quiet),
        (&[], Verbosity::Normal),
    ] {
        assert_eq!(parse(args).map(|it| it.verbosity()), Ok(verbosity), "{args:?}");
    }
}

#[test]
fn wrong_arguments_get_a_one_line_error() {
    for (args, message) in [
        (&["-p", "65536"][..], "--port 65536: a port is a number from 0 to 65535"),
        (&["-p", "-1"], "--port -1: a port is a number"),
        (&["-p", ""], "a port is a number"),
        (&["-p"], "--port needs a value"),
        (&["90435"], "'90435' is neither a folder nor a port: a port is a number"),
        (&["-b", "::1:x"], "--bind ::1:x: "),
        (&["-b", "fe80::1"], "such as fe80::1%eth0"),
        (&["-b", "127.0.0.1:1", "-p", "2"], "the port was given twice: --bind already set 1"),
        (&["-b", "unix:x.sock", "-p", "2"], "unix:x.sock has no port"),
        (&["-b", "fd:3", "9000"], "fd:3 has no port"),
        (&["-p", "2", "9000"], "the port was given twice: --port already set 2"),
        (&["8000", "9000"], "the port was given twice: the first argument for it is 8000"),
        (&["-w", "0"], "--workers 0: expected a number from 1"),
        (&["-w", "99999999"], "--workers 99999999: expected a number from 1"),
        (&["--prot", "1"], "there is no option --prot; did you mean --port?"),
        (&["--dir", "x"], "there is no option --dir; did you mean --directory?"),
        (&["--max-conections", "1"], "there is no option --max-conections; did you mean --max-connections?"),
        (&["-x"], "there is no option -x (see"),
        (&["--cgi"], "there is no option --cgi (see"),
        (&["--bandwidth", "1"], "there is no option --bandwidth (see"),
        (&["--follow-symlinks", "some"], "--follow-symlinks some: expected within, anywhere or none"),
        (&["--cache-control", "a\nb"], "--cache-control a\\nb: expected directives"),
        (&["src", "tests"], "'src' and 'tests' can't both be at '/'"),
        (&["/src="], "expected a folder after '='"),
        (&["--protocol", "HTTP/2"], "this server always responds with HTTP/1.1"),
        (&["-p", "HTTP/2"], "this server always responds with HTTP/1.1"),
        (&["-H", "X-A"], "--header X-A: expected a header field"),
        (&["-H", "X-A", "--auth", "users"], "--header X-A: the value is missing ('--auth' is an option)"),
        (&["--header", "X-A", "-v"], "'-v' is an option"),
        (&["-H", "X-A", "src"], "'src' is a file or a folder"),
        (&["--hsts", "1d"], "there is no folder or file '1d'; to give it to --hsts, write --hsts=1d"),
        (&["--spa", "app.html", "src"], "to give it to --spa, write --spa=app.html"),
        (&["--cors", "https://a.example"], "write --cors=https://a.example"),
        (&["/a/../b=src"], "expected a path without '.' and '..' segments"),
        (&["/a%20b=src"], "expected a path without percent-encodings"),
        (&["/a//b=src"], "and empty segments"),
        (&["/:id=src"], "patterns"),
        (&["/<id>=src"], "patterns"),
        (&["--prefix", "/a%20b"], "expected a path without percent-encodings"),
        (&["--prefix", "/a/./b"], "without '.' and '..'"),
        (&[""], "the folder's name is empty"),
        (&["--quiet=yes"], "--quiet takes no value"),
        (&["--completions", "sh"], "expected bash, elvish, fish"),
    ] {
        let line = resolved(args).expect_err(&format!("{args:?}"));
        assert!(line.contains(message), "{args:?}: {line}");
        assert!(line.ends_with("(see 'modest --help')"), "{args:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{args:?}: {line}");
    }
}

#[test]
fn environment_variables_become_settings() {
    let said = |name: &str, value: &str| {
        let one = std::iter::once((OsString::from(name), OsString::from(value)));
        let settings = Source::Environment.settings(from_environment(one), &mut Folders);
        settings.map(|found| found.into_iter().flat_map(|one| one.words).collect::<Vec<_>>()).map_err(|e| e.to_string())
    };
    for (name, value, words) in [
        ("MODEST_LOG_FILE", "x", &["--log-file=x"][..]),
        ("MODEST_HEADER", "A: b\nC: d", &["--header=A: b", "--header=C: d"]),
        ("MODEST_NO_LISTING", "no", &[]),
        ("MODESTY", "x", &[]),
        ("MODEST_PORT", "tcp://10.0.0.1:80", &[]),
        ("MODEST_PORT_80_TCP", "tcp://10.0.0.1:80", &[]),
        ("MODEST_PORT_80_TCP_ADDR", "10.0.0.1", &[]),
        ("MODEST_SERVICE_HOST", "10.0.0.1", &[]),
        ("MODEST_SERVICE_PORT_HTTP", "80", &[]),
        ("MODEST_FILES_SERVICE_HOST", "10.0.0.1", &[]),
        ("MODEST_FILES_PORT_80_TCP_PROTO", "tcp", &[]),
    ] {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_eq!(said(name, value), Ok(words), "{name}={value}");
    }
    for (name, value, why) in [
        ("MODEST_NO_LISTNG", "yes", "there is no variable MODEST_NO_LISTNG; did you mean MODEST_NO_LISTING?"),
        ("MODEST_ALLOWED_HOSTS", "a", "there is no variable MODEST_ALLOWED_HOSTS; did you mean MODEST_ALLOWED_HOST?"),
        ("MODEST_VERSION", "1", "there is no variable MODEST_VERSION"),
        ("MODEST_WORKERS", "0", "MODEST_WORKERS 0: expected a number from 1"),
        ("MODEST_AUTH", "", "MODEST_AUTH: the variable is empty: give it a value, or remove it"),
        ("MODEST_HEADER", "", "MODEST_HEADER: the variable is empty"),
        ("MODEST_HEADER", "\n", "MODEST_HEADER: the variable is empty"),
        ("MODEST_QUIET", "", "MODEST_QUIET: the variable is empty"),
        ("MODEST_NO_LISTNG", "", "there is no variable MODEST_NO_LISTNG"),
        ("MODEST_PORT", "x", "MODEST_PORT x: a port is a number"),
    ] {
        let line = said(name, value).expect_err(name);
        assert!(line.contains(why), "{name}={value}: {line}");
    }
}

#[test]
fn clap_accepts_the_option_definitions() {
    Options::command().debug_assert();
}
