//! A reverse proxy: bodies are streamed in both directions, and WebSockets pass through.
//!
//! `cargo run -p proxy -- 127.0.0.1:8000 127.0.0.1:9000`: what comes to the first address is asked of the second.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use modest::raw::Stream;
use modest::{BodyPlan, Error, Request, RequestHandler, Response, Result, TcpServer, handler_fn};
use ureq::{Agent, SendBody, http, http::HeaderMap};

struct Upstream {
    authority: String,
    agent: Agent,
    patience: Duration,
}

/// Fields of one connection, besides those that `Connection` names (RFC 9110, section 7.6.1); the library drops a response's.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

impl Upstream {
    fn new(authority: String, patience: Duration) -> Upstream {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // they are the client's to follow
            .allow_non_standard_methods(true)
            .user_agent("") // neither is added
            .accept("")
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience));
        Upstream { authority, agent: config.build().into(), patience }
    }

    fn pass(&self, request: &Request) -> Result<Response> {
        let has_body = ["content-length", "transfer-encoding"].iter().any(|name| request.header(name).is_some());
        // A server may ignore any upgrade (RFC 9110, section 7.8). A GET without a body can be sent again if the upstream
        // ignores this one.
        if let Some(protocol) = request.header("upgrade").filter(|name| !name.starts_with("h2c"))
            && *request.method() == "GET"
            && !has_body
            && let Some(response) = self.switch(request, protocol).map_err(|err| refuse(err.into()))?
        {
            return Ok(response);
        }
        let uri = format!("http://{}{}", self.authority, target(request));
        let mut asked = http::Request::builder().method(request.method()).uri(uri);
        asked.headers_mut().ok_or(Error::new(400, "the target is none of http"))?.extend(fields(request));
        let answer = match has_body {
            true => self.agent.run(asked.body(SendBody::from_reader(&mut request.reader()))?),
            false => self.agent.run(asked.body(())?),
        };
        let (head, body) = answer.map_err(refuse)?.into_parts();
        let is_live =
            head.headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let response = match is_live {
            true => relay(body.into_reader(), self.patience),
            false => Response::stream(body.into_reader()),
        };
        let response = response.with_status(head.status);
        let add = |response: Response, (name, value)| response.with_added_header(name, value);
        Ok(head.headers.iter().fold(response, add).with_added_header("via", "1.1 modest"))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in self.authority.to_socket_addrs()? {
            result = TcpStream::connect_timeout(&address, self.patience);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// The upstream speaks another protocol with this client from here on; `None`: it does not want to.
    fn switch(&self, request: &Request, protocol: &str) -> io::Result<Option<Response>> {
        let mut upstream = self.connect()?;
        upstream.set_read_timeout(Some(self.patience))?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method(), target(request)).into_bytes();
        let fields = fields(request);
        fields.iter().for_each(|(name, value)| {
            head.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat())
        });
        head.extend(format!("connection: upgrade\r\nupgrade: {protocol}\r\n\r\n").bytes());
        upstream.write_all(&head)?;
        let mut upstream = BufReader::new(upstream);
        let lines = upstream.by_ref().take(32 * 1024).lines().map_while(io::Result::ok);
        let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        if head.first().and_then(|line| line.split(' ').nth(1)) != Some("101") {
            return Ok(None);
        }
        upstream.get_ref().set_read_timeout(None)?;
        let tunnel = move |stream| join(stream, upstream).unwrap_or_default(); // an error is an end
        let fields = head.iter().filter_map(|line| line.split_once(':'));
        let add = |response: Response, (name, value): (&str, &str)| response.with_added_header(name, value.trim());
        Ok(Some(fields.fold(Response::upgrade(protocol, tunnel), add)))
    }
}

/// Passes on what comes now and then. A thread waits for it, so that no worker does.
fn relay(mut events: impl Read + Send + 'static, patience: Duration) -> Response {
    let (sender, response) = Response::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            match events.read(&mut buffer) {
                Ok(0) => return sender.finish(),
                Ok(count) if sender.send_timeout(&buffer[..count], patience).is_ok() => {}
                _ => return sender.abort(), // the client has left, or the upstream
            }
        }
    });
    response
}

/// Copy both ways, until both have ended. The end of one is told to the other, an error ends both.
fn join(mut stream: Stream, mut upstream: BufReader<TcpStream>) -> io::Result<()> {
    let (mut to_client, mut to_upstream) = (stream.writer(), upstream.get_ref().try_clone()?);
    let downstream = std::thread::spawn(move || {
        let copied = io::copy(&mut upstream, &mut to_client);
        to_client.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both })
    });
    let copied = io::copy(&mut stream, &mut to_upstream);
    to_upstream.shutdown(if copied.is_ok() { Shutdown::Write } else { Shutdown::Both })?;
    downstream.join().unwrap_or(Ok(())).and(copied.map(drop))
}

/// What the upstream is told: the client's fields but for those of its connection, and who that is.
fn fields(request: &Request) -> HeaderMap {
    let mut fields = request.headers().clone();
    let named = request.header_all("connection").flat_map(|value| value.split(|byte| *byte == b','));
    let named: Vec<String> = named.map(|name| String::from_utf8_lossy(name.trim_ascii()).into_owned()).collect();
    named.iter().map(String::as_str).chain(HOP_BY_HOP).for_each(|name| drop(fields.remove(name)));
    let mut more = vec![("via", format!("{:?} modest", request.version()).replace("HTTP/", ""))];
    if let Some(ip) = request.client_ip() {
        let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
        more.push(("forwarded", format!("for={node};host=\"{}\";proto=http", request.host().unwrap_or_default())));
        more.push(("x-forwarded-for", ip.to_string()));
    }
    more.into_iter().for_each(|(name, value)| drop(value.parse().map(|value| fields.append(name, value))));
    fields
}

fn target(request: &Request) -> String {
    request.query().map_or(request.raw_path().into(), |query| format!("{}?{query}", request.raw_path()))
}

/// No answer: 504 if none came in time, else 502.
fn refuse(err: ureq::Error) -> Error {
    let is_late = match &err {
        ureq::Error::Timeout(_) => true,
        ureq::Error::Io(err) => matches!(err.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock),
        _ => false,
    };
    Error::new(if is_late { 504 } else { 502 }, "no answer of the upstream").with_cause(err)
}

/// Bodies are passed on as they come, however long they are.
struct Proxy(Box<dyn RequestHandler>);

impl RequestHandler for Proxy {
    fn before_body(&self, _: &Request, plan: &mut BodyPlan) -> Result<()> {
        plan.stream().limit(None);
        Ok(())
    }

    fn delegate(&self, _: &Request) -> Option<&dyn RequestHandler> {
        Some(&*self.0)
    }
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let word = |at: usize, usual: &str| words.get(at).map_or(usual.to_owned(), String::clone);
    let patience = Duration::from_secs(word(3, "30").parse().map_err(io::Error::other)?);
    let upstream = Upstream::new(word(2, "127.0.0.1:9000"), patience);
    let proxy = Proxy(Box::new(handler_fn(move |request| upstream.pass(request))));
    let server = TcpServer::bind(word(1, "127.0.0.1:8000"), proxy)?.workers(64).max_streams(1024);
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.handle().shutdown_on_signals()?;
    server.serve_forever()
}
