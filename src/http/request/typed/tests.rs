//! Requests parsed into a type, and the faults that are reported.

mod bounds; // many faults

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
fn queries_become_values_or_a_list_of_errors() {
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
                 exact: expected true or false; weight: expected a number; nonzero: expected a whole number from 0 to 255, except 0; \
                 initial: expected one character",
            ),
        ),
        ("text=a&text=b", Err("text: expected one value, not 2")),
        ("text=a&page=1&page=2", Err("page: expected one value, not 2")),
        (
            "text=a&nonzero=0&weight=x",
            Err("weight: expected a number; nonzero: expected a whole number from 0 to 255, except 0"),
        ),
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
fn json_becomes_values_or_a_list_of_errors() {
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
        assert_eq!(
            read::<Value>(&value, Source::Json, false).ok(),
            serde_json::from_value(value.clone()).ok(),
            "{text}"
        );
        assert_eq!(read::<u8>(&value, Source::Json, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(read::<i64>(&value, Source::Json, false).ok(), serde_json::from_value(value.clone()).ok(), "{text}");
        assert_eq!(
            read::<Option<f64>>(&value, Source::Json, false).ok(),
            serde_json::from_value(value.clone()).ok(),
            "{text}"
        );
        assert_eq!(
            read::<Vec<u64>>(&value, Source::Json, false).ok(),
            serde_json::from_value(value.clone()).ok(),
            "{text}"
        );
        assert_eq!(
            read::<String>(&value, Source::Json, false).ok(),
            serde_json::from_value(value.clone()).ok(),
            "{text}"
        );
    }
}

#[derive(Deserialize, Debug)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read")]
enum Either {
    Number(u32),
    List(Vec<u8>),
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
enum Shape {
    Point,
    Circle(u8),
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct Sizes {
    width: u8,
    tall: Option<bool>,
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct Flat {
    name: String,
    #[serde(flatten)]
    sizes: Sizes,
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct FlatText {
    number: u8,
    #[serde(flatten)]
    other: BTreeMap<String, String>,
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct Several {
    either: Either,
    shape: Shape,
    #[serde(alias = "title")]
    name: String,
    nonzero: NonZeroU8,
    names: BTreeMap<u8, u8>,
    payments: Vec<Payment>,
}

/// Messages are for clients: they contain no types of Rust, and each names its field.
#[test]
fn messages_are_plain() {
    fn json<T: DeserializeOwned>(body: &str) -> String {
        let request = Request::post("/", body.to_owned()).with_header("content-type", "application/json");
        request.json_as::<T>().map_or_else(|error| error.to_string(), |_| "read".into())
    }
    fn query<T: DeserializeOwned>(query: &str) -> String {
        Request::get(&format!("/?{query}")).query_as::<T>().map_or_else(|error| error.to_string(), |_| "read".into())
    }
    let unfit = format!("500 Internal Server Error: {UNFIT}");
    let unfit = unfit.as_str();
    for (found, expected) in [
        (
            json::<Several>(
                r#"{"either":{},"shape":"Circle","name":7,"nonzero":0,"names":{"1":1,"a":2},
                    "payments":[{"kind":"card","number":"x"},{"kind":"card","number":1},{"kind":7},{}]}"#,
            ),
            "422 Unprocessable Entity: either: has none of the expected forms; shape: expected an object; \
             name: expected text; nonzero: expected a whole number from 0 to 255, except 0; \
             names.a: expected a whole number from 0 to 255 as its name; \
             payments[0]: expected a whole number, 0 or more, not \"x\"; payments[2].kind: expected text; \
             payments[3].kind: missing",
        ),
        (json::<Shape>(r#"{"Point":1,"Circle":2}"#), "422 Unprocessable Entity: expected an object with one field"),
        (json::<Shape>(r#"{"Nothing":1}"#), "422 Unprocessable Entity: expected one of: Point, Circle"),
        (json::<Sizes>(r#"{"width":1,"width":2}"#), "422 Unprocessable Entity: width: given more than once"),
        (json::<Vec<Sizes>>(r#"[{"width":1,"width":2}]"#), "422 Unprocessable Entity: [0].width: given more than once"),
        (
            json::<BTreeMap<String, Vec<Sizes>>>(
                "{\"\\u0061\":\n[{\"width\":1}],\n\"b]\\\"\":[{\"width\":1},{\"width\":1, \"widt\\u0068\" :2}]}",
            ),
            "422 Unprocessable Entity: b]\"[1].width: given more than once",
        ),
        (
            json::<Vec<Flat>>(r#"[{"name":"a","width":1},{"name":"a","width":1,"width":2},{"name":"a","width":1}]"#),
            "422 Unprocessable Entity: [1].width: given more than once",
        ),
        (json::<Flat>(r#"{"name":7,"width":1}"#), "422 Unprocessable Entity: name: expected text"),
        (
            json::<Flat>(r#"{"name":"a","width":300}"#),
            "422 Unprocessable Entity: expected a whole number from 0 to 255, not 300",
        ),
        (query::<FlatText>("number=1&b=2&c=d"), "read"),
        (query::<FlatText>("number=x&b=2&c=d"), "400 Bad Request: number: expected a whole number from 0 to 255"),
        (query::<Flat>("name=a"), "400 Bad Request: width: missing"),
        (query::<Flat>("name=a&width=2"), unfit),
        (query::<Payment>("kind=card&number=2"), unfit),
        (query::<Payment>("kind=cash&number=2"), "400 Bad Request: kind: expected one of: card"),
        (query::<BTreeMap<u8, bool>>("1=on&2=no"), "read"),
        (
            query::<BTreeMap<u8, bool>>("1=%zz&%ff=on"),
            "400 Bad Request: 1: expected true or false; \u{fffd}: expected a whole number from 0 to 255 as its name",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

/// A list is empty if the query or the form has no value for it. Nothing else becomes a list.
#[test]
fn an_absent_list_is_empty() {
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct All {
        tags: Vec<String>,
        ids: std::collections::BTreeSet<u8>,
        #[serde(default = "one")]
        numbers: Vec<u8>,
    }
    fn one() -> Vec<u8> {
        vec![1]
    }
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct Others {
        pair: (u8, Vec<u8>),
        array: [u8; 1],
        map: BTreeMap<String, Vec<u8>>,
        all: Sizes,
        any: Value,
    }
    for query in ["/", "/?other=1"] {
        let form = Request::post("/", "").with_header("content-type", "application/x-www-form-urlencoded");
        for found in [Request::get(query).query_as::<All>(), form.form_as::<All>()] {
            assert_eq!(format!("{:?}", found.unwrap()), "All { tags: [], ids: {}, numbers: [1] }");
        }
    }
    let error = Request::get("/?tags=a&ids=x").query_as::<All>().unwrap_err();
    assert_eq!(error.message(), Some("ids: expected a whole number from 0 to 255"));
    let error = Request::get("/").query_as::<Others>().unwrap_err();
    assert_eq!(error.message(), Some("pair: missing; array: missing; map: missing; all: missing; any: missing"));
    let json = Request::post("/", "{}").with_header("content-type", "application/json");
    assert_eq!(json.json_as::<All>().unwrap_err().message(), Some("tags: missing; ids: missing"));
}

/// One parameter is reported like all of them.
#[test]
fn a_single_parameter_has_the_same_messages() {
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct Wait {
        wait: u32,
    }
    for query in ["/", "/?wait=x", "/?wait=-1"] {
        let request = Request::get(query);
        let (one, all) = (request.parse_param::<u32>("wait").unwrap_err(), request.query_as::<Wait>().unwrap_err());
        assert_eq!((one.message(), one.field_errors()), (all.message(), all.field_errors()), "{query}");
    }
    let error = Request::get("/?ip=1.2").parse_param::<std::net::IpAddr>("ip").unwrap_err();
    assert_eq!(error.message(), Some("ip: invalid IP address syntax"));
}
