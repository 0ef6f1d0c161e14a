//! The requested view of a folder: its order, and its format. Called by `listing`. It uses only the request.

use crate::Request;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct View {
    pub order: Order,
    pub form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Form {
    Page,
    Json,
    Multistatus,
}

/// The order of entries. Folders always come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Order {
    pub by: By,
    pub reversed: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum By {
    #[default]
    Name,
    Size,
    Time,
}

impl View {
    /// Reads the view from `?sort=` and `?format=json`, or the format from `Accept`. Unknown values are ignored,
    /// because the query may be for something else.
    pub fn of(request: &Request) -> View {
        if request.method().as_str() == "PROPFIND" {
            return View { order: Order::default(), form: Form::Multistatus };
        }
        let order = request.param("sort").and_then(|word| Order::parse(&word)).unwrap_or_default();
        let form = match request.param("format").as_deref() {
            Some("json") => Form::Json,
            Some("html") => Form::Page,
            _ if prefers_json(request) => Form::Json,
            _ => Form::Page,
        };
        View { order, form }
    }

    /// Returns whether the query names the format of a listing.
    pub fn is_named(request: &Request) -> bool {
        matches!(request.param("format").as_deref(), Some("json" | "html"))
    }

    /// Returns a name that identifies the view.
    pub fn name(self) -> String {
        format!("{} as {:?}", self.order.word(), self.form)
    }
}

impl Order {
    fn parse(word: &str) -> Option<Order> {
        let all = [By::Name, By::Size, By::Time].into_iter();
        all.flat_map(|by| [false, true].map(|reversed| Order { by, reversed })).find(|order| order.word() == word)
    }

    pub fn word(self) -> &'static str {
        match (self.by, self.reversed) {
            (By::Name, false) => "name",
            (By::Name, true) => "-name",
            (By::Size, false) => "size",
            (By::Size, true) => "-size",
            (By::Time, false) => "time",
            (By::Time, true) => "-time",
        }
    }
}

/// Returns whether `Accept` prefers JSON to HTML (RFC 9110, section 12.5.1): the most specific range that matches a
/// type has its weight.
fn prefers_json(request: &Request) -> bool {
    let weight = |ranges: [&str; 3]| ranges.iter().find_map(|range| request.accept_weight(&[range])).unwrap_or(0);
    weight(["application/json", "application/*", "*/*"]) > weight(["text/html", "text/*", "*/*"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_or_html() {
        for (lines, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], true),
            (&["Application/JSON; charset=utf-8"], true),
            (&["application/json, */*"], false), // both are welcome
            (&["application/json, */*;q=0.1"], true),
            (&["application/*, text/html;q=0.9"], true),
            (&["application/*", "text/*;q=0.9"], true),
            (&["application/*;q=0.8, text/*;q=0.9"], false),
            (&["application/json;q=0, */*"], false),
            (&["text/html;q=0, */*;q=0.1"], true),
            (&["application/json;q=x"], false),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"], false),
            (&["application/jsonlines"], false),
        ] {
            let request = lines.iter().fold(Request::get("/"), |request, line| request.with_header("accept", line));
            assert_eq!(prefers_json(&request), expected, "{lines:?}");
        }
    }

    #[test]
    fn unknown_orders_and_formats_are_ignored() {
        for (target, order, json) in [
            ("/", "name", false),
            ("/?sort=name", "name", false),
            ("/?sort=-name", "-name", false),
            ("/?sort=size&format=json", "size", true),
            ("/?a=b&sort=-size", "-size", false),
            ("/?sort=time", "time", false),
            ("/?sort=%2Dtime", "-time", false),
            ("/?sort=--time", "name", false),
            ("/?sort=Size", "name", false),
            ("/?sort=", "name", false),
            ("/?sort", "name", false),
            ("/?format=xml", "name", false),
            ("/?%ff", "name", false),
        ] {
            let view = View::of(&Request::get(target));
            assert_eq!((view.order.word(), view.form == Form::Json), (order, json), "{target}");
        }
        let asked =
            |target| View::of(&Request::get(target).with_header("accept", "application/json")).form == Form::Json;
        assert!(asked("/") && !asked("/?format=html"));
    }
}
