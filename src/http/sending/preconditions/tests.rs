//! Tests preconditions against the RFC: by a table, and in any combination against a simple model.

use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const THEN_SECONDS: i64 = 784_111_777;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_132_800)
}

fn request(method: Method, fields: &[(&str, &str)]) -> Request {
    let request = Request::new(method, "/").unwrap();
    fields.iter().fold(request, |request, (name, value)| request.with_header(name, value))
}

/// Returns a resource tagged `"a"` (weak: `W/"a"`), modified at THEN.
fn state(weak: bool) -> ValidatorsRef<'static> {
    ValidatorsRef { etag: Some(ETagRef { weak, opaque: b"a" }), modified: Some(THEN_SECONDS) }
}

#[test]
fn conditions_are_evaluated_in_the_order_of_the_rfc() {
    use Evaluation::{Failed, NotModified, Proceed};
    let (get, put) = (Method::GET, Method::PUT);
    for (section, method, fields, expected) in [
        ("13.2.2 nothing asked", &get, &[][..], Proceed),
        ("13.1.1 the tag", &put, &[("If-Match", "\"a\"")], Proceed),
        ("13.1.1 another tag", &put, &[("If-Match", "\"b\"")], Failed),
        ("13.1.1 another tag, reading", &get, &[("If-Match", "\"b\"")], Failed),
        ("13.1.1 any", &put, &[("If-Match", "*")], Proceed),
        ("13.1.1 a list", &put, &[("If-Match", "\"b\", \"a\"")], Proceed),
        ("13.1.1 strong comparison", &put, &[("If-Match", "W/\"a\"")], Failed),
        ("13.1.1 two lines are one list", &put, &[("If-Match", "\"b\""), ("If-Match", "\"a\"")], Proceed),
        ("13.1.1 no list of tags", &put, &[("If-Match", "a")], Failed),
        ("13.1.1 empty", &put, &[("If-Match", "")], Failed),
        ("13.1.1 any among tags names nothing", &put, &[("If-Match", "*, \"b\"")], Failed),
        ("13.1.2 the tag, reading", &get, &[("If-None-Match", "\"a\"")], NotModified),
        ("13.1.2 the tag, head", &Method::HEAD, &[("If-None-Match", "\"a\"")], NotModified),
        ("13.1.2 the tag, changing", &put, &[("If-None-Match", "\"a\"")], Failed),
        ("13.1.2 another tag", &get, &[("If-None-Match", "\"b\"")], Proceed),
        ("13.1.2 any", &get, &[("If-None-Match", "*")], NotModified),
        ("13.1.2 any, changing", &put, &[("If-None-Match", "*")], Failed),
        ("13.1.2 weak comparison", &get, &[("If-None-Match", "W/\"a\"")], NotModified),
        ("13.1.2 a list", &get, &[("If-None-Match", "\"b\",W/\"c\" ,\t\"a\"")], NotModified),
        ("13.1.2 empty members", &get, &[("If-None-Match", ", ,\"a\",")], NotModified),
        ("13.1.2 two lines are one list", &get, &[("If-None-Match", "\"b\""), ("If-None-Match", "\"a\"")], NotModified),
        ("8.8.3 a comma within a tag", &get, &[("If-None-Match", "\"b,\"a\"")], Proceed),
        ("8.8.3 no quotes", &get, &[("If-None-Match", "a")], Proceed),
        ("8.8.3 one quote", &get, &[("If-None-Match", "\"a")], Proceed),
        ("8.8.3 the mark of weakness knows case", &get, &[("If-None-Match", "w/\"a\"")], Proceed),
        ("8.8.3 the case of a tag", &get, &[("If-None-Match", "\"A\"")], Proceed),
        ("13.1.2 before a malformed member", &get, &[("If-None-Match", "\"a\", b")], NotModified),
        ("13.1.2 glued to something", &get, &[("If-None-Match", "\"a\"b")], Proceed),
        ("13.1.3 the date", &get, &[("If-Modified-Since", THEN)], NotModified),
        ("13.1.3 a later date", &get, &[("If-Modified-Since", LATER)], NotModified),
        ("13.1.3 an earlier date", &get, &[("If-Modified-Since", EARLIER)], Proceed),
        ("13.1.3 the oldest form", &get, &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], NotModified),
        ("13.1.3 asctime", &get, &[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], NotModified),
        ("13.1.3 no date", &get, &[("If-Modified-Since", "now")], Proceed),
        ("13.1.3 two dates", &get, &[("If-Modified-Since", THEN), ("If-Modified-Since", THEN)], Proceed),
        ("13.1.3 changing", &put, &[("If-Modified-Since", THEN)], Proceed),
        ("13.1.3 a tag overrules", &get, &[("If-None-Match", "\"b\""), ("If-Modified-Since", THEN)], Proceed),
        (
            "13.1.3 a tag overrules, the other way",
            &get,
            &[("If-None-Match", "\"a\""), ("If-Modified-Since", EARLIER)],
            NotModified,
        ),
        ("13.1.4 the date", &put, &[("If-Unmodified-Since", THEN)], Proceed),
        ("13.1.4 an earlier date", &put, &[("If-Unmodified-Since", EARLIER)], Failed),
        ("13.1.4 an earlier date, reading", &get, &[("If-Unmodified-Since", EARLIER)], Failed),
        ("13.1.4 no date", &put, &[("If-Unmodified-Since", "now")], Proceed),
        ("13.1.4 two dates", &put, &[("If-Unmodified-Since", EARLIER), ("If-Unmodified-Since", EARLIER)], Proceed),
        ("13.1.4 a tag overrules", &put, &[("If-Match", "\"a\""), ("If-Unmodified-Since", EARLIER)], Proceed),
        ("13.2.2 the first failure counts", &get, &[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Failed),
        ("13.2.2 both", &get, &[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], NotModified),
    ] {
        let evaluation = evaluate(&request(method.clone(), fields), Some(state(false)), now());
        assert_eq!(evaluation, expected, "{section}: {method} {fields:?}");
    }
}

