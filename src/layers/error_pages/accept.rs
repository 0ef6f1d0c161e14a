//! What a client that gets an error can make use of, by its `Accept` (RFC 9110, section 12.5.1). Pure. Used by `error_pages`.

use crate::Request;

/// How an error is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    #[cfg(feature = "json")]
    Json,
    Text,
}

const HTML: [&str; 2] = ["text/html", "application/xhtml+xml"];
const JSON: [&str; 2] = ["application/json", "application/problem+json"];

impl Form {
    /// Only types that are named count: `*/*` says that the client has no wish, and a line of text suits all.
    pub fn of(request: &Request) -> Form {
        let (mut html, mut json) = (0.0_f32, 0.0_f32);
        for line in request.header_all("accept") {
            for item in line.split(|&byte| byte == b',').filter_map(|item| str::from_utf8(item).ok()) {
                let mut parts = item.split(';').map(str::trim);
                let range = parts.next().unwrap_or_default();
                let is_one_of = |types: [&str; 2]| types.iter().any(|known| known.eq_ignore_ascii_case(range));
                let best = match () {
                    () if is_one_of(HTML) => &mut html,
                    () if is_one_of(JSON) => &mut json,
                    () => continue,
                };
                let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
                *best = best.max(weight.map_or(Some(1.0), |text| text.parse().ok()).unwrap_or(0.0));
            }
        }
        match () {
            #[cfg(feature = "json")]
            () if json > 0.0 && json >= html => Form::Json,
            () if html > 0.0 => Form::Html,
            () => Form::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let json = if cfg!(feature = "json") { "Json" } else { "Text" };
        for (accept, expected) in [
            (&[][..], "Text"),
            (&["*/*"], "Text"),
            (&["text/*"], "Text"),
            (&["image/avif,image/webp,*/*;q=0.8"], "Text"),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], "Html"),
            (&["TEXT/HTML;q=0.1"], "Html"),
            (&["image/png", "application/xhtml+xml"], "Html"),
            (&["text/html;q=0"], "Text"),
            (&["text/html;q=x"], "Text"),
            (&["text/htmlx"], "Text"),
            (&["application/json"], json),
            (&["application/json, text/plain, */*"], json),
            (&["application/problem+json"], json),
            (&["application/json;q=0, */*"], "Text"),
            (&["application/json;q=0.5, text/html"], "Html"),
            (&["application/jsonlines"], "Text"),
        ] {
            let request = accept.iter().fold(Request::get("/"), |request, line| request.with_header("accept", line));
            assert_eq!(format!("{:?}", Form::of(&request)), expected, "{accept:?}");
        }
    }
}
