//! Which coding of a file a client gets (RFC 9110, section 12.5.3). Called by `handler`; pure.

/// How a sidecar, a file beside the file, is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Brotli,
    Zstandard,
    Gzip,
}

impl Coding {
    /// All of them, the best first: with equal weights this order decides.
    pub const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstandard, Coding::Gzip];

    /// As it stands in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstandard => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// What the name of a sidecar ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstandard => ".zst",
            Coding::Gzip => ".gz",
        }
    }

    fn is_called(self, name: &[u8]) -> bool {
        let old = self == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip"); // section 8.4.1.3
        old || name.eq_ignore_ascii_case(self.name().as_bytes())
    }
}

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// The file as it is.
    Identity,
    /// A sidecar.
    Coded(Coding),
    /// Nothing it would take: 406.
    Nothing,
}

/// Choose among the file itself and its sidecars, given the `Accept-Encoding` lines of a request.
///
/// The highest weight wins, a coding before identity where they weigh the same. Identity is refused only by word
/// (`identity;q=0`, or `*;q=0` with no word on identity); a weight that is none makes its item unheard.
pub(super) fn choose<'a>(lines: impl Iterator<Item = &'a [u8]>, sidecars: &[Coding]) -> Choice {
    let mut wishes = Wishes::default();
    let mut asked = false;
    for item in lines.inspect(|_| asked = true).flat_map(|line| line.split(|&byte| byte == b',')) {
        wishes.hear(item);
    }
    if !asked {
        return Choice::Identity;
    }
    // `min_by_key` takes the first of equals, which is the best: weights are turned round.
    let best = Coding::ALL
        .into_iter()
        .filter(|coding| sidecars.contains(coding))
        .min_by_key(|&coding| u16::MAX - wishes.of(coding).unwrap_or(0));
    let weight = best.and_then(|coding| wishes.of(coding)).unwrap_or(0);
    match best {
        Some(coding) if weight > 0 && weight >= wishes.identity.unwrap_or(0) => Choice::Coded(coding),
        _ if wishes.identity.or(wishes.any) == Some(0) => Choice::Nothing,
        _ => Choice::Identity,
    }
}

/// Weights in thousandths.
#[derive(Default)]
struct Wishes {
    codings: [Option<u16>; Coding::ALL.len()],
    identity: Option<u16>,
    any: Option<u16>,
}

impl Wishes {
    fn hear(&mut self, item: &[u8]) {
        let mut parts = item.splitn(2, |&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let Some(weight) = parts.next().map_or(Some(1000), weight) else { return };
        if name == b"*" {
            self.any = Some(weight);
        } else if name.eq_ignore_ascii_case(b"identity") {
            self.identity = Some(weight);
        } else if let Some(index) = Coding::ALL.iter().position(|coding| coding.is_called(name)) {
            self.codings[index] = Some(weight);
        }
    }

    fn of(&self, coding: Coding) -> Option<u16> {
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
        use Choice::{Coded, Identity, Nothing};
        use Coding::{Brotli, Gzip, Zstandard};
        let all = &Coding::ALL[..];
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
            (&["*;q=0"], all, Nothing),
            (&["*;q=0, identity"], all, Identity),
            (&["gzip;q=0.5, br;q=0.4"], all, Coded(Gzip)),
            (&["gzip ; q=0.5 , br;q=0.500"], all, Coded(Brotli)),
            (&["gzip;Q=1.000"], all, Coded(Gzip)),
            (&["gzip;q=0"], all, Identity),
            (&["gzip;q=0.0"], all, Identity),
            (&["gzip;q=0.000, identity;q=0"], gz, Nothing),
            (&["identity"], all, Identity),
            (&["identity;q=0"], all, Nothing),
            (&["identity;q=0, *"], all, Coded(Brotli)),
            (&["identity;q=0, *"], none, Nothing),
            (&["identity;q=0, gzip"], none, Nothing),
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
