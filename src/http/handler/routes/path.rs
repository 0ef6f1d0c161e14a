//! Patterns of paths: why a pattern is invalid, the names in it, and the prefixes of mounts. Pure functions. Used by
//! `routes`.

pub(super) fn names(pattern: &str) -> Vec<&str> {
    let (mut names, mut rest) = (Vec::new(), pattern);
    while let Some((_, behind)) = rest.split_once('{') {
        rest = match (behind.strip_prefix('{'), behind.split_once('}')) {
            (Some(behind), _) => behind, // a brace
            (None, Some((name, after))) => {
                // `{a}}b}`: a brace within a name, as matched.
                let end = name.len() + usize::from(after.starts_with('}'));
                let name = &behind[..end];
                names.push(name.strip_prefix('*').unwrap_or(name));
                after
            }
            (None, None) => "",
        };
    }
    names
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || "_-".contains(letter))
}

/// Returns why no path can match this pattern, and what to write instead. Recognizes the syntax of other frameworks.
pub(super) fn fault(pattern: &str) -> Option<&'static str> {
    let rest = pattern.strip_prefix('/')?;
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_inside = segments.peek().is_some();
        let first_two = (segment.chars().next(), segment.chars().nth(1));
        let why = match segment {
            "" if is_inside => "paths have no empty segments",
            "." | ".." => "paths have no dot segments",
            _ if has_encoding(segment) => "patterns are decoded: write the character itself, not its percent-encoding",
            _ if matches!(first_two, (Some(':'), Some(letter)) if letter.is_alphabetic() || letter == '_') => {
                "a name is written in braces: {name} instead of :name"
            }
            _ if segment.starts_with('<') && segment.ends_with('>') => {
                "a name is written in braces: {name} instead of <name>"
            }
            _ if segment.starts_with('*') => "the rest of a path is written {*name}",
            _ => continue,
        };
        return Some(why);
    }
    None
}

fn has_encoding(segment: &str) -> bool {
    let is_encoding = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    segment.split('%').skip(1).any(is_encoding)
}

/// The path of a mount: a pattern for the first segments of a path. Two are equal if they match the same paths.
#[derive(Debug, PartialEq)]
pub(super) struct Prefix(Vec<Segment>);

/// A segment: fixed text with up to one name in it.
#[derive(Debug, Default)]
struct Segment {
    before: String,
    name: Option<String>,
    after: String,
}

impl Prefix {
    /// `None` if the pattern is invalid or contains a `{*name}`.
    pub(super) fn parse(pattern: &str) -> Option<Prefix> {
        pattern.strip_prefix('/')?.split('/').map(Segment::parse).collect::<Option<_>>().map(Prefix)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the precedence among prefixes that match one path. The first segment that differs decides: the more
    /// specific kind comes first, and the end of a prefix comes last.
    pub(super) fn rank(&self) -> Vec<Kind> {
        self.0.iter().map(Segment::kind).chain([Kind::End]).collect()
    }

    /// Returns whether this mount has precedence over a route for paths that match both: in the first segment in which
    /// they differ, that of the mount is more specific.
    pub(super) fn precedes(&self, route: &str) -> bool {
        // A prefix has no `{*name}`, which is more than one segment.
        let kind = |text: &str| Segment::parse(text).map_or(Kind::Rest, |segment| segment.kind());
        let is_more_specific = |(own, of_route): (Kind, Kind)| own < of_route;
        let mut pairs = self.0.iter().map(Segment::kind).zip(route.split('/').skip(1).map(kind));
        route.contains('{') && pairs.find(|(own, of_route)| own != of_route).is_some_and(is_more_specific)
    }

    /// If the path begins with this prefix, returns the names in the prefix with their values in the path.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(String, String)>> {
        let mut names = path.strip_prefix('/')?.split('/');
        let mut params = Vec::new();
        for segment in &self.0 {
            let value = segment.value(names.next()?)?;
            params.extend(segment.name.iter().map(|name| (name.clone(), value.to_owned())));
        }
        Some(params)
    }
}

/// The kinds of segments, from the most specific one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Text,
    /// A name with text around it.
    Affixed,
    Name,
    /// All segments that follow.
    Rest,
    /// There is no segment.
    End,
}

