//! Redirects by path, before the body is read.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::early::redirect;
use crate::http::{Found, RouteTable, end_of_raw_names};
use crate::{BodyPlan, Layer, Request, Result, UrlPath, encode_path, misleading};

/// Redirects by path: the first rule that matches applies. Other requests go to the handler.
///
/// A rule is a line `FROM TO [STATUS]`, as for static hosts. A `*` at the end of FROM matches the rest of a path, which
/// replaces a `*` in TO. TO is a path or a URL, whose host contains no `*`. If TO has no query, the query of the
/// request is added. The status is 301 by default, or 302, 303, 307 or 308. Redirects have `Cache-Control: no-cache`,
/// so that a rule can be withdrawn.
///
/// ```
/// use modest::layers::Redirects;
/// use modest::{Http, Request, RequestHandler, Response, handler_fn};
///
/// let redirects = Redirects::parse("/old/*  /new/*  302\n/docs  https://docs.example/  # moved\n")?.rule("/a /b")?;
/// let http = Http::new(handler_fn(|_| Ok(Response::text("hello\n"))).layer(redirects));
///
/// let sent = http.respond(&Request::get("/old/page?q=1"));
/// assert_eq!((sent.status().as_u16(), sent.header("location")), (302, Some("/new/page?q=1")));
/// assert_eq!(http.respond(&Request::get("/")).text(), "hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// FROM is compared with [`Request::path`], which is decoded. The text that `*` matches is encoded again, as a part of
/// a path or of a query, and never becomes the name of another host. An encoded slash stays one.
///
/// Put it around the whole handler: as a layer of routes it does not see paths without a route. Like a route, a rule
/// hides a file of the same path. A folder inside this layer that accepts uploads rejects names that are redirected
/// (409).
#[derive(Clone, Debug, Default)]
#[must_use = "does nothing until it is passed to `layer`"]
pub struct Redirects(Arc<Rules>);

#[derive(Clone, Debug, Default)]
struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    from: String,
    /// Whether `from` matches the beginning of paths.
    takes_rest: bool,
    to: String,
    status: u16,
}

impl Redirects {
    /// Creates a layer without rules.
    pub fn new() -> Redirects {
        Redirects::default()
    }

    /// Adds a rule after the others. Default: none.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) with a description.
    pub fn rule(mut self, line: &str) -> io::Result<Redirects> {
        Arc::make_mut(&mut self.0).0.push(rule(line).map_err(|why| invalid(format!("{}: {why}", shown(line))))?);
        Ok(self)
    }

    /// Parses rules, one per line. Empty lines are ignored, and so is text after a `#` at the beginning of a line or
    /// after a space.
    ///
    /// # Errors
    /// As for [`rule`](Self::rule), with the number of the line.
    pub fn parse(text: &str) -> io::Result<Redirects> {
        let mut rules = Redirects::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text); // some editors begin a file with it
        for (number, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if !line.is_empty() && !line.starts_with('#') {
                rules = rules.rule(line).map_err(|error| invalid(format!("line {}: {error}", number + 1)))?;
            }
        }
        Ok(rules)
    }

    /// Returns the FROM of each rule that never applies, with the FROM of an earlier rule that matches all its paths.
    pub fn shadowed(&self) -> Vec<(String, String)> {
        let (mut exact, mut wide, mut found) = (HashSet::new(), HashSet::new(), Vec::new());
        let shown = |from: &str, takes_rest| format!("{}{}", encode_path(from), if takes_rest { "*" } else { "" });
        for Rule { from, takes_rest, .. } in &self.0.0 {
            let mut begins = from.char_indices().map(|(end, _)| &from[..end]).chain([from.as_str()]);
            let wider = begins.find(|begin| wide.contains(begin)).map(|begin| shown(begin, true));
            let same = (!takes_rest && exact.contains(from)).then(|| shown(from, false));
            found.extend(wider.or(same).map(|earlier| (shown(from, *takes_rest), earlier)));
            if *takes_rest {
                wide.insert(from.as_str())
            } else {
                exact.insert(from)
            };
        }
        found
    }

    /// Moves the rules below a path on the server, which is prepended to each FROM, and to each TO that is a path.
    /// Default: no path.
    ///
    /// # Panics
    /// If the path is not empty, and is not a path: it begins with a slash, and has no empty, `.` or `..` segments.
    #[track_caller]
    pub fn beneath(mut self, path: &str) -> Redirects {
        if !path.is_empty() {
            UrlPath::configured(path);
        }
        let path = path.trim_end_matches('/');
        for rule in &mut Arc::make_mut(&mut self.0).0 {
            rule.from.insert_str(0, path);
            if rule.to.starts_with('/') {
                rule.to.insert_str(0, &encode_path(path));
            }
        }
        self
    }

    /// `raw`: the path as sent.
    fn location(&self, path: &[u8], raw: &str, query: Option<&str>) -> Option<(u16, String)> {
        let rule = &self.0.0[self.0.find_rule(path)?];
        // After a slash at its beginning, the next name could become the name of another host. A backslash is encoded.
        let rest = &path[rule.from.len()..];
        let rest = &rest[rest.iter().take_while(|byte| **byte == b'/').count()..];
        // If the rule ends within a name, the names after it stay as sent, with encoded slashes
        // (`Http::strict_paths`).
        let of_name = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        let names = path[..path.len() - rest.len() + of_name].iter().filter(|&&byte| byte == b'/').count();
        let further = &raw[end_of_raw_names(raw.as_bytes(), names as u32)..];
        let to = match rule.to.split_once('*') {
            Some((before, after)) if before.contains('?') => {
                format!("{before}{}{after}", form_urlencoded::byte_serialize(rest).collect::<String>())
            }
            Some((before, after)) => format!("{before}{}{further}{after}", encode_path(&rest[..of_name])),
            None => rule.to.clone(),
        };
        let (url, fragment) = to.split_at(to.find('#').unwrap_or(to.len()));
        Some(match query.filter(|_| !url.contains('?')) {
            Some(query) => (rule.status, format!("{url}?{query}{fragment}")),
            None => (rule.status, to),
        })
    }
}

