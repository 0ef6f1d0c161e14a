//! Content codings by `Accept-Encoding` (RFC 9110, section 12.5.3). Pure.

use http::StatusCode;

use super::Request;
use crate::grammar::list_members;
use crate::http::error::Error;

impl Request {
    /// Selects the content coding for the response: the coding in `offered` (best first) with the largest weight in the
    /// client's `Accept-Encoding`. `None`: no coding.
    ///
    /// At equal weights, a coding is preferred to none. The unencoded content is unacceptable only if the client
    /// excludes it (`identity;q=0`, or `*;q=0` without `identity`). A member with an invalid weight is ignored. A
    /// response that depends on the result needs `Vary: Accept-Encoding`.
    ///
    /// ```
    /// use modest::Request;
    ///
    /// let request = Request::get("/").with_header("accept-encoding", "gzip, br;q=0.8");
    /// assert_eq!(request.choose_coding(&["br", "gzip"])?, Some("gzip"));
    /// assert_eq!(request.choose_coding(&["zstd"])?, None);
    /// # Ok::<(), modest::Error>(())
    /// ```
    ///
    /// # Errors
    /// 406 if the client accepts neither one of these nor the unencoded content.
    pub fn choose_coding<'a>(&self, offered: &[&'a str]) -> Result<Option<&'a str>, Error> {
        let mut accepted = AcceptEncoding::new(offered.len());
        let mut is_present = false;
        for line in self.header_all("accept-encoding") {
            is_present = true;
            list_members(line).for_each(|item| accepted.add(item, offered));
        }
        if !is_present {
            return Ok(None);
        }
        // Of equal elements, `min_by_key` returns the first, which is the preferred one. So weights are inverted.
        let best = (0..offered.len()).min_by_key(|&at| u16::MAX - accepted.of(at).unwrap_or(0));
        let weight = best.and_then(|at| accepted.of(at)).unwrap_or(0);
        match best {
            Some(at) if weight > 0 && weight >= accepted.identity.unwrap_or(0) => Ok(Some(offered[at])),
            _ if accepted.identity.or(accepted.any) == Some(0) => {
                Err(Error::new(StatusCode::NOT_ACCEPTABLE, "The client accepts none of the available content codings."))
            }
            _ => Ok(None),
        }
    }
}

/// The weights of an `Accept-Encoding` field, in thousandths.
struct AcceptEncoding {
    /// The weights of the offered codings, in their order.
    codings: Vec<Option<u16>>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl AcceptEncoding {
    fn new(offered: usize) -> AcceptEncoding {
        AcceptEncoding { codings: vec![None; offered], identity: None, any: None }
    }

    fn add(&mut self, item: &[u8], offered: &[&str]) {
        let mut parts = item.splitn(2, |&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(weight) = parts.next().map_or(Some(1000), weight) else { return };
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { b"gzip" } else { name }; // section 8.4.1.3
        if name == b"*" {
            self.any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            self.identity = Some(weight);
        } else if let Some(at) = offered.iter().position(|coding| coding.as_bytes().eq_ignore_ascii_case(name)) {
            self.codings[at] = Some(weight);
        }
    }

    fn of(&self, at: usize) -> Option<u16> {
        self.codings[at].or(self.any)
    }
}

/// Parses a weight such as `q=0.8`: at most 1, with at most three digits after the dot (section 12.4.2).
pub(super) fn weight(parameter: &[u8]) -> Option<u16> {
    let parameter = parameter.trim_ascii();
    let value = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))?;
    let (&whole, fraction) = value.split_first()?;
    let digits = match fraction {
        [] => fraction,
        [b'.', digits @ ..] => digits,
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let thousandths =
        digits.iter().zip([100, 10, 1]).map(|(&digit, place)| u16::from(digit - b'0') * place).sum::<u16>();
    let weight = u16::from(whole - b'0') * 1000 + thousandths;
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_accepted_coding_is_chosen() {
        let all = &["br", "zstd", "gzip"][..];
        let gz = &["gzip"][..];
        let none = &[][..];
        for (lines, offered, expected) in [
            (&[][..], all, Ok(None)),
            (&[""], all, Ok(None)),
            (&["gzip"], all, Ok(Some("gzip"))),
            (&["GZIP"], all, Ok(Some("gzip"))),
            (&["x-gzip"], all, Ok(Some("gzip"))),
            (&["zstd"], all, Ok(Some("zstd"))),
            (&["br"], gz, Ok(None)),
            (&["gzip, deflate, br, zstd"], all, Ok(Some("br"))),
            (&["gzip, deflate, zstd"], all, Ok(Some("zstd"))),
            (&["gzip", "br"], all, Ok(Some("br"))),
            (&["gzip, deflate, br"], none, Ok(None)),
            (&["deflate"], all, Ok(None)),
            (&["*"], all, Ok(Some("br"))),
            (&["*"], none, Ok(None)),
            (&["br;q=0, *"], all, Ok(Some("zstd"))),
            (&["*;q=0, gzip"], all, Ok(Some("gzip"))),
            (&["*;q=0"], all, Err(())),
            (&["*;q=0, identity"], all, Ok(None)),
            (&["gzip;q=0.5, br;q=0.4"], all, Ok(Some("gzip"))),
            (&["gzip ; q=0.5 , br;q=0.500"], all, Ok(Some("br"))),
            (&["gzip;Q=1.000"], all, Ok(Some("gzip"))),
            (&["gzip;q=0"], all, Ok(None)),
            (&["gzip;q=0.0"], all, Ok(None)),
            (&["gzip;q=0.000, identity;q=0"], gz, Err(())),
            (&["identity"], all, Ok(None)),
            (&["identity;q=0"], all, Err(())),
            (&["identity;q=0, *"], all, Ok(Some("br"))),
            (&["identity;q=0, *"], none, Err(())),
            (&["identity;q=0, gzip"], none, Err(())),
            (&["identity;q=0.6, gzip;q=0.5"], all, Ok(None)),
            (&["identity;q=0.5, gzip;q=0.5"], all, Ok(Some("gzip"))),
            (&["gzip;q=0.001"], all, Ok(Some("gzip"))),
            (&["gzip;q=0.0001"], all, Ok(None)),
            (&["gzip;q=1.001"], all, Ok(None)),
            (&["gzip;q=2"], all, Ok(None)),
            (&["gzip;q=-1"], all, Ok(None)),
            (&["gzip;q="], all, Ok(None)),
            (&["gzip;q"], all, Ok(None)),
            (&["gzip;level=9"], all, Ok(None)),
            (&["gzip;q=1."], all, Ok(Some("gzip"))),
            (&[",,gzip,,"], all, Ok(Some("gzip"))),
            (&["gzip br"], all, Ok(None)),
        ] {
            let request = lines
                .iter()
                .fold(Request::get("/"), |request, line: &&str| request.with_header("accept-encoding", line));
            let choice = request.choose_coding(offered).map_err(|error| assert_eq!(error.status(), 406));
            assert_eq!(choice, expected, "{lines:?} of {offered:?}");
        }
    }
}
