//! Page 12.

use std::collections::HashMap;
use std::process::Command;

use lessons::web::json;

/// Exercise 2: sessions that end, with a bound per visitor's address. Times come from the caller: seconds since any fixed moment.
#[derive(Default)]
struct Sessions(HashMap<String, (u64, String)>); // key: last use, address

const LIFETIME: u64 = 3600;
const PER_ADDRESS: usize = 10;

impl Sessions {
    fn add(&mut self, key: &str, address: &str, now: u64) -> bool {
        self.0.retain(|_, (used, _)| now - *used < LIFETIME);
        if self.0.values().filter(|(_, of)| of == address).count() == PER_ADDRESS {
            return false;
        }
        self.0.insert(key.into(), (now, address.into()));
        true
    }

    fn is_valid(&mut self, key: &str, now: u64) -> bool {
        let Some((used, _)) = self.0.get_mut(key).filter(|(used, _)| now - *used < LIFETIME) else { return false };
        *used = now;
        true
    }
}

/// Exercise 3: compares every byte, even after the first difference. The length is not secret.
fn equal(one: &[u8], two: &[u8]) -> bool {
    one.len() == two.len()
        && std::hint::black_box(one.iter().zip(two).fold(0, |all, (one, two)| all | (one ^ two))) == 0
}

/// Exercise 1.
#[test]
fn python_reads_our_json() {
    let texts = ["", "two\nlines", "a\0b", "\\\"", "🍰", "</script>", "\u{7f}\u{2028}"];
    let list = format!("[{}]", texts.map(json).join(","));
    let program = "import json, sys; print(' '.join(text.encode().hex() or '-' for text in json.loads(sys.argv[1])))";
    let output = Command::new("python3").args(["-c", program, &list]).output().unwrap();
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = texts.map(|text| if text.is_empty() { "-".into() } else { hex(text) }).join(" ");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), expected, "{list}");
}

#[test]
fn sessions_end() {
    let mut sessions = Sessions::default();
    assert!(sessions.add("a", "192.0.2.1", 0));
    assert!(sessions.is_valid("a", 3000) && sessions.is_valid("a", 6000), "each use is a new hour");
    assert!(!sessions.is_valid("a", 9600) && !sessions.is_valid("b", 0));
    for number in 0..PER_ADDRESS {
        assert!(sessions.add(&number.to_string(), "192.0.2.1", 9600), "{number}");
    }
    assert!(!sessions.add("more", "192.0.2.1", 9601) && sessions.add("other", "192.0.2.2", 9601));
}

#[test]
fn equal_compares_like_the_operator() {
    for (one, two, expected) in [("", "", true), ("ab", "ab", true), ("ab", "ac", false), ("ab", "abc", false)] {
        assert_eq!(equal(one.as_bytes(), two.as_bytes()), expected, "{one} {two}");
    }
}
