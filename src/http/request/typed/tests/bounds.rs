//! The work and the report for inputs with many faults.

use super::*;

thread_local! {
    static VISITED: Cell<usize> = const { Cell::new(0) };
}

/// A number that counts how often a value of its type is read.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Counted(u8);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        VISITED.set(VISITED.get() + 1);
        u8::deserialize(deserializer).map(Counted)
    }
}

/// An even number. For an odd one, such as the stand-in, the type itself returns an error.
#[derive(Deserialize, Debug)]
#[serde(try_from = "Counted")]
struct Even(#[expect(dead_code, reason = "only read")] u8);

impl TryFrom<Counted> for Even {
    type Error = String;

    fn try_from(number: Counted) -> Result<Even, String> {
        if number.0.is_multiple_of(2) { Ok(Even(number.0)) } else { Err("expected an even number".repeat(100)) }
    }
}

#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only read")]
struct Known {
    a: Counted,
}

#[derive(Deserialize, Debug)]
#[expect(dead_code, reason = "only read")]
struct Lists<T> {
    list: Vec<T>,
    a: Counted,
}

/// How much a reading visits and how much it reports does not grow with the number of faults.
#[test]
fn faults_are_bounded() {
    type Found = Result<usize, Error>;
    fn json<T: DeserializeOwned>(body: &str) -> Found {
        let request = Request::post("/", body.to_owned()).with_header("content-type", "application/json");
        request.json_as::<T>().map(|_| 0)
    }
    fn query<T: DeserializeOwned>(text: &str) -> Found {
        Request::get(&format!("/?{text}")).query_as::<T>().map(|_| 0)
    }
    fn form<T: DeserializeOwned>(body: &str) -> Found {
        let request = Request::post("/", body.to_owned());
        request.with_header("content-type", "application/x-www-form-urlencoded").form_as::<T>().map(|_| 0)
    }
    type Map<T> = BTreeMap<String, T>;
    let list = |value: &str, n: usize| format!("{{\"list\":[{}],\"a\":1}}", vec![value; n].join(","));
    let map = |value: &str, n: usize| {
        let fields: Vec<String> = (0..n).map(|i| format!("\"{i}\":{value}")).collect();
        format!("{{\"a\":{value},{}}}", fields.join(",")).replacen(value, "1", 1)
    };
    let nested = |n: usize| format!("{{\"{}\":{{\"list\":[{}]}}}}", "n".repeat(50_000), vec!["7"; n].join(","));
    let pairs =
        |name: &str, n: usize| (0..n).map(|i| format!("&{name}{i}=x")).fold("a=1".to_owned(), |all, pair| all + &pair);
    let same = |n: usize| "&list=x".repeat(n) + "&a=1";
    let of_one = |n: usize| n.min(1);
    let of_all = |n: usize| n;
    type Case<'a> = (&'a str, Box<dyn Fn(usize) -> Found + 'a>, &'a dyn Fn(usize) -> usize);
    let cases: Vec<Case<'_>> = vec![
        ("a list of numbers", Box::new(|n| json::<Lists<Counted>>(&list("\"x\"", n))), &of_all),
        ("a list of texts", Box::new(|n| json::<Lists<String>>(&list("7", n))), &of_all),
        ("a list of lists", Box::new(|n| json::<Lists<Vec<Counted>>>(&list("[1,[]]", n))), &of_all),
        ("a list of pairs", Box::new(|n| json::<Lists<(Counted, Counted)>>(&list("[1,2,3]", n))), &of_all),
        ("a list of enums", Box::new(|n| json::<Lists<Order>>(&list("\"best\"", n))), &of_all),
        ("a list of no enums", Box::new(|n| json::<Lists<Order>>(&list("7", n))), &of_all),
        (
            "a list of tagged enums",
            Box::new(|n| json::<Lists<Payment>>(&list("{\"kind\":\"card\",\"number\":-1}", n))),
            &of_all,
        ),
        ("a list of checked values", Box::new(|n| json::<Lists<Even>>(&list("3", n))), &of_all),
        ("missing fields", Box::new(|n| json::<Lists<Known>>(&list("{}", n))), &of_all),
        ("unknown fields in a list", Box::new(|n| json::<Lists<Known>>(&list("{\"a\":1,\"b\":2}", n))), &of_all),
        ("unknown fields", Box::new(|n| json::<Known>(&map("2", n))), &of_all),
        ("a map of numbers", Box::new(|n| json::<Map<Counted>>(&map("\"x\"", n))), &of_all),
        (
            "a map of checked values",
            Box::new(|n| json::<Map<Map<Even>>>(&map("{\"b\":3}", n).replacen('1', "{}", 1))),
            &of_all,
        ),
        (
            "a map of names",
            Box::new(|n| {
                json::<BTreeMap<i8, i8>>(
                    &map("1", n).replacen("\"a\":1,", "", 1).replace("{\"", "{\"x").replace(",\"", ",\"x"),
                )
            }),
            &of_all,
        ),
        ("a long name", Box::new(|n| json::<Map<Map<Vec<String>>>>(&nested(n))), &of_all),
        ("duplicate names", Box::new(|n| json::<Known>(&format!("{{{}\"a\":1}}", "\"a\":1,".repeat(n)))), &of_one),
        ("query: a list of numbers", Box::new(|n| query::<Lists<Counted>>(&same(n))), &of_one),
        ("query: unknown fields", Box::new(|n| query::<Known>(&pairs("b", n))), &of_all),
        ("query: a map of numbers", Box::new(|n| query::<Map<Counted>>(&pairs("b", n))), &of_all),
        ("form: a list of numbers", Box::new(|n| form::<Lists<Counted>>(&same(n))), &of_one),
        ("form: a list of checked values", Box::new(|n| form::<Lists<Even>>(&same(n).replace('x', "3"))), &of_one),
        ("form: unknown fields", Box::new(|n| form::<Known>(&pairs("b", n))), &of_all),
        ("form: a map of numbers", Box::new(|n| form::<Map<Counted>>(&pairs("b", n))), &of_all),
        (
            "form: a map of checked values",
            Box::new(|n| form::<Map<Even>>(&pairs("b", n).replace('x', "3").replacen('1', "2", 1))),
            &of_all,
        ),
        ("form: long names", Box::new(|n| form::<Map<Counted>>(&pairs(&"b".repeat(500), n))), &of_all),
        ("form: duplicate names", Box::new(|n| form::<Known>(&"a=1&".repeat(n + 1))), &of_one),
    ];
    for (case, read, faults) in &cases {
        for n in [1, 19, 20, 21, 9_990] {
            VISITED.set(0);
            let error = read(n).unwrap_err();
            let found = error.field_errors();
            assert_eq!(found.len(), faults(n).min(MAX_FAULTS + 1), "{case}, {n}: {error}");
            assert_eq!(found.last().unwrap().message() == "and more", faults(n) > MAX_FAULTS, "{case}, {n}: {error}");
            let length = error.message().unwrap().len();
            assert!(length < 10_000, "{case}, {n}: a message of {length} bytes");
            let visited = VISITED.get();
            assert!(visited <= 3 * MAX_FAULTS * (n + 2), "{case}, {n}: {visited} values were read");
        }
    }
}

