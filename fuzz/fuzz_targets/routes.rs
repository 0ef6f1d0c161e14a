//! Routes: a slow reference finds the same route, names and methods. Invalid sets of patterns fail when they are put
//! together, and only then.
#![no_main]

use std::cell::Cell;
use std::panic;
use std::sync::Once;

use libfuzzer_sys::fuzz_target;
use modest::{Http, Method, Request, Response, Routes, UrlPath};

thread_local! {
    /// Invalid patterns panic, which must not end the run.
    static MAY_PANIC: Cell<bool> = const { Cell::new(false) };
}

// One pattern per line, then the target. A pattern after `!` is served for GET and PUT, other patterns for GET.
fuzz_target!(|bytes: &[u8]| {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let ends_the_run = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !MAY_PANIC.get() {
                ends_the_run(info);
            }
        }));
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut patterns: Vec<&str> = text.split('\n').take(9).collect();
    let Some(target) = patterns.pop() else { return };
    let Ok(request) = Request::new(Method::GET, target) else { return };
    let methods = |line: &&str| line.starts_with('!');
    let written: Vec<&str> = patterns.iter().map(|line| line.trim_start_matches('!')).collect();

    MAY_PANIC.set(true);
    let served = panic::catch_unwind(|| {
        let mut routes = Routes::new();
        for (at, line) in patterns.iter().enumerate() {
            let (pattern, names) = (written[at], names(written[at]));
            let function = move |_: &(), request: &Request| {
                let values: Result<Vec<String>, _> = names.iter().map(|name| request.path_param(name)).collect();
                Ok(Response::text(format!("{at} {:?}", values?)))
            };
            routes = routes.get(pattern, function.clone());
            if methods(line) {
                routes = routes.put(pattern, function);
            }
        }
        Http::new(routes.with_state(()))
    });
    MAY_PANIC.set(false);
    let http = match served {
        Ok(http) => http,
        Err(said) => {
            let said = said.downcast_ref::<String>().expect("a message");
            assert!(said.starts_with("the pattern ") || said.contains("is not a valid pattern: "), "{said}");
            return;
        }
    };

    let path = request.raw_path();
    if UrlPath::parse(path).is_err() {
        let status = http.respond(&request).status().as_u16();
        assert!([301, 400, 404].contains(&status), "{path:?} got {status}");
        return;
    }
    let parsed: Option<Vec<Pattern>> = written.iter().map(|pattern| parse(pattern)).collect();
    let parsed = parsed.unwrap_or_else(|| panic!("{written:?} are not valid patterns"));
    let mut found: Vec<(Vec<Rank>, usize, Vec<String>)> = parsed
        .iter()
        .enumerate()
        .filter_map(|(at, pattern)| Some((pattern.iter().map(rank).collect(), at, meet(pattern, path)?)))
        .collect();
    found.sort();
    let answer = |method| http.respond(&Request::new(method, target).expect("as before"));
    match found.first() {
        None => {
            assert_eq!(answer(Method::GET).status(), 404, "{path:?} of {written:?}");
            assert_eq!(answer(Method::PUT).status(), 404, "{path:?} of {written:?}");
        }
        Some((_, at, values)) => {
            let (got, put) = (answer(Method::GET), answer(Method::PUT));
            assert_eq!(
                (got.status().as_u16(), got.text()),
                (200, &*format!("{at} {values:?}")),
                "{path:?} of {written:?}"
            );
            let (status, allow) =
                if methods(&patterns[*at]) { (200, "GET, PUT, HEAD, OPTIONS") } else { (405, "GET, HEAD, OPTIONS") };
            assert_eq!(put.status(), status, "{path:?} of {written:?}");
            assert_eq!(answer(Method::OPTIONS).header("allow"), Some(allow), "{path:?} of {written:?}");
            assert_eq!(answer(Method::HEAD).status(), 200, "{path:?} of {written:?}");
        }
    }
});

/// One segment of a pattern.
#[derive(Debug)]
enum Segment {
    Fixed(String),
    /// The text before a name, and after it.
    Named(String, String),
    /// The rest of the path.
    Rest(String),
}

type Pattern = Vec<Segment>;

fn parse(pattern: &str) -> Option<Pattern> {
    pattern.strip_prefix('/')?.split('/').map(segment).collect()
}

fn segment(text: &str) -> Option<Segment> {
    let (mut before, mut rest) = (String::new(), text.chars().peekable());
    while let Some(letter) = rest.next() {
        match letter {
            '{' | '}' if rest.peek() == Some(&letter) => before.push(rest.next()?),
            '{' => {
                let name: String = rest.by_ref().take_while(|letter| *letter != '}').collect();
                if name.starts_with('*') {
                    return Some(Segment::Rest(before));
                }
                let behind: String = rest.collect();
                return Some(Segment::Named(before, behind.replace("{{", "{").replace("}}", "}")));
            }
            '}' => return None,
            letter => before.push(letter),
        }
    }
    Some(Segment::Fixed(before))
}

fn names(pattern: &str) -> Vec<String> {
    let plain = pattern.replace("{{", "").replace("}}", "");
    let names = plain.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0));
    names.map(|name| name.trim_start_matches('*').to_owned()).collect()
}

/// The order of patterns: fixed text comes before a name, a name with text around it before a name without, and longer
/// text before shorter text.
type Rank = (u8, std::cmp::Reverse<usize>);

fn rank(segment: &Segment) -> Rank {
    let (rank, length) = match segment {
        Segment::Fixed(_) => (0, 0),
        Segment::Named(before, behind) if before.is_empty() && !behind.is_empty() => (1, behind.len()),
        Segment::Named(before, behind) if !before.is_empty() && behind.is_empty() => (2, before.len()),
        Segment::Named(before, behind) if !before.is_empty() => (3, before.len() + behind.len()),
        Segment::Named(..) => (4, 0),
        Segment::Rest(before) => (5, before.len()),
    };
    (rank, std::cmp::Reverse(length))
}

/// The values of the names, if the path matches the pattern.
fn meet(pattern: &Pattern, raw: &str) -> Option<Vec<String>> {
    let mut segments = raw.strip_prefix('/')?.split('/');
    let mut values = Vec::new();
    for expected in pattern {
        let raw = segments.next()?;
        let found = decoded(raw);
        match expected {
            Segment::Fixed(text) if found == *text => {}
            Segment::Fixed(_) => return None,
            Segment::Named(before, behind) => {
                let value = found.strip_prefix(before.as_str())?.strip_suffix(behind.as_str())?;
                values.push(Some(value.to_owned()).filter(|value| !value.is_empty())?);
            }
            Segment::Rest(before) => {
                let rest: Vec<String> = std::iter::once(found).chain(segments.map(decoded)).collect();
                let rest = rest.join("/");
                values.push(Some(rest.strip_prefix(before.as_str())?.to_owned()).filter(|value| !value.is_empty())?);
                return Some(values);
            }
        }
    }
    segments.next().is_none().then_some(values)
}

fn decoded(raw: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), raw.as_bytes());
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digits = String::from_utf8(vec![*high, *low]).expect("digits");
                bytes.push(u8::from_str_radix(&digits, 16).expect("two digits follow each percent sign"));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
