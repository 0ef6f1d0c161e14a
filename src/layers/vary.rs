//! The `Vary` field (RFC 9110, section 12.5.5). Used by layers whose response depends on a field of the request.

use crate::{HeaderMap, Response};

/// Adds this field name to `Vary`.
pub(super) fn with_vary(response: Response, name: &str) -> Response {
    let names = vary(response.headers(), name);
    response.with_header("vary", names)
}

/// Returns the value of `Vary` with this field name.
pub(super) fn vary(headers: &HeaderMap, name: &str) -> String {
    let lines = headers.get_all("vary").iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let names = lines.collect::<Vec<_>>().join(", ");
    let has = |known: &str| names.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(known));
    match names.is_empty() {
        true => name.to_owned(),
        false if has("*") || has(name) => names,
        false => format!("{names}, {name}"),
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
