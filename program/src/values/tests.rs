//! Tests of the parsers: sizes, times, fields and patterns.

use super::*;

#[test]
fn sizes_and_times() {
    for (text, bytes) in
        [("0", 0), ("500", 500), ("64k", 65_536), ("64KiB", 65_536), ("16m", 16 << 20), ("1g", 1 << 30)]
    {
        assert_eq!(size(text), Ok(bytes), "{text}");
    }
    for text in ["", "k", "64kb", "-1", "+1", "1.5m", "64 k", "99999999t", "none"] {
        assert!(size(text).is_err(), "{text}: {:?}", size(text));
    }
    for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("10", 10_000), ("2m", 120_000), ("1h", 3_600_000)] {
        assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
    }
    for text in ["", "s", "0", "0s", "-1s", "1.5s", "10 s", "1w", "999999999d"] {
        assert!(time(text).is_err(), "{text}: {:?}", time(text));
    }
    assert_eq!(time_or_none("none"), Ok(Limit(None)));
    let (bytes_per_second, over) = (1024, Duration::from_secs(10));
    let quota_of = |bytes, seconds| Ok(Limit(Some(Quota { bytes, within: Duration::from_secs(seconds) })));
    assert_eq!([quota("1k"), quota("2/1h")], [quota_of(1024, 86_400), quota_of(2, 3600)]);
    assert_eq!(rate("1k/10s"), Ok(Limit(Some(Rate { bytes_per_second, over }))));
}

#[test]
fn fields_and_patterns() {
    for (text, expected) in [
        ("X-A: b", Some((None, "X-A", "b"))),
        ("X-A:b: c=d", Some((None, "X-A", "b: c=d"))),
        ("*.css=X-A: b", Some((Some("*.css"), "X-A", "b"))),
        ("/a=b/=X-A: b", Some((Some("/a=b/"), "X-A", "b"))),
        ("X-A", None),
        ("X A: b", None),
        (": b", None),
        ("=X-A: b", None),
        ("X-A: b\nX-B: c", None),
    ] {
        let found = field(text).ok();
        let found = found.as_ref().map(|field| (field.pattern.as_deref(), &*field.name, &*field.value));
        assert_eq!(found, expected, "{text:?}");
    }
    for (text, expected) in [
        ("max-age=60", Some((None, "max-age=60"))),
        ("public, max-age=60", Some((None, "public, max-age=60"))),
        ("*.css=max-age=60", Some((Some("*.css"), "max-age=60"))),
        ("/assets/=no-store", Some((Some("/assets/"), "no-store"))),
        ("private=\"set-cookie, x\", max-age=5", Some((None, "private=\"set-cookie, x\", max-age=5"))),
        ("", None),
        ("/assets/=", None),
        ("a\nb", None),
        ("*.html", None),
        ("/assets/", None),
        ("index.html", None),
        ("nonsense=", None),
        ("*.html=nonsense=", None),
        ("*.html=*.css", None),
        ("=5", None),
        ("max-age = 5", None),
        ("max-age=5,", None),
        ("no cache", None),
        ("private=\"x", None),
    ] {
        let found = caching(text).ok();
        assert_eq!(found.as_ref().map(|it| (it.pattern.as_deref(), &*it.value)), expected, "{text:?}");
    }
}
