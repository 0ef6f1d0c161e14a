//! Media types by `Accept` (RFC 9110, section 12.5.1). Pure.

use super::Request;
use super::accept_encoding::weight;
use crate::grammar::list_members;

impl Request {
    /// Returns the largest weight, in thousandths, that the client's `Accept` gives to one of these media ranges, or
    /// `None` if it names none of them.
    ///
    /// Ranges are compared literally, without parameters: `text/html` does not match `text/*` or `*/*`, which have to
    /// be passed as well. A member with an invalid weight is ignored. A response that depends on the result needs
    /// `Vary: Accept`.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/").with_header("accept", "text/html, application/json;q=0.9, */*;q=0.1");
    /// assert_eq!(request.accept_weight(&["text/html", "application/xhtml+xml"]), Some(1000));
    /// assert_eq!(request.accept_weight(&["application/json"]), Some(900));
    /// assert_eq!(request.accept_weight(&["image/png"]), None);
    /// ```
    pub fn accept_weight(&self, ranges: &[&str]) -> Option<u16> {
        let members = self.header_all("accept").flat_map(list_members);
        let weights = members.filter_map(|member| {
            let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let range = parts.next().unwrap_or_default();
            if !ranges.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(range)) {
                return None;
            }
            let is_weight = |part: &&[u8]| {
                let name = part.split(|&byte| byte == b'=').next().unwrap_or_default();
                name.trim_ascii().eq_ignore_ascii_case(b"q")
            };
            parts.find(is_weight).map_or(Some(1000), weight)
        });
        weights.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_valid_weight_counts() {
        for (lines, expected) in [
            (&[][..], None),
            (&[""], None),
            (&["*/*"], None),
            (&["text/html"], Some(1000)),
            (&["TEXT/HTML ; charset=utf-8;Q=0.5"], Some(500)),
            (&["text/html;level=1;q=0.25, text/html;q=0.75"], Some(750)),
            (&["image/png", "application/xhtml+xml;q=0.1"], Some(100)),
            (&["text/html;q=0"], Some(0)),
            (&["text/html;q=x, application/xhtml+xml;q=0.3"], Some(300)),
            (&["text/html;q=NaN"], None),
            (&["text/html;q =0"], None), // malformed: no space is allowed here
            (&["text/html; Q =0.5, text/html;q=0.2"], Some(200)),
            (&["text/html;q=1.5"], None),
            (&["text/htmlx, xtext/html, text/*"], None),
        ] {
            let request = lines.iter().fold(Request::get("/"), |request, line| request.with_header("accept", line));
            assert_eq!(request.accept_weight(&["text/html", "application/xhtml+xml"]), expected, "{lines:?}");
        }
    }
}