impl Rules {
    fn find_rule(&self, path: &[u8]) -> Option<usize> {
        self.0.iter().position(|rule| {
            path.strip_prefix(rule.from.as_bytes()).is_some_and(|rest| rule.takes_rest || rest.is_empty())
        })
    }
}

/// Each rule is a resource, so that handlers inside know which paths do not reach them.
impl RouteTable for Rules {
    fn find(&self, path: &str) -> Found {
        Found { resource: self.find_rule(path.as_bytes()), ..Found::default() }
    }

    fn pattern(&self, _: usize) -> Option<&str> {
        None
    }

    fn has_patterns(&self) -> bool {
        false
    }

    fn has_beneath(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.iter().any(|rule| rule.from.starts_with(&folder) || rule.takes_rest && folder.starts_with(&rule.from))
    }
}

fn rule(line: &str) -> std::result::Result<Rule, &'static str> {
    let mut words = line.split_whitespace();
    let (Some(from), Some(to), status, None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("expected FROM TO [STATUS], such as /old/* /new/* 301");
    };
    let status = status.unwrap_or("301").parse().ok().filter(|status| [301, 302, 303, 307, 308].contains(status));
    let status = status.ok_or("the status of a redirect must be 301, 302, 303, 307 or 308")?;
    let (from, takes_rest) = from.strip_suffix('*').map_or((from, false), |from| (from, true));
    if !from.starts_with('/') || from.contains('*') {
        return Err("FROM must start with a slash, and can have a * only at its end");
    }
    let is_path = to.starts_with('/') && !to.starts_with("//");
    if !is_path && !to.starts_with("https://") && !to.starts_with("http://") || to.contains('*') && !takes_rest {
        return Err("TO must be a path or a URL, with a * only if FROM has one");
    }
    let host =
        to.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#', '\\']).next().unwrap_or_default());
    if !is_path && host.contains('*') {
        return Err("a * in a URL must come after the host and a slash: otherwise a path could choose another host");
    }
    if from.contains(['?', '#']) {
        return Err("FROM is a path without a query: write %3F for a question mark, and %23 for a #");
    }
    let from = UrlPath::parse(from)
        .map_err(|_| "FROM must be a path without empty segments, dot segments and encoded slashes")?;
    let from = String::from_utf8(from.as_bytes().to_vec()).map_err(|_| "FROM must be UTF-8")?;
    let path = to.split(['?', '#']).next().unwrap_or_default();
    let (path, adds_rest) = path.strip_suffix('*').map_or((path, false), |path| (path, true));
    if adds_rest == takes_rest && UrlPath::parse(path).is_ok_and(|path| path.as_bytes() == from.as_bytes()) {
        return Err("FROM and TO are the same path, so the redirect would never end");
    }
    Ok(Rule { from, takes_rest, to: to.to_owned(), status })
}

