//! The cost of `http` for a request: a conversation in memory, without sockets. `cargo bench --bench talk [NUMBER]`.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use modest::raw::{Action, Input, Output, Protocol, Turn};
use modest::{Client, Http, Request, RequestHandler, Response, Result};

struct Hello;

impl RequestHandler for Hello {
    fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::text("Hello, World!"))
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        Ok(Response::bytes(request.bytes()?.into_owned()))
    }
}

const ROWS: [(&str, &str); 4] = [
    ("as wrk sends it", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"),
    ("as curl sends it", "GET / HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n"),
    (
        "as a browser sends it",
        "GET /style.css?v=3 HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: keep-alive\r\nCache-Control: max-age=0\r\n\
         sec-ch-ua: \"Chromium\";v=\"130\", \"Google Chrome\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
         sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
         AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\nAccept: text/html,application/xhtml+xml,\
         application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n\
         Sec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
         Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: session=0123456789abcdef\r\n\r\n",
    ),
    ("a small POST", "POST /echo HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nContent-Length: 5\r\n\r\nhello"),
];

fn main() {
    let count = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    for (name, wire) in ROWS {
        let began = Instant::now();
        let sent = talk(wire.as_bytes(), count);
        let each = began.elapsed().as_nanos() / u128::from(count);
        println!("{name:>24}: {each:>5} ns a request, {} bytes an answer", sent / count);
    }
}

fn talk(wire: &[u8], count: u64) -> u64 {
    let http = Http::new(Hello);
    let client = Client::new(SocketAddr::from(([127, 0, 0, 1], 4711)));
    let mut conversation = http.meet(&client).expect("a client that is accepted");
    let (mut input, mut output) = (Input::new(), Output::new());
    let mut sent = 0;
    for _ in 0..count {
        input.extend(black_box(wire));
        loop {
            let mut turn = Turn::new(&mut input, &mut output, &client);
            let next = conversation.turn(&mut turn);
            sent += output.owed();
            output.clear();
            match next {
                Action::Handle | Action::Again => {}
                Action::Idle { .. } => break,
                other => panic!("{other:?}"),
            }
        }
    }
    sent
}