/// The names do not matter.
impl PartialEq for Segment {
    fn eq(&self, other: &Segment) -> bool {
        let key = |segment: &Segment| (segment.before.clone(), segment.name.is_some(), segment.after.clone());
        key(self) == key(other)
    }
}

impl Segment {
    fn kind(&self) -> Kind {
        match &self.name {
            None => Kind::Text,
            Some(_) if self.before.is_empty() && self.after.is_empty() => Kind::Name,
            Some(_) => Kind::Affixed,
        }
    }

    fn parse(text: &str) -> Option<Segment> {
        let (mut segment, mut rest) = (Segment::default(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            segment.push(before);
            rest = match from.strip_prefix("{{").or(from.strip_prefix("}}")) {
                Some(after) => {
                    segment.push(&from[..1]);
                    after
                }
                None => {
                    let (name, after) = from.strip_prefix('{').filter(|_| segment.name.is_none())?.split_once('}')?;
                    segment.name = Some(name.to_owned()).filter(|name| is_name(name));
                    segment.name.as_ref()?;
                    after
                }
            };
        }
        segment.push(rest);
        Some(segment)
    }

    fn push(&mut self, text: &str) {
        let to = if self.name.is_some() { &mut self.after } else { &mut self.before };
        to.push_str(text);
    }

    /// Returns the part of a segment that the name in braces matches. Empty for fixed text.
    fn value<'a>(&self, name: &'a str) -> Option<&'a str> {
        let value = name.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        (value.is_empty() != self.name.is_some()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_that_match_the_same_paths_are_equal() {
        for (one, other, expected) in [
            ("/{a}", "/{b}", true),
            ("/x/img-{a}.png", "/x/img-{b}.png", true),
            ("/x/img-{a}.png", "/x/img-{b}.jpg", false),
            ("/{{a}}", "/{{b}}", false),
            ("/{{a}}", "/{{a}}", true),
            ("/{a}/x", "/{a}/y", false),
            ("/{a}/{b}", "/{b}/{a}", true),
            ("/{a}", "/a", false),
            ("/a", "/a/b", false),
        ] {
            let parse = |pattern: &str| Prefix::parse(pattern).expect("a valid prefix");
            assert_eq!(parse(one) == parse(other), expected, "{one} {other}");
        }
    }

    #[test]
    fn patterns_no_path_can_match_are_reported() {
        for (pattern, expected) in [
            ("/", None),
            ("/a/", None),
            ("/users/{id}", None),
            ("/v1/x:cancel", None),
            ("/a:", None),
            ("/100%", None),
            ("/a//b", Some("empty")),
            ("//", Some("empty")),
            ("/a/../b", Some("dot")),
            ("/:id", Some("{name}")),
            ("/users/:id/x", Some("{name}")),
            ("/<int:id>", Some("{name}")),
            ("/caf%C3%A9", Some("decoded")),
            ("/files/*", Some("{*name}")),
            ("/files/*path", Some("{*name}")),
        ] {
            let found = fault(pattern);
            assert_eq!(found.is_some(), expected.is_some(), "{pattern}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{pattern}: {found:?}");
        }
    }

    #[test]
    fn prefixes_match_whole_segments() {
        for (pattern, path, expected) in [
            ("/a", "/a", Some("")),
            ("/a", "/a/b", Some("")),
            ("/a", "/ab", None),
            ("/a/b", "/a", None),
            ("/users/{id}", "/users/7/x", Some("id=7")),
            ("/users/{id}", "/users/", None),
            ("/users/{id}/files", "/users/7/files", Some("id=7")),
            ("/u-{id}.d/{name}", "/u-7.d/x/y", Some("id=7,name=x")),
            ("/{{a}}", "/{a}/b", Some("")),
        ] {
            let found = Prefix::parse(pattern).unwrap().matches(path);
            let shown = found.map(|params| {
                params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",")
            });
            assert_eq!(shown.as_deref(), expected, "{pattern} {path}");
        }
        for pattern in ["a", "/{*rest}", "/{", "/}", "/{a}{b}", "/{}"] {
            assert!(Prefix::parse(pattern).is_none(), "{pattern}");
        }
    }
}
