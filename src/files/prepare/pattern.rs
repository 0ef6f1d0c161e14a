//! Patterns of paths, for the fields of files. Used by `prepare`.

use super::super::path;

/// Returns whether a path matches a pattern. `*` is any number of bytes, including slashes. A pattern that begins with
/// a slash is matched against the whole path; if it also ends with a slash, it matches all files of the folder. Any
/// other pattern is matched against the name.
pub fn matches(pattern: &str, path: &[u8]) -> bool {
    match pattern.as_bytes() {
        [b'/', pattern @ .., b'/'] => glob_matches(&[pattern, b"/*"].concat(), path),
        b"/" => true,
        [b'/', pattern @ ..] => glob_matches(pattern, path),
        pattern => glob_matches(pattern, path::name(path)),
    }
}

/// `*` matches as little as possible, and more on backtracking.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after, taken)) = star {
            (p, t) = (after, taken + 1);
            star = Some((after, taken + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_paths_and_folders() {
        for (pattern, path, expected) in [
            ("*.css", "style.css", true),
            ("*.css", "a/style.css", true),
            ("*.css", "style.css.gz", false),
            ("*.css", "a.css/b", false),
            ("index.html", "a/index.html", true),
            ("/index.html", "index.html", true),
            ("/index.html", "a/index.html", false),
            ("/assets/", "assets/a.js", true),
            ("/assets/", "assets/deep/a.js", true),
            ("/assets/", "assets", false),
            ("/assets/", "assets2/a.js", false),
            ("/assets/", "b/assets/a.js", false),
            ("/assets/*.js", "assets/deep/a.js", true),
            ("/a*c*e", "abcde", true),
            ("/a*c*e", "abcd", false),
            ("/a*c*e", "acxxcxexe", true),
            ("*-????", "a-1234", false),
            ("/", "anything/at/all", true),
            ("*", "anything", true),
            ("*.*", "a.b", true),
            ("*.*", "ab", false),
            ("", "a", false),
            ("**", "a", true),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} and {path}");
        }
        let long = "a".repeat(4000);
        assert!(
            !glob_matches(format!("{}b", "*a".repeat(1000)).as_bytes(), long.as_bytes()),
            "a pattern with 1,000 stars is rejected quickly"
        );
    }
}
