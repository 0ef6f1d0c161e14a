//! Sends a row in all ways, on a new and on a used connection, and checks the responses. Called by the test of each
//! topic.
//!
//! The ways: whole; whole with another request behind it; byte by byte; split in two at every byte (a long one: around
//! each line end and at places in between). After a row that keeps its connection open a probe is sent, so that an
//! extra byte shows.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use crate::reader::{Answer, Asked, Reader};
use crate::row::{Body, Row, Step, Then, Want, Wire, ask, is};
use crate::sites::{Site, Sites};
use crate::transport;

/// No step of these tests takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// After this many failures the remaining rows are skipped, because a row that hangs takes a long time.
const MOST_FAILED: usize = 10;

/// Longer rows are split only at some places.
const EVERY_CUT: usize = 250;

#[derive(Clone, Copy, Debug)]
enum Road {
    Whole,
    /// With another request behind it, in one write.
    Followed,
    /// In pieces of this many bytes.
    Pieces(usize),
    /// In two pieces, split before this byte.
    Cut(usize),
}

/// Runs these rows, and reports all failures.
pub fn run(rows: Vec<Row>) {
    let sites = Sites::new();
    let failed: Vec<String> = rows.iter().filter_map(|row| all_roads(row, &sites).err()).take(MOST_FAILED).collect();
    assert!(
        failed.is_empty(),
        "{} of {} rows fail (after {MOST_FAILED} no more are run)\n\n{}\n",
        failed.len(),
        rows.len(),
        failed.join("\n\n")
    );
}

fn all_roads(row: &Row, sites: &Sites) -> Result<(), String> {
    let roads = roads(row);
    for road in &roads {
        let mut client = Client::new(sites, row.site);
        travel(row, *road, &mut client).map_err(|why| told(row, *road, "a fresh connection", &why))?;
    }
    if row.site == Site::Once {
        return Ok(()); // its connection is closed each time
    }
    let mut kept = None;
    for road in &roads {
        let mut client = match kept.take() {
            Some(client) => client,
            None => {
                let mut client = Client::new(sites, row.site);
                client.probe().map_err(|why| told(row, *road, "before the row", &why))?;
                client
            }
        };
        travel(row, *road, &mut client).map_err(|why| told(row, *road, "a kept connection", &why))?;
        kept = (row.then() == Then::Kept).then_some(client);
    }
    Ok(())
}

fn told(row: &Row, road: Road, connection: &str, why: &str) -> String {
    let sent: Vec<String> = row.steps.iter().map(|step| shown(&step.bytes)).collect();
    format!("{}\n  sent {road:?} on {connection}: {}\n  {why}", row.name, sent.join(" … "))
}

fn shown(bytes: &[u8]) -> String {
    let all = if bytes.len() > 400 { format!(" … {} bytes", bytes.len()) } else { String::new() };
    format!("\"{}\"{all}", bytes[..bytes.len().min(400)].escape_ascii())
}

fn roads(row: &Row) -> Vec<Road> {
    if row.whole_only {
        return vec![Road::Whole];
    }
    let plain = transport::is_plain();
    let longest = row.steps.iter().map(|step| &step.bytes).max_by_key(|bytes| bytes.len());
    let bytes = longest.map_or(&b""[..], |bytes| bytes);
    let mut roads = vec![Road::Whole, Road::Pieces(if bytes.len() <= 1000 { 1 } else { bytes.len() / 300 })];
    if row.steps.last().is_some_and(|step| !step.ends && !step.wants.is_empty()) {
        roads.push(Road::Followed);
    }
    // Splits test the parser, which is the same in each transport. Inside TLS a connection for each of them would
    // take too long.
    roads.extend(cuts(bytes).into_iter().filter(|_| plain).map(Road::Cut));
    roads
}

/// The places at which a row is split.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= EVERY_CUT {
        return (1..bytes.len()).collect();
    }
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).take(20);
    let mut cuts: Vec<usize> = ends.flat_map(|at| [at - 1, at, at + 1]).collect();
    cuts.extend((1..16).map(|part| bytes.len() * part / 16));
    cuts.retain(|cut| (1..bytes.len()).contains(cut));
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

fn travel(row: &Row, road: Road, client: &mut Client) -> Result<(), String> {
    for (index, step) in row.steps.iter().enumerate() {
        let last = index + 1 == row.steps.len();
        client.send(step, road, last);
        for want in &step.wants {
            client.expect(want)?;
        }
    }
    let followed = matches!(road, Road::Followed);
    match row.then() {
        Then::Kept if followed => client.probed(),
        Then::Kept => client.probe(),
        Then::Closed | Then::Ended => client.reader.end(),
        Then::Torn => Ok(()),
    }
}

pub struct Client {
    stream: TcpStream,
    pub reader: Reader,
}

/// A valid request that each site serves.
fn probe() -> Vec<u8> {
    ask("GET", "/probe.txt").bytes()
}