#[test]
fn preconditions_without_a_representation_are_evaluated() {
    use Evaluation::{Failed, Proceed};
    for (section, fields, expected) in [
        ("13.1.1 any", &[("If-Match", "*")][..], Failed),
        ("13.1.1 a tag", &[("If-Match", "\"a\"")], Failed),
        ("13.1.2 any", &[("If-None-Match", "*")], Proceed),
        ("13.1.4 no date to compare", &[("If-Unmodified-Since", EARLIER)], Proceed),
    ] {
        assert_eq!(evaluate(&request(Method::PUT, fields), None, now()), expected, "{section}: {fields:?}");
    }
}

#[test]
fn if_range_is_evaluated() {
    for (section, field, weak, expected) in [
        ("13.1.5 the tag", "\"a\"", false, true),
        ("13.1.5 another tag", "\"b\"", false, false),
        ("13.1.5 a weak tag", "W/\"a\"", false, false),
        ("13.1.5 the tag of a weak state", "\"a\"", true, false),
        ("13.1.5 a list", "\"a\", \"b\"", false, false),
        ("13.1.5 any is not a tag", "*", false, false),
        ("13.1.5 the date", THEN, false, true),
        ("13.1.5 the date in another form", "Sun Nov  6 08:49:37 1994", false, true),
        ("13.1.5 an earlier date", EARLIER, false, false),
        ("13.1.5 a later date", LATER, false, false),
        ("13.1.5 neither", "x", false, false),
        ("13.1.5 empty", "", false, false),
    ] {
        let request = request(Method::GET, &[("If-Range", field)]);
        assert_eq!(check_if_range(&request, state(weak), now()), expected, "{section}: {field:?}");
    }
    let at = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds as u64);
    let fresh = request(Method::GET, &[("If-Range", THEN)]);
    assert!(
        !check_if_range(&fresh, state(false), at(THEN_SECONDS)),
        "8.8.2.2: within the second it names, a date is weak"
    );
    assert!(check_if_range(&fresh, state(false), at(THEN_SECONDS + 1)), "8.8.2.2: a date is strong one second later");
    assert!(
        check_if_range(&request(Method::GET, &[]), ValidatorsRef::default(), now()),
        "14.2: a request without If-Range"
    );
    let undated = request(Method::GET, &[("If-Range", "never")]);
    assert!(!check_if_range(&undated, ValidatorsRef::default(), now()), "13.1.5: two missing dates are not equal");
}