/// An object without one of its fields is replaced by a stand-in and read again. At any depth, this does not make
/// reading longer than the bound.
#[test]
fn faults_are_bounded_at_any_depth() {
    #[derive(Deserialize, Debug)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    #[expect(dead_code, reason = "only read")]
    enum Tree {
        Leaf { size: Counted },
        Branch { below: Vec<Tree> },
    }
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct Chain {
        even: Even,
        below: Option<Box<Chain>>,
    }
    let tree = (0..30).fold(r#"{"kind":7}"#.to_owned(), |below, _| {
        format!(r#"{{"kind":"branch","below":[{below},{{"kind":"leaf","size":"x"}}]}}"#)
    });
    let chain = (0..100).fold("null".to_owned(), |below, _| format!(r#"{{"even":3,"below":{below}}}"#));
    let post = |body: String| Request::post("/", body).with_header("content-type", "application/json");
    VISITED.set(0);
    assert!(post(tree).json_as::<Vec<Tree>>().unwrap_err().field_errors().len() <= MAX_FAULTS + 1);
    assert!(post(chain).json_as::<Chain>().unwrap_err().field_errors().len() <= MAX_FAULTS + 1);
    assert!(VISITED.get() < 5 * MAX_FAULTS * 130, "{} values were read", VISITED.get());
}

/// They have the bound of those that the library finds.
#[test]
fn field_errors_that_a_handler_adds_are_bounded() {
    let add = |error: Error, i: usize| error.with_field_error(format!("items[{i}]"), "is wrong");
    let error = (0..10_000).fold(Error::new(422, ""), add);
    assert_eq!((error.field_errors().len(), error.field_errors()[20].message()), (21, "and more"));
    assert!(error.message().unwrap().ends_with("items[19]: is wrong; and more"));
    assert_eq!((0..30).fold(Error::new(422, "no"), add).message(), Some("no"));
}

/// A message repeats little of what a client has sent, and of a body with many values only the first fault is found,
/// because the values would take a hundred times its space.
#[test]
fn long_json_has_short_errors() {
    #[derive(Deserialize, Debug)]
    #[expect(dead_code, reason = "only read")]
    struct Note {
        title: String,
        stars: u8,
    }
    let long = "x".repeat(3 << 20);
    let objects = format!("[{}{{}}]", "{\"a\":0},".repeat(500_000));
    for (body, of_json_as, status) in [
        (format!("\"{long}\""), "expected an object", 422),
        (
            format!("{{\"title\": 1, \"stars\": \"{long}\"}}"),
            "title: expected text; stars: expected a whole number from 0 to 255",
            422,
        ),
        (format!("{{\"{long}\": 1"), "EOF while parsing an object at line 1 column 3145734", 400),
        (objects.clone(), "not as expected at line 1 column 1", 422),
        (objects + "]", "trailing characters at line 1 column 4000005", 400),
    ] {
        let request = Request::post("/", body.clone()).with_header("content-type", "application/json");
        let (all, first) = (request.json_as::<Note>().unwrap_err(), request.json::<Note>().unwrap_err());
        assert_eq!((all.status().as_u16(), all.message()), (status, Some(of_json_as)), "{}", &body[..20]);
        let message = first.message().unwrap_or_default();
        assert!(first.status() == 400 && message.len() < 300 && message.contains(" at line 1 column "), "{message}");
    }
}
