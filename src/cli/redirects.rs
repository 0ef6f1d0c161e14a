//! Redirects from a file, `FROM TO [STATUS]` a line. A layer around all that is served; created by `site`.

use std::path::Path;

use modest::{Layer, Next, Request, Response, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::{CliError, escape_controls, quoted, reason};

/// Rules, of which the first that fits is taken.
#[derive(Debug)]
pub struct Redirects(Vec<Rule>);

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    from: String,
    /// Whether `from` is the beginning of a path, and the rest is anything.
    takes_rest: bool,
    to: String,
    status: u16,
}

/// What may stand in a path without being encoded (RFC 3986, section 3.3: pchar, and slashes).
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

impl Redirects {
    pub fn read(file: &Path) -> std::result::Result<Redirects, CliError> {
        let name = quoted(file);
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::usage(format!("--redirects: {name} can't be read: {}", reason(&error))))?;
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |why| CliError::usage(format!("{name}, line {}: {}: {why}", number + 1, escape_controls(line)));
            rules.push(rule(line).map_err(wrong)?);
        }
        Ok(Redirects(rules))
    }

    fn location(&self, path: &str, query: Option<&str>) -> Option<(u16, String)> {
        let (rule, rest) = self.0.iter().find_map(|rule| {
            let rest = path.strip_prefix(&rule.from)?;
            (rule.takes_rest || rest.is_empty()).then_some((rule, rest))
        })?;
        // A slash at its beginning could make the name of another host of what follows.
        let rest = utf8_percent_encode(rest.trim_start_matches(['/', '\\']), PATH).to_string();
        let to = rule.to.replacen('*', &rest, 1);
        Some(match query.filter(|_| !to.contains('?')) {
            Some(query) => (rule.status, format!("{to}?{query}")),
            None => (rule.status, to),
        })
    }
}

fn rule(line: &str) -> std::result::Result<Rule, &'static str> {
    let mut words = line.split_whitespace();
    let (Some(from), Some(to), status, None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("FROM TO [STATUS] is wanted, as in /old/* /new/* 301");
    };
    let status = status.unwrap_or("301").parse().ok().filter(|status| [301, 302, 303, 307, 308].contains(status));
    let status = status.ok_or("the status of a redirect is 301, 302, 303, 307 or 308")?;
    let (from, takes_rest) = from.strip_suffix('*').map_or((from, false), |from| (from, true));
    if !from.starts_with('/') || from.contains('*') {
        return Err("FROM begins with a slash, and a * stands at its end");
    }
    let is_path = to.starts_with('/') && !to.starts_with("//");
    if !is_path && !to.starts_with("https://") && !to.starts_with("http://") || to.contains('*') && !takes_rest {
        return Err("TO is a path or a URL, with a * only if FROM has one");
    }
    let from = percent_decode_str(from).decode_utf8().map_err(|_| "FROM is no path")?.into_owned();
    Ok(Rule { from, takes_rest, to: to.to_owned(), status })
}

impl Layer for Redirects {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        match self.location(request.path(), request.query()) {
            Some((status, location)) => {
                Ok(Response::redirect_with(status, &location).with_header("cache-control", "no-cache"))
            }
            None => next.run(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let lines =
            ["/a /b", "/old/* /new/* 302", "/x* https://else.example/*?from=x 308", "/%C3%BC /ue", "/all/* /one 307"];
        let redirects = Redirects(lines.iter().map(|line| rule(line).unwrap()).collect());
        for (path, query, expected) in [
            ("/a", None, Some((301, "/b"))),
            ("/a", Some("q=1"), Some((301, "/b?q=1"))),
            ("/a/", None, None),
            ("/old/", None, Some((302, "/new/"))),
            ("/old/c/d", None, Some((302, "/new/c/d"))),
            ("/old//else.example", None, Some((302, "/new/else.example"))),
            ("/old/a b\r\n?", None, Some((302, "/new/a%20b%0D%0A%3F"))),
            ("/xyz", Some("q"), Some((308, "https://else.example/yz?from=x"))),
            ("/ü", None, Some((301, "/ue"))),
            ("/all/of/it", None, Some((307, "/one"))),
            ("/", None, None),
        ] {
            let found = redirects.location(path, query);
            assert_eq!(found.as_ref().map(|(status, to)| (*status, to.as_str())), expected, "{path:?}");
        }
        for (line, why) in [
            ("/a", "FROM TO [STATUS]"),
            ("/a /b 301 x", "FROM TO [STATUS]"),
            ("/a /b 200", "301, 302"),
            ("a /b", "begins with a slash"),
            ("/a*b /b", "a * stands at its end"),
            ("/a b", "TO is a path or a URL"),
            ("/a //b", "TO is a path or a URL"),
            ("/a javascript:x", "TO is a path or a URL"),
            ("/a /*", "only if FROM has one"),
        ] {
            let error = rule(line).expect_err(line);
            assert!(error.contains(why), "{line}: {error}");
        }
    }
}
