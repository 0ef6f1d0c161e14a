//! The `Vary` field (RFC 9110, section 12.5.5). Used by layers whose response depends on a field of the request.

use crate::Response;

/// Adds this field name to `Vary`.
pub(super) fn with_vary(response: Response, name: &'static str) -> Response {
    let lines = response.headers().get_all("vary").iter();
    let names: Vec<String> = lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect();
    let names = names.join(", ");
    let has = |known: &str| names.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(known));
    match names.is_empty() {
        true => response.with_header("vary", name),
        false if has("*") || has(name) => response,
        false => response.with_header("vary", format!("{names}, {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vary_is_added_to_existing_values() {
        for (before, after) in [
            (&[][..], "Origin"),
            (&["Origin"], "Origin"),
            (&["Accept, origin"], "Accept, origin"),
            (&["*"], "*"),
            (&["Accept-Encoding"], "Accept-Encoding, Origin"),
            (&["Accept", "Cookie"], "Accept, Cookie, Origin"),
            (&["Origin-Trial"], "Origin-Trial, Origin"),
        ] {
            let response =
                before.iter().fold(Response::no_content(), |response, line| response.with_added_header("vary", *line));
            let response = with_vary(response, "Origin");
            let lines: Vec<_> = response.headers().get_all("vary").iter().collect();
            assert_eq!(lines, [after], "{before:?}");
        }
    }
}
