//! Rules that need more than one row: HEAD has the fields of GET, and every edit shows.

use std::fs;

use crate::reader::{Answer, Asked};
use crate::row::{Row, Then, Wire, get};
use crate::run::Client;
use crate::sites::{Site, Sites};

/// RFC 9110, section 9.3.2: HEAD has the same fields for each row with a GET.
#[test]
fn head_and_get_have_the_same_fields() {
    let sites = Sites::new();
    let rows = crate::all_rows();
    let mut compared = 0;
    for row in rows.iter().filter(|row| is_plain_get(row)) {
        let get = &row.steps[0].bytes;
        let head = [b"HEAD", &get[3..]].concat();
        assert_eq!(told(&sites, row, &head, true), told(&sites, row, get, false), "{}", row.name);
        compared += 1;
    }
    assert!(compared > 150, "only {compared}");
}

/// Whether HEAD can be compared with this GET. Ranges are only for GET (section 14.2), a connection may not end, and a
/// request line of the maximum length has no room for HEAD.
fn is_plain_get(row: &Row) -> bool {
    let [step] = &row.steps[..] else { return false };
    let text = String::from_utf8_lossy(&step.bytes);
    let one = step.wants.len() == 1 && !step.ends && row.then() == Then::Kept;
    one && row.site != Site::Tight && text.starts_with("GET ") && !text.contains("Range:")
}

/// Status and fields, except the date and fields that depend on it.
fn told(sites: &Sites, row: &Row, wire: &[u8], head: bool) -> (u16, Vec<(String, String)>) {
    let mut client = Client::new(sites, row.site);
    client.write(wire);
    let old = wire.windows(9).any(|bytes| bytes == b" HTTP/1.0");
    let asked = Asked { head, old, own_date: true };
    let Answer { status, mut fields, .. } = client.reader.answer(asked).expect(row.name);
    fields.retain(|(name, _)| !["Date", "Last-Modified"].contains(&name.as_str()));
    (status, fields)
}

/// RFC 9110, section 8.8.1: a validator changes with the content. A file is edited many times per second without a
/// change of its length, and each version is requested with the validators of the previous one.
#[test]
fn every_edit_shows() {
    let sites = Sites::new();
    edits(&sites, Site::Files, "/probe.txt");
    edits(&sites, Site::App, &format!("/file?{}", sites.path().join("probe.txt").display()));
}

fn edits(sites: &Sites, site: Site, target: &str) {
    let mut client = Client::new(sites, site);
    let mut ask = |conditions: &[String]| {
        client.write(&conditions.iter().fold(get(target), |ask, line| ask.with(line)).bytes());
        client.reader.answer(Asked::default()).unwrap()
    };
    let mut conditions = Vec::new();
    for edit in 0..40 {
        let text = format!("edit {edit:02}");
        fs::write(sites.path().join("probe.txt"), &text).unwrap();
        let mut answer = ask(&conditions);
        assert_eq!((answer.status, String::from_utf8_lossy(&answer.body)), (200, text.as_str().into()));
        while answer.field("etag").is_none() {
            answer = ask(&[]); // too new to be distinguished from the next edit
        }
        let line = |(name, field): (&str, &str)| answer.field(field).map(|value| format!("{name}: {value}"));
        conditions =
            [("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")].into_iter().filter_map(line).collect();
    }
}
