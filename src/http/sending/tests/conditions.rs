//! Preconditions and ranges: what is sent of a response with validators.

use super::*;

type Make = fn() -> Response;

/// Returns a response with validators, with each kind of body.
fn validated() -> Vec<(&'static str, Make)> {
    fn with(response: Response) -> Response {
        let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
        response.with_content_type("text/plain").with_etag(ETag::strong("a").unwrap()).with_last_modified(then)
    }
    vec![
        ("static", || with(Response::text(BODY))),
        ("bytes", || with(Response::bytes(BODY))),
        ("shared", || with(Response::shared(Arc::new(BODY)))),
        ("a file", || with(file_of(BODY.as_bytes()))),
        ("prepared", || {
            let then = UNIX_EPOCH + Duration::from_secs(784_111_777);
            let fields = Fields::new().with_header("content-type", "text/plain").with_etag(ETag::strong("a").unwrap());
            Response::shared(Arc::new(BODY)).with_fields(Arc::new(fields.with_last_modified(then)))
        }),
    ]
}

#[test]
fn conditions_and_ranges_together() {
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    type Row =
        (&'static str, &'static str, &'static [(&'static str, &'static str)], u16, Option<&'static str>, &'static str);
    let rows: &[Row] = &[
        ("14.2 nothing asked", "GET", &[], 200, None, BODY),
        ("14.2 one", "GET", &[("range", "bytes=2-4")], 206, Some("bytes 2-4/10"), "234"),
        ("14.2 all", "GET", &[("range", "bytes=0-")], 206, Some("bytes 0-9/10"), BODY),
        ("14.2 the last", "GET", &[("range", "bytes=-2")], 206, Some("bytes 8-9/10"), "89"),
        ("14.2 on head", "HEAD", &[("range", "bytes=2-4")], 200, None, ""),
        ("14.2 on head, unsatisfiable", "HEAD", &[("range", "bytes=20-")], 200, None, ""),
        ("14.2 on post", "POST", &[("range", "bytes=2-4")], 200, None, BODY),
        ("14.2 two fields", "GET", &[("range", "bytes=2-4"), ("range", "bytes=6-7")], 200, None, BODY),
        ("14.2 another unit", "GET", &[("range", "lines=2-4")], 200, None, BODY),
        ("14.2 malformed", "GET", &[("range", "bytes=4-2")], 200, None, BODY),
        ("13.1.5 the tag", "GET", &[("range", "bytes=2-4"), ("if-range", "\"a\"")], 206, Some("bytes 2-4/10"), "234"),
        ("13.1.5 another tag", "GET", &[("range", "bytes=2-4"), ("if-range", "\"b\"")], 200, None, BODY),
        ("13.1.5 another tag, unsatisfiable", "GET", &[("range", "bytes=20-"), ("if-range", "\"b\"")], 200, None, BODY),
        ("13.1.5 the date", "GET", &[("range", "bytes=2-4"), ("if-range", THEN)], 206, Some("bytes 2-4/10"), "234"),
        ("13.1.5 without a range", "GET", &[("if-range", "\"b\"")], 200, None, BODY),
        ("13.2.2 before ranges", "GET", &[("range", "bytes=2-4"), ("if-none-match", "\"a\"")], 304, None, ""),
        ("13.2.2 before bad ranges", "GET", &[("range", "bytes=20-"), ("if-none-match", "\"a\"")], 304, None, ""),
        (
            "13.2.2 a condition that holds, then a range",
            "GET",
            &[("range", "bytes=2-4"), ("if-match", "\"a\"")],
            206,
            Some("bytes 2-4/10"),
            "234",
        ),
        ("13.1.2 the client has it", "GET", &[("if-none-match", "\"a\"")], 304, None, ""),
        ("13.1.2 head", "HEAD", &[("if-none-match", "\"a\"")], 304, None, ""),
        ("13.1.3 the client has it", "GET", &[("if-modified-since", THEN)], 304, None, ""),
        ("13.1.2 on post, done already", "POST", &[("if-none-match", "\"a\"")], 200, None, BODY),
    ];
    for (how, response) in validated() {
        for (row, method, fields, status, content_range, body) in rows {
            let request = fields.iter().fold(of(method), |request, (name, value)| request.with_header(name, value));
            let sent = send(response(), &request);
            assert_eq!((sent.status, sent.text()), (*status, *body), "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("Content-Range"), *content_range, "{row}, {how}: {sent:?}");
            let length = if *method == "HEAD" { 10 } else { body.len() };
            let length = (*status != 304).then(|| length.to_string());
            assert_eq!(sent.field("Content-Length"), length.as_deref(), "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("ETag"), Some("\"a\""), "{row}, {how}: {sent:?}");
            let described = (*status != 304).then_some("text/plain");
            assert_eq!(sent.field("Content-Type"), described, "{row}, {how}: {sent:?}");
            assert_eq!(sent.field("Accept-Ranges"), described.map(|_| "bytes"), "{row}, {how}: {sent:?}");
        }
        for (row, field, status, range) in [
            ("13.1.1", ("if-match", "\"b\""), 412, None),
            ("13.1.4", ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT"), 412, None),
            ("14.4", ("range", "bytes=10-"), 416, Some("bytes */10")),
        ] {
            for method in ["GET", "HEAD"] {
                let kept = response()
                    .with_header("access-control-allow-origin", "*")
                    .with_header("cache-control", "max-age=60");
                let sent = send(kept, &of(method).with_header(field.0, field.1));
                if (method, status) == ("HEAD", 416) {
                    assert_eq!(sent.status, 200, "14.2: HEAD gets no 416");
                    continue;
                }
                assert_eq!((sent.status, sent.field("Content-Range")), (status, range), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("Content-Type"), Some("text/html; charset=utf-8"), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("Access-Control-Allow-Origin"), Some("*"), "{row}, {how}: {sent:?}");
                assert_eq!(sent.field("ETag").or(sent.field("Cache-Control")), None, "{row}, {how}: {sent:?}");
                assert_eq!(sent.body.is_empty(), method == "HEAD", "{row}, {how}: {sent:?}");
            }
        }
    }
}

#[test]
fn ranges_apply_only_to_a_200() {
    let request = get().with_header("range", "bytes=2-4").with_header("if-none-match", "*");
    for status in [201, 203, 404, 500] {
        assert_eq!(send(Response::text(BODY).with_status(status), &request).status, status, "14.2: {status}");
    }
    for (row, response, body) in [
        ("a stream", Response::sized_stream(BODY.as_bytes(), 10), BODY),
        ("refused by the handler", Response::text(BODY).with_header("accept-ranges", "none"), BODY),
        (
            "refused in prepared fields",
            Response::text(BODY).with_fields(Arc::new(Fields::new().with_header("Accept-Ranges", "None"))),
            BODY,
        ),
        ("empty, from the end", Response::new(200), ""),
    ] {
        let request = get().with_header("range", if row.starts_with("empty") { "bytes=-5" } else { "bytes=2-4" });
        let sent = send(response, &request);
        assert_eq!((sent.status, sent.text()), (200, body), "14.2 {row}: {sent:?}");
    }
    let empty = send(Response::new(200), &get().with_header("range", "bytes=0-"));
    assert_eq!(
        (empty.status, empty.field("Content-Range")),
        (416, Some("bytes */0")),
        "14.1.2: a range of an empty body"
    );
}

#[test]
fn many_parts() {
    for (how, response) in validated() {
        let sent = send(response(), &get().with_header("range", "bytes=8-, 0-1, 4-4, 20-30"));
        let boundary = sent.field("Content-Type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
        let part = |range: &str, bytes: &str| {
            format!("\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{bytes}")
        };
        let expected = format!("{}{}{}\r\n--{boundary}--\r\n", part("8-9", "89"), part("0-1", "01"), part("4-4", "4"));
        assert_eq!((sent.status, sent.text()), (206, &expected[..]), "14.6, {how}");
        assert_eq!(sent.field("Content-Length"), Some(&*expected.len().to_string()), "14.6, {how}");
        assert_eq!(sent.field("Content-Range"), None, "15.3.7.2, {how}");
        assert_eq!(sent.length, expected.len() as u64, "{how}");
    }
    let untyped = send(Response::shared(Arc::new(BODY)), &get().with_header("range", "bytes=0-0,2-2"));
    assert!(!untyped.text().contains("Content-Type"), "14.6: parts of a response without a type have no type");
    let joined = send(Response::text(BODY), &get().with_header("range", "bytes=0-4,5-9"));
    assert_eq!(
        (joined.status, joined.field("Content-Range"), joined.text()),
        (206, Some("bytes 0-9/10"), BODY),
        "15.3.7.2"
    );
    let many: String = (0..101).map(|n| format!("{n}-{n},")).collect();
    let whole = send(Response::text(BODY), &get().with_header("range", format!("bytes={many}")));
    assert_eq!((whole.status, whole.text()), (200, BODY), "14.2: more than 100 ranges");
}

#[test]
fn ranges_and_lengths_above_4_gib_are_right() {
    let file = tempfile::NamedTempFile::new().unwrap().into_file();
    file.set_len(5_000_000_000).unwrap();
    file.write_all_at(b"end", 4_999_999_997).unwrap();
    let response = || Response::open_file(Arc::new(file.try_clone().unwrap()), 5_000_000_000);
    let sent = send(response(), &get().with_header("range", "bytes=-3"));
    assert_eq!(sent.field("Content-Range"), Some("bytes 4999999997-4999999999/5000000000"));
    assert_eq!(sent.text(), "end");
    assert_eq!(send(response(), &of("HEAD")).field("Content-Length"), Some("5000000000"));
}

#[test]
fn last_modified_is_never_in_the_future() {
    let later = now() + Duration::from_secs(3600);
    let prepared = Arc::new(Fields::new().with_header("x", "y").with_last_modified(later));
    for (how, response) in [
        ("own", Response::text(BODY).with_last_modified(later)),
        ("by field", Response::text(BODY).with_header("last-modified", date::text(later).unwrap())),
        ("prepared", Response::text(BODY).with_fields(prepared.clone())),
    ] {
        let sent = send(response, &get());
        assert_eq!(sent.field("Last-Modified"), Some(NOW), "8.8.2.1, {how}: {sent:?}");
    }
    // The condition is compared with the real modification time, not with the date that was sent. So the client
    // gets the whole response until that time has come.
    let request = get().with_header("if-modified-since", NOW);
    assert_eq!(send(Response::text(BODY).with_fields(prepared), &request).status, 200);
    for time in [UNIX_EPOCH - Duration::from_secs(1 << 40), UNIX_EPOCH + Duration::from_secs(1 << 40)] {
        assert_eq!(
            send(Response::text(BODY).with_last_modified(time), &get()).field("Last-Modified"),
            None,
            "{time:?}"
        );
    }
    let old = send(Response::text(BODY).with_last_modified(UNIX_EPOCH - Duration::from_millis(1)), &get());
    assert_eq!(old.field("Last-Modified"), Some("Wed, 31 Dec 1969 23:59:59 GMT"));
}

#[test]
fn a_304_has_the_fields_of_a_200() {
    let response = Response::text(BODY)
        .with_etag(ETag::weak("a").unwrap())
        .with_header("cache-control", "no-cache")
        .with_header("content-location", "/x")
        .with_header("expires", NOW)
        .with_header("vary", "accept-encoding")
        .with_header("content-language", "en")
        .with_header("content-encoding", "gzip")
        .with_header("content-security-policy", "default-src 'none'");
    let sent = send(response, &get().with_header("if-none-match", "\"a\""));
    let expected = format!(
        "HTTP/1.1 304 Not Modified\r\nServer: modest\r\nDate: {NOW}\r\nETag: W/\"a\"\r\nCache-Control: no-cache\r\n\
         Content-Location: /x\r\nExpires: {NOW}\r\nVary: accept-encoding\r\nContent-Security-Policy: default-src 'none'\r\n\r\n"
    );
    assert_eq!((sent.head, sent.length), (expected, 0), "15.4.5");
}