/// The meaning of a field, and one way to write it.
#[derive(Clone, Debug)]
enum FieldValue {
    Any,
    Tags(Vec<(bool, &'static str)>),
}

impl FieldValue {
    fn text(&self) -> String {
        match self {
            FieldValue::Any => "*".to_owned(),
            FieldValue::Tags(tags) => {
                let tags: Vec<_> =
                    tags.iter().map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" })).collect();
                tags.join(" , ")
            }
        }
    }
}

fn said() -> impl Strategy<Value = Option<FieldValue>> {
    let tag = (any::<bool>(), prop::sample::select(vec!["a", "b", "", "a,b", "W/"]));
    prop_oneof![
        Just(None),
        Just(Some(FieldValue::Any)),
        prop::collection::vec(tag, 1..4).prop_map(|tags| Some(FieldValue::Tags(tags))),
    ]
}

/// The current state, if the resource exists: its tag (weak or not) and its date.
type Current<'a> = Option<(Option<(bool, &'a str)>, Option<i64>)>;

/// Returns a literal implementation of section 13.2.2. Dates count seconds from THEN.
fn model(
    method: &Method,
    current: Current<'_>,
    [if_match, if_none_match]: [&Option<FieldValue>; 2],
    [unmodified, modified]: [Option<i64>; 2],
) -> Evaluation {
    let last_modified = current.and_then(|(_, date)| date);
    let matches = |said: &FieldValue, strong: bool| match (said, current) {
        (_, None) => false,
        (FieldValue::Any, Some(_)) => true,
        (FieldValue::Tags(_), Some((None, _))) => false,
        (FieldValue::Tags(tags), Some((Some((weak, tag)), _))) => {
            tags.iter().any(|(other_weak, other)| *other == tag && !(strong && (weak || *other_weak)))
        }
    };
    // 1. and 2.
    if let Some(if_match) = if_match {
        if !matches(if_match, true) {
            return Evaluation::Failed;
        }
    } else if let (Some(date), Some(last)) = (unmodified, last_modified)
        && last > date
    {
        return Evaluation::Failed;
    }
    let reads = *method == Method::GET || *method == Method::HEAD;
    // 3. and 4.
    if let Some(if_none_match) = if_none_match {
        if matches(if_none_match, false) {
            return if reads { Evaluation::NotModified } else { Evaluation::Failed };
        }
    } else if let (true, Some(date), Some(last)) = (reads, modified, last_modified)
        && last <= date
    {
        return Evaluation::NotModified;
    }
    Evaluation::Proceed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_model_agrees(
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT, Method::DELETE]),
        tag in prop::option::of((any::<bool>(), prop::sample::select(vec!["a", "b"]))),
        date in prop::option::of(Just(0i64)),
        there in prop::bool::weighted(0.8),
        if_match in said(),
        if_none_match in said(),
        dates in prop::array::uniform2(prop::option::of(-1i64..=1)),
    ) {
        let current = there.then_some((tag, date));
        let state = current.map(|(tag, date)| ValidatorsRef {
            etag: tag.map(|(weak, tag)| ETagRef { weak, opaque: tag.as_bytes() }),
            modified: date.map(|date| THEN_SECONDS + date),
        });
        let mut asked = request(method.clone(), &[]);
        for (name, said) in [("if-match", &if_match), ("if-none-match", &if_none_match)] {
            if let Some(said) = said {
                asked = asked.with_header(name, said.text());
            }
        }
        for (name, date) in [("if-unmodified-since", dates[0]), ("if-modified-since", dates[1])] {
            if let Some(date) = date {
                asked = asked.with_header(name, [EARLIER, THEN, LATER][(date + 1) as usize]);
            }
        }
        let expected = model(&method, current, [&if_match, &if_none_match], dates);
        prop_assert_eq!(evaluate(&asked, state, now()), expected, "{:?}", asked.headers());
    }
}

#[test]
fn handlers_can_check_preconditions() {
    let current = Validators { etag: Some(ETag::strong("a").unwrap()), last_modified: Some(now()) };
    let put = request(Method::PUT, &[("If-Match", "\"b\"")]);
    assert_eq!(put.check_preconditions(Some(&current)).unwrap_err().status(), 412);
    assert!(request(Method::PUT, &[("If-Match", "\"a\"")]).check_preconditions(Some(&current)).is_ok());
    let unchanged =
        request(Method::GET, &[("If-None-Match", "\"a\"")]).check_preconditions(Some(&current)).unwrap_err();
    assert_eq!((unchanged.status().as_u16(), unchanged.headers()["etag"].as_bytes()), (304, &b"\"a\""[..]));
}
