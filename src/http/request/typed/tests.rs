//! Values of a type, and the reported faults.

use std::num::NonZeroU8;

use serde::Deserialize;

use super::*;

#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Order {
    Newest,
    Oldest,
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(try_from = "u32")]
struct Limit(u32);

impl TryFrom<u32> for Limit {
    type Error = &'static str;

    fn try_from(number: u32) -> Result<Limit, &'static str> {
        if number <= 100 { Ok(Limit(number)) } else { Err("expected a number up to 100") }
    }
}

fn first() -> u32 {
    1
}

#[derive(Deserialize, Debug, PartialEq)]
struct Search {
    text: String,
    limit: Option<Limit>,
    #[serde(default = "first")]
    page: u32,
    order: Option<Order>,
    #[serde(default)]
    tag: Vec<String>,
    #[serde(default)]
    ids: Vec<i8>,
    #[serde(default)]
    exact: bool,
    weight: Option<f64>,
    nonzero: Option<NonZeroU8>,
    initial: Option<char>,
}

/// Each row: a query, and the expected value or message.
#[test]
fn queries() {
    for (query, expected) in [
        ("text=a", Ok("a None 1 None [] [] false None None None")),
        ("text=a%20b&limit=100&page=7", Ok("a b Some(Limit(100)) 7 None [] [] false None None None")),
        ("text=&limit=&order=&weight=", Ok(" None 1 None [] [] false None None None")),
        ("text=a&tag=x", Ok("a None 1 None [\"x\"] [] false None None None")),
        ("text=a&tag=x&ids=-1&tag=y&ids=2", Ok("a None 1 None [\"x\", \"y\"] [-1, 2] false None None None")),
        ("text=a&exact=on&order=oldest&weight=1.5", Ok("a None 1 Some(Oldest) [] [] true Some(1.5) None None")),
        ("text=a&nonzero=3&initial=%C3%A9&other=1", Ok("a None 1 None [] [] false None Some(3) Some('é')")),
        ("", Err("text: missing")),
        ("limit=101", Err("text: missing; limit: expected a number up to 100")),
        (
            "limit=x&page=-1&order=best&tag=a&ids=1&ids=200&exact=maybe&weight=heavy&nonzero=0&initial=ab",
            Err(
                "text: missing; limit: expected a whole number from 0 to 4294967295; page: expected a whole number from 0 to 4294967295; \
                 order: expected one of: newest, oldest; ids: expected a whole number from -128 to 127; \
                 exact: expected true or false; weight: expected a number; nonzero: expected a nonzero u8; \
                 initial: expected one character",
            ),
        ),
        ("text=a&text=b", Err("text: expected one value, not 2")),
        ("text=a&page=1&page=2", Err("page: expected one value, not 2")),
        ("text=a&nonzero=0&weight=x", Err("weight: expected a number; nonzero: expected a nonzero u8")),
    ] {
        let found = Request::get(&format!("/?{query}")).query_as::<Search>();
        let found = found.map(|s| {
            let Search { text, limit, page, order, tag, ids, exact, weight, nonzero, initial } = s;
            format!("{text} {limit:?} {page} {order:?} {tag:?} {ids:?} {exact} {weight:?} {nonzero:?} {initial:?}")
        });
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{query}"),
            (Err(found), Err(expected)) => assert_eq!(found.message(), Some(expected), "{query}"),
            _ => panic!("{query}: {found:?}"),
        }
    }
}

#[derive(Deserialize, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
struct Place {
    city: String,
    code: u16,
}

#[derive(Deserialize, Debug)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Payment {
    #[expect(dead_code, reason = "only read")]
    Card { number: u64 },
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct Deal {
    place: Place,
    items: Vec<(String, f32)>,
    pair: (u8, u8),
    payment: Option<Payment>,
    anything: Option<Value>,
}

#[test]
fn json() {
    let place = r#""place": {"city": "a", "code": 1}"#;
    for (body, status, expected) in [
        (format!("{{{place}, \"items\": [[\"a\", 1]], \"pair\": [1, 2]}}"), 200, ""),
        ("{".into(), 400, "EOF while parsing an object at line 1 column 1"),
        ("[]".into(), 422, "expected an object; place: missing"),
        ("{}".into(), 422, "place: missing; items: missing; pair: missing"),
        (
            r#"{"place": {"city": 7, "cod": 1, "x": 2}, "items": [["a", 1], ["b", "c"], 5], "pair": [1, 2, 3]}"#.into(),
            422,
            "place.city: expected text; place.cod: unknown; expected one of: city, code; \
             place.x: unknown; expected one of: city, code; place.code: missing; items[1][1]: expected a number; \
             items[2]: expected a list of 2; pair: expected a list of 2",
        ),
        (
            format!("{{{place}, \"items\": [], \"pair\": [300, 1.5], \"payment\": {{\"kind\": \"cash\"}}}}"),
            422,
            "pair[0]: expected a whole number from 0 to 255; pair[1]: expected a whole number from 0 to 255; \
             payment.kind: expected one of: card",
        ),
    ] {
        let request = Request::post("/", body.clone()).with_header("content-type", "application/json");
        let found = request.json_as::<Deal>();
        let (found_status, message) = match &found {
            Ok(_) => (200, String::new()),
            Err(error) => (error.status().as_u16(), error.message().unwrap_or_default().to_owned()),
        };
        assert_eq!(found_status, status, "{body}: {found:?}");
        let sorted = |text: &str| {
            let mut parts: Vec<String> = text.split("; ").map(str::to_owned).collect();
            parts.sort_unstable();
            parts
        };
        if status == 422 && expected.starts_with("expected an object") {
            assert!(message.starts_with("expected an object"), "{message}");
        } else {
            assert_eq!(sorted(&message), sorted(expected), "{body}");
        }
    }
}

/// Any JSON is read with the same result as by serde_json.
#[test]
fn values_are_read_as_by_serde_json() {
    for text in ["7", "-7", "300", "1.5", "true", "\"a\"", "null", "[1]", "{\"a\":1}", "18446744073709551615"] {
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read::<Value>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<u8>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<i64>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<Option<f64>>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<Vec<u64>>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<String>(&value, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
    }
}
