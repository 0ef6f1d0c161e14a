//! The grammar of a head, rule by rule as in the RFCs and slow: an independent reference for the parser. Used by
//! `model`, and by the fuzz target of heads.

/// A rule of the grammar: all places where it may end if it begins at this one.
type Rule = Box<dyn Fn(&[u8], usize) -> Vec<usize>>;

fn byte(wanted: impl Fn(u8) -> bool + 'static) -> Rule {
    Box::new(move |bytes, at| if bytes.get(at).is_some_and(|&byte| wanted(byte)) { vec![at + 1] } else { vec![] })
}

fn word(word: &'static str) -> Rule {
    Box::new(move |bytes, at| if bytes[at..].starts_with(word.as_bytes()) { vec![at + word.len()] } else { vec![] })
}

fn any_case(word: &'static str) -> Rule {
    Box::new(move |bytes, at| match bytes.get(at..at + word.len()) {
        Some(found) if found.eq_ignore_ascii_case(word.as_bytes()) => vec![at + word.len()],
        _ => vec![],
    })
}

fn seq(rules: Vec<Rule>) -> Rule {
    Box::new(move |bytes, at| {
        let mut ends = vec![at];
        for rule in &rules {
            ends = ends.iter().flat_map(|&end| rule(bytes, end)).collect();
            ends.sort_unstable();
            ends.dedup();
        }
        ends
    })
}

fn either(rules: Vec<Rule>) -> Rule {
    Box::new(move |bytes, at| rules.iter().flat_map(|rule| rule(bytes, at)).collect())
}

/// `least*( rule )`
fn many(least: usize, rule: Rule) -> Rule {
    Box::new(move |bytes, at| {
        let (mut all, mut ends, mut count) = (Vec::new(), vec![at], 0);
        while !ends.is_empty() {
            if count >= least {
                all.extend(&ends);
            }
            ends = ends.iter().flat_map(|&end| rule(bytes, end).into_iter().filter(move |&next| next > end)).collect();
            ends.sort_unstable();
            ends.dedup();
            count += 1;
        }
        all.sort_unstable();
        all.dedup();
        all
    })
}

fn maybe(rule: Rule) -> Rule {
    either(vec![word(""), rule])
}

fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

fn token() -> Rule {
    many(1, byte(is_tchar))
}

fn pct_encoded() -> Rule {
    seq(vec![word("%"), byte(|byte| byte.is_ascii_hexdigit()), byte(|byte| byte.is_ascii_hexdigit())])
}

/// RFC 3986, section 3.3, and the four characters that browsers do not encode.
fn path_char() -> Rule {
    either(vec![byte(|byte| is_unreserved_or_sub_delim(byte) || b":@/[]|^".contains(&byte)), pct_encoded()])
}

/// RFC 3986, section 3.4, and the bytes that browsers and curl do not encode, including a lone percent sign.
fn query_char() -> Rule {
    byte(|byte| is_unreserved_or_sub_delim(byte) || b":@/[]|^?{}`\\%\"<>".contains(&byte) || byte > 0x7f)
}

fn query() -> Rule {
    maybe(seq(vec![word("?"), many(0, query_char())]))
}

fn port() -> Rule {
    Box::new(|bytes, at| {
        let ends = many(0, byte(|byte| byte.is_ascii_digit()))(bytes, at);
        let number = |end: &usize| std::str::from_utf8(&bytes[at..*end]).unwrap().trim_start_matches('0').to_owned();
        ends.into_iter().filter(|end| number(end).is_empty() || number(end).parse::<u16>().is_ok()).collect()
    })
}

fn ip_literal() -> Rule {
    Box::new(|bytes, at| {
        let Some(length) = bytes[at..].iter().position(|&byte| byte == b']') else { return vec![] };
        let inside = std::str::from_utf8(&bytes[at + 1..at + length.max(1)]).unwrap_or("no");
        let future = seq(vec![
            any_case("v"),
            many(1, byte(|byte| byte.is_ascii_hexdigit())),
            word("."),
            many(1, byte(|byte| is_unreserved_or_sub_delim(byte) || byte == b':')),
        ]);
        let is_future = future(inside.as_bytes(), 0).contains(&inside.len());
        let is_literal = bytes[at] == b'[' && (inside.parse::<std::net::Ipv6Addr>().is_ok() || is_future);
        if is_literal { vec![at + length + 1] } else { vec![] }
    })
}

fn authority() -> Rule {
    let reg_name = many(1, either(vec![byte(is_unreserved_or_sub_delim), pct_encoded()]));
    seq(vec![either(vec![reg_name, ip_literal()]), maybe(seq(vec![word(":"), port()]))])
}

/// request-line, fields, empty line: RFC 9112, sections 3 and 5; and whether there is exactly one valid Host.
pub fn model_takes(head: &[u8]) -> bool {
    let line = |rule: Rule| seq(vec![rule, word("\r\n")]);
    let origin = || seq(vec![word("/"), many(0, path_char()), query()]);
    let scheme = any_case("http://");
    let target = either(vec![origin(), seq(vec![scheme, authority(), maybe(either(vec![origin(), query()]))])]);
    let version = seq(vec![word("HTTP/1."), byte(|byte| byte.is_ascii_digit())]);
    let request_line = line(seq(vec![token(), word(" "), target, word(" "), version]));
    let vchar = byte(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    let field = line(seq(vec![token(), word(":"), many(0, vchar)]));
    let whole = seq(vec![request_line, many(0, field), word("\r\n")]);
    if !whole(head, 0).contains(&head.len()) {
        return false;
    }
    let text = String::from_utf8_lossy(head).into_owned();
    let lines: Vec<&str> = text.split("\r\n").skip(1).collect();
    let hosts: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("host"))
        .map(|(_, value)| value.trim_matches([' ', '\t']))
        .collect();
    let sound = |host: &&str| host.is_empty() || authority()(host.as_bytes(), 0).contains(&host.len());
    let old = text.split("\r\n").next().unwrap().ends_with("HTTP/1.0");
    hosts.iter().all(sound) && (hosts.len() == 1 || hosts.is_empty() && old)
}
