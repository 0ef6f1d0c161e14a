//! Tests of the order and form of a listing's entries.

use super::*;

/// FUSE has names of up to 4,095 bytes.
#[test]
fn long_names_are_whole_and_in_order() {
    let mut entries = Entries::new();
    let number = |digits: usize, first: &str| format!("n{first}{}", "1".repeat(digits - first.len()));
    let names =
        ["x".repeat(255), "x".repeat(256), "y".repeat(4094), number(255, "9"), number(300, ""), number(511, "")];
    let file = std::fs::File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let stat = super::super::super::stat::stat_of(file).unwrap();
    names.iter().rev().for_each(|name| entries.push(name.as_bytes(), &stat, false));
    entries.sort(Order::default());
    let shown = entries.iter_from(0).map(|entry| String::from_utf8_lossy(entry.name).into_owned());
    let expected = [3, 4, 5, 0, 1, 2].map(|number: usize| names[number].clone());
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

/// macOS decomposes names, other systems compose them.
#[cfg(feature = "unicode")]
#[test]
fn composed_and_decomposed_names_sort_together() {
    let mut names = Names::default();
    let texts =
        ["Ärger", "a\u{308}rger 2", "Azur", "é10", "e\u{301}9", "zebra", "\u{ac00}b", "\u{1100}\u{1161}a", "\u{d6}l"];
    let row = |names: &mut Names, text: &str| {
        let (block, start) = names.push(text.as_bytes());
        Row { size: 0, modified: 0, block, start, length: text.len() as u16, is_folder: false, is_link: false }
    };
    let mut rows: Vec<Row> = texts.iter().map(|text| row(&mut names, text)).collect();
    let order = Order::default();
    rows.sort_by(|one, other| {
        one.key(order, &names).cmp(&other.key(order, &names)).then(one.compare(other, order, &names))
    });
    let shown: Vec<&str> = rows.iter().map(|row| str::from_utf8(row.name(&names)).unwrap()).collect();
    let expected =
        ["Azur", "Ärger", "a\u{308}rger 2", "e\u{301}9", "é10", "\u{d6}l", "zebra", "\u{1100}\u{1161}a", "\u{ac00}b"];
    assert_eq!(shown, expected);
}

#[test]
fn names_in_natural_order() {
    for (one, other, expected) in [
        ("a", "b", Ordering::Less),
        ("a", "B", Ordering::Less),
        ("A", "a", Ordering::Equal),
        ("a", "ab", Ordering::Less),
        ("", "a", Ordering::Less),
        ("file 2.txt", "file 10.txt", Ordering::Less),
        ("a10", "a10b", Ordering::Less),
        ("a9b", "a10a", Ordering::Less),
        ("02", "2", Ordering::Equal),
        ("00", "0", Ordering::Equal),
        ("01x", "1y", Ordering::Less),
        ("1", "a", Ordering::Less),
        ("99999999999999999999998", "99999999999999999999999", Ordering::Less),
        ("z", "\u{e9}", Ordering::Less),
        ("a name of 16: 01", "a name of 16: 01b", Ordering::Less),
        ("a name of 17: 019", "a name of 17: 0110", Ordering::Less),
        ("a name of 17: 109", "a name of 17: 1010", Ordering::Less),
        ("a name of 16: xx9", "a name of 16: xx10", Ordering::Less),
        ("00000000000000002", "000000000000000010", Ordering::Less),
        ("0000000000000000", "00000000000000000", Ordering::Equal),
    ] {
        assert_eq!(natural(one.as_bytes(), other.as_bytes()), expected, "{one} and {other}");
        assert_eq!(natural(other.as_bytes(), one.as_bytes()), expected.reverse(), "{other} and {one}");
    }
}

#[test]
fn keys_are_in_natural_order() {
    let letters = b"aAbB019/:~\x01\xff";
    let mut state = 1_u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % below
    };
    let names: Vec<Vec<u8>> = (0..600).map(|_| (0..next(9)).map(|_| letters[next(letters.len())]).collect()).collect();
    for length in [1, 4, 15] {
        let key = |name: &[u8]| {
            let mut key = vec![0; length];
            push_natural_key(name, &mut key);
            key
        };
        for (one, other) in names.iter().flat_map(|one| names.iter().map(move |other| (one, other))) {
            let by_key = key(one).cmp(&key(other));
            let shown = (one.escape_ascii(), other.escape_ascii());
            assert!(by_key.is_eq() || by_key == natural(one, other), "{} and {}, {length}", shown.0, shown.1);
        }
    }
}
