//! Dates: RFC 9110, sections 5.6.7 (their three forms), 6.6.1 and 8.8.2. `reader` checks that each response has a valid
//! Date.

use std::time::{Duration, SystemTime};

use crate::row::{Row, get, is, row};
use crate::sites::Site::{App, Files};

pub fn rows() -> Vec<Row> {
    let since = |date: &str| get("/dated").with(format!("If-Modified-Since: {date}"));
    let unless = |date: &str| get("/dated").with(format!("If-Unmodified-Since: {date}"));
    let (old, whole) = (|| is(304), || is(200).length(10));
    let ahead = |days: u64| rfc850(SystemTime::now() + Duration::from_secs(days * 86_400));
    vec![
        row("9110 5.6.7 IMF-fixdate", App, since("Sun, 06 Nov 1994 08:49:37 GMT"), old()),
        row("9110 5.6.7 RFC 850", App, since("Sunday, 06-Nov-94 08:49:37 GMT"), old()),
        row("9110 5.6.7 asctime", App, since("Sun Nov  6 08:49:37 1994"), old()),
        row("9110 5.6.7 asctime with a zero for the space", App, since("Sun Nov 06 08:49:37 1994"), old()),
        row("9110 5.6.7 RFC 850, a second earlier", App, since("Sunday, 06-Nov-94 08:49:36 GMT"), whole()),
        row("9110 5.6.7 asctime, a second earlier", App, since("Sun Nov  6 08:49:36 1994"), whole()),
        row("9110 5.6.7 two digits of a year to come", App, since(&ahead(40 * 365)), old()),
        row("9110 5.6.7 two digits more than 50 years ahead are past", App, unless(&too_far(60 * 365)), is(412)),
        row("9110 5.6.7 days more than 50 years ahead are past", App, unless(&too_far(50 * 365 + 15)), is(412)),
        row("9110 5.6.7 a leap second", App, since("Sat, 31 Dec 2016 23:59:60 GMT"), old()),
        row("9110 5.6.7 another zone", App, since("Sun, 06 Nov 1994 08:49:37 CET"), whole()),
        row("9110 5.6.7 a zone in digits", App, since("Sun, 06 Nov 1994 08:49:37 +0000"), whole()),
        row("9110 5.6.7 no zone", App, since("Sun, 06 Nov 1994 08:49:37"), whole()),
        row("9110 5.6.7 a date of ISO 8601", App, since("1994-11-06T08:49:37Z"), whole()),
        row("9110 5.6.7 seconds since 1970", App, since("784111777"), whole()),
        row("9110 5.6.7 a day that does not exist", App, since("Thu, 31 Nov 1994 08:49:37 GMT"), whole()),
        row("9110 5.6.7 an hour that does not exist", App, since("Sun, 06 Nov 1994 24:49:37 GMT"), whole()),
        row("9110 5.6.7 a month that does not exist", App, since("Sun, 06 Nor 1994 08:49:37 GMT"), whole()),
        row("9110 5.6.7 names are case-sensitive", App, since("sun, 06 nov 1994 08:49:37 gmt"), whole()),
        row("9110 5.6.7 one digit for a day", App, since("Sun, 6 Nov 1994 08:49:37 GMT"), whole()),
        row("9110 5.6.7 more after a date", App, since("Sun, 06 Nov 1994 08:49:37 GMT; length=10"), whole()),
        row("9110 5.6.7 an empty date", App, since(""), whole()),
        row("9110 5.6.7 a date before 1970", App, since("Sun, 06 Nov 1904 08:49:37 GMT"), whole()),
        row("9110 5.6.7 the last of all dates", App, since("Fri, 31 Dec 9999 23:59:59 GMT"), old()),
        row(
            "9110 8.8.2 Last-Modified of a handler is sent unchanged",
            App,
            get("/dated"),
            is(200).has("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        row(
            "9110 8.8.2 of a file",
            Files,
            get("/ten.txt"),
            is(200).has("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ),
        row("9110 8.8.2.1 never in the future", App, get("/future"), is(200)),
        row("9110 8.8.2.1 of a file, neither", Files, get("/future.txt"), is(200).body("future")),
        row(
            "9110 8.8.2 of a file from before 1970",
            Files,
            get("/old.txt"),
            is(200).has("Last-Modified", "Wed, 31 Dec 1969 00:00:00 GMT"),
        ),
        row(
            "9110 13.1.3 a file from before 1970",
            Files,
            get("/old.txt").with("If-Modified-Since: Wed, 31 Dec 1969 00:00:00 GMT"),
            old(),
        ),
        row(
            "9110 13.1.3 a file from before 1970, and a second earlier",
            Files,
            get("/old.txt").with("If-Modified-Since: Tue, 30 Dec 1969 23:59:59 GMT"),
            is(200),
        ),
    ]
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850(time: SystemTime) -> String {
    let date = httpdate::fmt_http_date(time);
    let long = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    let day = long.iter().find(|day| day[..3] == date[..3]).expect("a day of the week");
    format!("{day}, {}-{}-{} {}", &date[5..7], &date[8..11], &date[14..16], &date[17..])
}

/// This many days ahead, more than 50 years. The two digits then mean a hundred years before.
fn too_far(days: u64) -> String {
    let century = Duration::from_secs(36_525 * 86_400);
    let past = SystemTime::now() + Duration::from_secs(days * 86_400) - century;
    rfc850(past)
}
