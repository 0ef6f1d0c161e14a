//! Content coding by `Accept-Encoding` (RFC 9110, section 12.5.3). Called by `handler`; pure.

/// The coding of a sidecar, a precompressed file beside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentCoding {
    Brotli,
    Zstandard,
    Gzip,
}

impl ContentCoding {
    /// All codings in order of preference, which decides between equal weights.
    pub const ALL: [ContentCoding; 3] = [ContentCoding::Brotli, ContentCoding::Zstandard, ContentCoding::Gzip];

    /// The name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            ContentCoding::Brotli => "br",
            ContentCoding::Zstandard => "zstd",
            ContentCoding::Gzip => "gzip",
        }
    }

    /// The suffix of a sidecar's name.
    pub fn suffix(self) -> &'static str {
        match self {
            ContentCoding::Brotli => ".br",
            ContentCoding::Zstandard => ".zst",
            ContentCoding::Gzip => ".gz",
        }
    }

    fn has_name(self, name: &[u8]) -> bool {
        let old = self == ContentCoding::Gzip && name.eq_ignore_ascii_case(b"x-gzip"); // section 8.4.1.3
        old || name.eq_ignore_ascii_case(self.name().as_bytes())
    }
}

/// The representation to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The file as it is.
    Identity,
    /// A sidecar.
    Coded(ContentCoding),
    /// None is acceptable: 406.
    NotAcceptable,
}

/// Choose between the file itself and its sidecars, given the `Accept-Encoding` lines of a request.
///
/// The highest weight wins, and a coding wins over identity of the same weight. Identity is excluded only explicitly
/// (`identity;q=0`, or `*;q=0` without `identity`); a member with an invalid weight is ignored.
pub(super) fn choose<'a>(lines: impl Iterator<Item = &'a [u8]>, sidecars: &[ContentCoding]) -> Choice {
    let mut accepted = AcceptEncoding::default();
    let mut present = false;
    for item in lines.inspect(|_| present = true).flat_map(|line| line.split(|&byte| byte == b',')) {
        accepted.add(item);
    }
    if !present {
        return Choice::Identity;
    }
    // `min_by_key` takes the first of equals, the preferred one: so weights are inverted.
    let best = ContentCoding::ALL
        .into_iter()
        .filter(|coding| sidecars.contains(coding))
        .min_by_key(|&coding| u16::MAX - accepted.of(coding).unwrap_or(0));
    let weight = best.and_then(|coding| accepted.of(coding)).unwrap_or(0);
    match best {
        Some(coding) if weight > 0 && weight >= accepted.identity.unwrap_or(0) => Choice::Coded(coding),
        _ if accepted.identity.or(accepted.any) == Some(0) => Choice::NotAcceptable,
        _ => Choice::Identity,
    }
}

/// The weights of an `Accept-Encoding` field, in thousandths.
#[derive(Default)]
struct AcceptEncoding {
    codings: [Option<u16>; ContentCoding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl AcceptEncoding {
    fn add(&mut self, item: &[u8]) {
        let mut parts = item.splitn(2, |&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(weight) = parts.next().map_or(Some(1000), weight) else { return };
        if name == b"*" {
            self.any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            self.identity = Some(weight);
        } else if let Some(index) = ContentCoding::ALL.iter().position(|coding| coding.has_name(name)) {
            self.codings[index] = Some(weight);
        }
    }

    fn of(&self, coding: ContentCoding) -> Option<u16> {
        self.codings[coding as usize].or(self.any)
    }
}

/// `q=0.8`: at most 1, with at most three digits after the dot (section 12.4.2).
fn weight(parameter: &[u8]) -> Option<u16> {
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
    fn choices() {
        use Choice::{Coded, Identity, NotAcceptable};
        use ContentCoding::{Brotli, Gzip, Zstandard};
        let all = &ContentCoding::ALL[..];
        let gz = &[Gzip][..];
        let none = &[][..];
        for (lines, sidecars, expected) in [
            (&[][..], all, Identity),
            (&[""], all, Identity),
            (&["gzip"], all, Coded(Gzip)),
            (&["GZIP"], all, Coded(Gzip)),
            (&["x-gzip"], all, Coded(Gzip)),
            (&["zstd"], all, Coded(Zstandard)),
            (&["br"], gz, Identity),
            (&["gzip, deflate, br, zstd"], all, Coded(Brotli)),
            (&["gzip, deflate, zstd"], all, Coded(Zstandard)),
            (&["gzip", "br"], all, Coded(Brotli)),
            (&["gzip, deflate, br"], none, Identity),
            (&["deflate"], all, Identity),
            (&["*"], all, Coded(Brotli)),
            (&["*"], none, Identity),
            (&["br;q=0, *"], all, Coded(Zstandard)),
            (&["*;q=0, gzip"], all, Coded(Gzip)),
            (&["*;q=0"], all, NotAcceptable),
            (&["*;q=0, identity"], all, Identity),
            (&["gzip;q=0.5, br;q=0.4"], all, Coded(Gzip)),
            (&["gzip ; q=0.5 , br;q=0.500"], all, Coded(Brotli)),
            (&["gzip;Q=1.000"], all, Coded(Gzip)),
            (&["gzip;q=0"], all, Identity),
            (&["gzip;q=0.0"], all, Identity),
            (&["gzip;q=0.000, identity;q=0"], gz, NotAcceptable),
            (&["identity"], all, Identity),
            (&["identity;q=0"], all, NotAcceptable),
            (&["identity;q=0, *"], all, Coded(Brotli)),
            (&["identity;q=0, *"], none, NotAcceptable),
            (&["identity;q=0, gzip"], none, NotAcceptable),
            (&["identity;q=0.6, gzip;q=0.5"], all, Identity),
            (&["identity;q=0.5, gzip;q=0.5"], all, Coded(Gzip)),
            (&["gzip;q=0.001"], all, Coded(Gzip)),
            (&["gzip;q=0.0001"], all, Identity),
            (&["gzip;q=1.001"], all, Identity),
            (&["gzip;q=2"], all, Identity),
            (&["gzip;q=-1"], all, Identity),
            (&["gzip;q="], all, Identity),
            (&["gzip;q"], all, Identity),
            (&["gzip;level=9"], all, Identity),
            (&["gzip;q=1."], all, Coded(Gzip)),
            (&[",,gzip,,"], all, Coded(Gzip)),
            (&["gzip br"], all, Identity),
        ] {
            let choice = choose(lines.iter().map(|line: &&str| line.as_bytes()), sidecars);
            assert_eq!(choice, expected, "{lines:?} of {sidecars:?}");
        }
    }
}
