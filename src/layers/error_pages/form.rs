//! The form of an error for a client, by its `Accept` (RFC 9110, section 12.5.1). Pure. Used by `error_pages`.

use crate::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Html,
    #[cfg(feature = "json")]
    Json,
    Text,
}

const HTML: [&str; 2] = ["text/html", "application/xhtml+xml"];
#[cfg(feature = "json")]
const JSON: [&str; 2] = ["application/json", "application/problem+json"];

impl Form {
    /// Chooses the form for a request. Only named types count: `*/*` expresses no preference, and a line of text suits
    /// all clients.
    pub fn of(request: &Request) -> Form {
        let weight = |types: [&str; 2]| request.accept_weight(&types).unwrap_or(0);
        let html = weight(HTML);
        #[cfg(feature = "json")]
        if weight(JSON) > 0 && weight(JSON) >= html {
            return Form::Json;
        }
        if html > 0 { Form::Html } else { Form::Text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_an_error_follows_accept() {
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