impl Client {
    pub fn new(sites: &Sites, site: Site) -> Client {
        let stream = transport::connect(sites.address(site)).expect("a connection to the server");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.set_nodelay(true); // a Unix socket does not have this option
        let reader = Reader::new(stream.try_clone().unwrap());
        Client { stream, reader }
    }

    fn send(&mut self, step: &Step, road: Road, last: bool) {
        let bytes = &step.bytes;
        match road {
            Road::Followed if last => self.write(&[&bytes[..], &probe()].concat()),
            Road::Pieces(length) => bytes.chunks(length).for_each(|piece| self.write(piece)),
            Road::Cut(at) if at < bytes.len() => {
                self.write(&bytes[..at]);
                thread::yield_now();
                self.write(&bytes[at..]);
            }
            _ => self.write(bytes),
        }
        if step.ends {
            self.stream.shutdown(Shutdown::Write).ok();
        }
    }

    /// Errors are ignored: a server that has rejected the request may have closed the connection, and its response is
    /// read.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }

    fn expect(&mut self, want: &Want) -> Result<(), String> {
        if want.then == Then::Torn {
            let head = self.reader.head()?;
            return if head.status == want.status { self.reader.reset() } else { Err(format!("{head:?}")) };
        }
        let mut answer = self.reader.answer(want.asked)?;
        if want.maybe_continue && answer.status == 100 {
            answer = self.reader.answer(want.asked)?;
        }
        judge(&answer, want).map_err(|why| format!("{why}\n  in {}", told_answer(&answer)))
    }

    fn probe(&mut self) -> Result<(), String> {
        self.write(&probe());
        self.probed()
    }

    fn probed(&mut self) -> Result<(), String> {
        let answer = self.reader.answer(Asked::default()).map_err(|why| format!("the probe behind it: {why}"))?;
        judge(&answer, &is(200).body("probe")).map_err(|why| format!("the probe behind it: {why}"))
    }
}

fn told_answer(answer: &Answer) -> String {
    let fields: Vec<String> = answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{} {} {}", answer.status, fields.join(" | "), shown(&answer.body))
}

fn judge(answer: &Answer, want: &Want) -> Result<(), String> {
    if answer.status != want.status {
        return Err(format!("{} was expected, {} came", want.status, answer.status));
    }
    for (name, wanted) in &want.fields {
        let found: Vec<&str> = answer.all(name).collect();
        if found != *wanted {
            return Err(format!("{name}: {wanted:?} was expected, {found:?} came"));
        }
    }
    if want.framing.is_some_and(|framing| framing != answer.framing) {
        return Err(format!("framed by {:?} was expected, {:?} came", want.framing, answer.framing));
    }
    if answer.status >= 200 && answer.says_close() != (want.then == Then::Closed) {
        return Err(format!("{:?} was expected, and it says {:?}", want.then, answer.field("connection")));
    }
    if want.asked.old && want.then == Then::Kept && answer.field("connection") != Some("keep-alive") {
        return Err("a response to HTTP/1.0 does not state that the connection is kept (RFC 9112, 9.3)".into());
    }
    body(answer, want)
}

fn body(answer: &Answer, want: &Want) -> Result<(), String> {
    let text = String::from_utf8_lossy(&answer.body);
    let right = match &want.body {
        Body::Any => true,
        Body::Is(body) => answer.body == *body,
        Body::Holds(part) => text.contains(part),
        Body::Lacks(part) => !text.contains(part),
        Body::Length(length) => answer.body.len() == *length,
        Body::Parts(parts) => byteranges(answer)? == *parts,
    };
    if right { Ok(()) } else { Err(format!("the body is not {:?}", want.body)) }
}

/// `Content-Range` and bytes of each part (RFC 9110, section 14.6; RFC 2046, section 5.1.1). No part may be empty. The
/// first boundary begins with CRLF as well, as in nginx and Apache: RFC 9110 allows it, and zsync needs it.
fn byteranges(answer: &Answer) -> Result<Vec<(&str, &str)>, String> {
    let media_type = answer.field("content-type").unwrap_or_default();
    let boundary = media_type.strip_prefix("multipart/byteranges; boundary=").ok_or("no boundary")?;
    let text = std::str::from_utf8(&answer.body).map_err(|err| err.to_string())?;
    let (text, _) = text.split_once(&format!("\r\n--{boundary}--")).ok_or("no last boundary")?;
    let text = text.strip_prefix(&format!("\r\n--{boundary}\r\n")).ok_or("no first boundary")?;
    text.split(&format!("\r\n--{boundary}\r\n"))
        .map(|part| {
            let (head, bytes) = part.split_once("\r\n\r\n").ok_or("a part without an empty line")?;
            let range = head.split("\r\n").find_map(|line| line.strip_prefix("Content-Range: "));
            Ok((range.ok_or("a part without a range")?, bytes))
        })
        .collect()
}
