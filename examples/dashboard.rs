//! A page that shows readings, for example of a thermometer, as they arrive, by server-sent events. Thousands of clients
//! can listen; none of them holds a worker. `cargo run --example dashboard 127.0.0.1:8000 readings.txt`, then open
//! http://127.0.0.1:8000/ and run `curl -d 'kitchen 21.5' http://127.0.0.1:8000/readings`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::sync::{Mutex, PoisonError};

use modest::live::{Broadcast, ServerEvent};
use modest::{Error, Http, Request, Response, Result, Routes, TcpServer};

const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Dashboard</title>
<style>body { font: 1rem/1.5 system-ui; margin: 2rem } td { padding-right: 2rem } td + td { text-align: right } ol { list-style: none; padding: 0 }</style>
<p><output>connecting ...</output>
<table></table>
<ol></ol>
<script>
const state = document.querySelector("output"), table = document.querySelector("table"), log = document.querySelector("ol");
let last = "";
function listen() {
  // Reconnects by itself and sends the id of the last event it received, but gives up after a status other than 200.
  const events = new EventSource("/readings" + (last && "?last-event-id=" + last));
  events.onopen = () => state.value = "connected";
  events.onerror = () => {
    state.value = "connecting ...";
    if (events.readyState == EventSource.CLOSED) setTimeout(listen, 1000);
  };
  events.onmessage = event => {
    last = event.lastEventId;
    const [name, value] = event.data.split(" ");
    const row = [...table.rows].find(row => row.cells[0].textContent == name) ?? table.insertRow();
    [name, value].forEach((text, at) => (row.cells[at] ?? row.insertCell()).textContent = text);
    log.append(Object.assign(document.createElement("li"), { textContent: last + ": " + event.data }));
  };
}
listen(); // a browser opens up to six such connections to one host: further tabs wait
</script>
"##;

const KEPT: usize = 1000; // readings, for clients that reconnect

struct Dashboard {
    readings: Broadcast,
    file: Mutex<Kept>,
}

/// A file with one reading per line. The line number is the id of the event, even after a restart.
struct Kept {
    file: File,
    count: usize,
}

impl Dashboard {
    fn open(path: &str) -> std::io::Result<Dashboard> {
        let readings = Broadcast::new().history(KEPT);
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut count = 0;
        for line in BufReader::new(&file).lines() {
            count += 1;
            readings.send(ServerEvent::new(line?).with_id(count.to_string()));
        }
        Ok(Dashboard { readings, file: Mutex::new(Kept { file, count }) })
    }

    fn listen(&self, request: &Request) -> Result<Response> {
        Ok(Response::events(self.readings.listen(request)?)) // 503 if too many clients listen
    }

    fn tell(&self, request: &Request) -> Result<Response> {
        let reading = request.text()?;
        if reading.split(' ').count() != 2 || reading.contains(['\r', '\n']) {
            return Err(Error::new(422, "expected a name, a space and a value"));
        }
        let mut kept = self.file.lock().unwrap_or_else(PoisonError::into_inner); // held until sent: keeps the order
        kept.file.write_all(format!("{reading}\n").as_bytes())?;
        kept.count += 1;
        self.readings.send(ServerEvent::new(reading).with_id(kept.count.to_string()));
        Ok(Response::no_content())
    }
}

fn main() -> std::io::Result<()> {
    let _log = modest::log_to_stderr(); // logs each request and each error
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let dashboard = Routes::new()
        .get("/", |_, _| Ok(Response::html(PAGE)))
        .get("/readings", Dashboard::listen)
        .post("/readings", Dashboard::tell)
        .with_state(Dashboard::open(&words.next().unwrap_or("readings.txt".into()))?);
    let server = TcpServer::bind(address, Http::new(dashboard).body_limit(1000))?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.handle().shutdown_on_signals()?; // sends clients `retry: 1000`: reconnect after one second
    server.serve_forever()
}