/// Returns the beginning of a line, for messages: a wrong file can have lines of any length, and secrets.
fn shown(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{} …", misleading::escape(&line[..end])),
        None => misleading::escape(line),
    }
}

fn invalid(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

impl Layer for Redirects {
    fn before_body(&self, request: &Request, _: &mut BodyPlan) -> Result<()> {
        let rules: Arc<dyn RouteTable> = self.0.clone();
        request.routes.of(&rules, request.mounted(), request.path());
        let whole = request.url_path();
        let path = whole.as_ref().map_or(b"".as_slice(), |path| &path.as_bytes()[request.mount_path().len()..]);
        let path = if path.is_empty() { request.path().as_bytes() } else { path };
        match self.location(path, request.raw_path(), request.query()) {
            // Within a mount, rules apply to the paths that the mounted handler sees.
            Some((status, location)) if location.starts_with('/') => {
                Err(redirect(status, &format!("{}{location}", encode_path(request.mount_path()))))
            }
            Some((status, location)) => Err(redirect(status, &location)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Http, RequestHandler, Response, Routes, handler_fn};

    #[test]
    fn redirects_can_be_mounted_beneath_a_path() {
        let redirects = Redirects::parse("/a /b\n/old/* /new/*\n/out https://else.example/\n").unwrap().beneath("/p q");
        for (path, expected) in [
            ("/a", None),
            ("/p q/a", Some("/p%20q/b")),
            ("/p q/old/x y", Some("/p%20q/new/x%20y")),
            ("/p q/out", Some("https://else.example/")),
        ] {
            let found = redirects.location(path.as_bytes(), &encode_path(path), None);
            assert_eq!(found.map(|(_, to)| to).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn rules_map_paths_to_locations() {
        let lines = [
            "/a /b",
            "/old/* /new/* 302",
            "/x* https://else.example/*?from=x 308",
            "/%C3%BC /ue",
            "/all/* /one 307",
            "/s/* /find?q=*&n=1",
            "/top/* /*",
            "/part /b#c?d",
            "/parts/* /b#*",
        ];
        let redirects = Redirects::parse(&lines.join("\n")).unwrap();
        for (path, query, expected) in [
            ("/a", None, Some((301, "/b"))),
            ("/a", Some("q=1"), Some((301, "/b?q=1"))),
            ("/a/", None, None),
            ("/old/", None, Some((302, "/new/"))),
            ("/old/c/d", None, Some((302, "/new/c/d"))),
            ("/old//else.example", None, Some((302, "/new/else.example"))),
            ("/old/a b\r\n?", None, Some((302, "/new/a%20b%0D%0A%3F"))),
            ("/old/\\\\a/\\b", None, Some((302, "/new/%5C%5Ca/%5Cb"))),
            ("/top/\\evil.example/", None, Some((301, "/%5Cevil.example/"))),
            ("/top/\\/evil.example/", None, Some((301, "/%5C/evil.example/"))),
            ("/xyz", Some("q"), Some((308, "https://else.example/yz?from=x"))),
            ("/ü", None, Some((301, "/ue"))),
            ("/all/of/it", None, Some((307, "/one"))),
            ("/part", Some("q=1"), Some((301, "/b?q=1#c?d"))),
            ("/part", None, Some((301, "/b#c?d"))),
            ("/parts/?#", Some("q"), Some((301, "/b?q#%3F%23"))),
            ("/s/a&b+c d/=%", None, Some((301, "/find?q=a%26b%2Bc+d%2F%3D%25&n=1"))),
            ("/", None, None),
        ] {
            let found = redirects.location(path.as_bytes(), &encode_path(path), query);
            assert_eq!(found.as_ref().map(|(status, to)| (*status, to.as_str())), expected, "{path:?}");
        }
        for (line, why) in [
            ("/a", "FROM TO [STATUS]"),
            ("/a /b 301 x", "FROM TO [STATUS]"),
            ("/a /b 200", "301, 302"),
            ("a /b", "must start with a slash"),
            ("/a*b /b", "a * only at its end"),
            ("/a b", "TO must be a path or a URL"),
            ("/a //b", "TO must be a path or a URL"),
            ("/a javascript:x", "TO must be a path or a URL"),
            ("/a /*", "only if FROM has one"),
            ("/* https://else.example*", "after the host"), // `/@evil.example`, `/.evil.example`
            ("/* https://*/", "after the host"),
            ("/* http://else.example:80*", "after the host"),
            ("/a\u{1b} /b x", "a\\u{1b} /b x"),
            (&*format!("/a{} /b x", "b".repeat(100_000)), "bbb …: the status"),
        ] {
            let error = Redirects::new().rule(line).expect_err(line).to_string();
            assert!(error.contains(why) && !error.contains('\u{1b}') && error.len() < 200, "{line}: {error}");
        }
    }

    #[test]
    fn rules_after_a_wider_one_never_apply() {
        let text = "/a /1\n/a /2\n/a* /3\n/ab /4\n/old/x /5\n/old/* /6\n/old/y* /7\n/old /8\n/c%20d* /9\n/c%20d/e /10";
        let found = Redirects::parse(text).unwrap().shadowed();
        let pairs = [("/a", "/a"), ("/ab", "/a*"), ("/old/y*", "/old/*"), ("/c%20d/e", "/c%20d*")];
        assert_eq!(found, pairs.map(|(rule, other)| (rule.to_owned(), other.to_owned())));
    }

    /// Without strict paths, a name can have an encoded slash, which stays one.
    #[test]
    fn names_stay_as_sent() {
        let redirects =
            Redirects::parse("\u{feff}/old/* /new/*\n/x* https://else.example/*/end\n/q/* /find?q=*").unwrap();
        let http = Http::new(handler_fn(|_| Ok(Response::text(""))).layer(redirects)).strict_paths(false);
        for (target, expected) in [
            ("/old/a%2Fb", "/new/a%2Fb"),
            ("/old/a//b%2fc/?d", "/new/a//b%2fc/?d"),
            ("/old%2Fa%20b/c%20d", "/new/a%20b/c%20d"),
            ("/old/%2F/evil.example%2Fx", "/new/evil.example%2Fx"),
            ("/old//%2F", "/new/"),
            ("/xy%2Fz", "https://else.example/y%2Fz/end"),
            ("/x%2F%2Fz", "https://else.example/z/end"),
            ("/old/%5Ca%5c/%5c%5C", "/new/%5Ca%5C/%5c%5C"),
            ("/old//%5c/evil.example", "/new/%5C/evil.example"),
            ("/x%5Cz", "https://else.example/%5Cz/end"),
            ("/q/%5Ca", "/find?q=%5Ca"),
            ("/q/a%2Fb", "/find?q=a%2Fb"),
        ] {
            assert_eq!(http.respond(&Request::get(target)).header("location"), Some(expected), "{target}");
        }
    }

    /// Handlers inside, such as folders that accept uploads, ask which paths reach them.
    #[test]
    fn paths_with_redirects_do_not_lead_to_the_handler() {
        let asked = [
            ("/one", [false, false]),
            ("/one/x", [true, true]),
            ("/old/x", [false, false]),
            ("/old", [true, false]),
            ("/deep", [true, false]),
            ("/other", [true, true]),
            ("/", [true, false]),
        ];
        let handler = handler_fn(move |request| {
            for (path, expected) in asked {
                let path = UrlPath::parse(path).unwrap();
                let leads = [request.leads_here(&path), request.leads_here_whole(&path)];
                assert_eq!(leads, expected, "{path:?}");
            }
            Ok(Response::text(request.route_pattern().unwrap_or_default()))
        });
        let redirects = Redirects::parse("/one /two\n/old/* /new/*\n/deep/er /x").unwrap();
        let http = Http::new(handler.layer(redirects.clone()));
        assert_eq!(http.respond(&Request::get("/other")).status(), 200);
        // The bytes of names that are not UTF-8 stay.
        let sent = http.respond(&Request::get("/old/caf%E9"));
        assert_eq!((sent.status().as_u16(), sent.header("location")), (301, Some("/new/caf%E9")));
        let app = Routes::new()
            .get("/p/{x}", |_: &(), request| Ok(Response::text(request.route_pattern().unwrap_or_default())));
        let http = Http::new(app.with_state(()).layer(redirects));
        assert_eq!(http.respond(&Request::get("/p/1")).text(), "/p/{x}");
        let inside = Routes::new()
            .get("/p/{x}", |_: &(), request| Ok(Response::text(request.route_pattern().unwrap_or_default())))
            .layer(Redirects::parse("/one /two").unwrap());
        let mounted = handler_fn(|request| Ok(Response::text(request.route_pattern().unwrap_or_default())))
            .layer(Redirects::parse("/one /two").unwrap());
        let http = Http::new(inside.mount("/m", mounted).with_state(()));
        assert_eq!(["/p/1", "/m/x"].map(|path| http.respond(&Request::get(path)).text().to_owned()), ["/p/{x}", "/m"]);
    }
}
