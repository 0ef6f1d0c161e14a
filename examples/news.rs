//! A page that shows what anybody says, at once: server-sent events. Thousands may listen; none of them holds a worker.
//! `cargo run --example news`, then open http://127.0.0.1:8000/ in two windows.

use modest::live::Broadcast;
use modest::{Http, Request, Response, Result, Routes, TcpServer};

const PAGE: &str = r##"<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>News</title>
<form><input name="text" autofocus required> <button>Say</button></form>
<ul id="news"></ul>
<script>
const form = document.querySelector("form"), list = document.querySelector("#news");
new EventSource("/events").onmessage = event => list.prepend(Object.assign(document.createElement("li"), { textContent: event.data }));
form.onsubmit = event => { event.preventDefault(); fetch("/events", { method: "POST", body: form.text.value }); form.reset(); };
</script>
"##;

struct News(Broadcast);

impl News {
    fn listen(&self, request: &Request) -> Result<Response> {
        Ok(Response::events(self.0.listen(request)?)) // 503 if too many listen
    }

    fn say(&self, request: &Request) -> Result<Response> {
        self.0.send(request.text()?);
        Ok(Response::no_content())
    }
}

fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let news = Routes::new()
        .get("/", |_, _| Ok(Response::html(PAGE)))
        .get("/events", News::listen)
        .post("/events", News::say)
        .serve(News(Broadcast::new().history(100))); // who lost the connection gets what was missed
    let server = TcpServer::bind(address, Http::new(news).body_limit(1000))?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
