//! A relay for two backends, with a cache: `/api` goes to the first one, everything else to the second one. Event
//! streams and WebSockets pass through. Slow clients and slow backends hold no worker.
//!
//! `cargo run -p relay -- 127.0.0.1:8000 http://127.0.0.1:3000 http://127.0.0.1:3001`

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use modest::{
    HeaderName, HeaderValue, Layer, Method, Next, Request, RequestHandler, Response, Result, ReverseProxy, Routes,
    SharedBytes, TcpServer,
};

const LARGEST: usize = 1 << 20; // bytes of a body that is kept
const MOST: usize = 256; // responses that are kept

/// Keeps the responses that a shared cache may store, once a client has received them completely.
#[derive(Clone, Default)]
struct Cache(Arc<Mutex<HashMap<String, Kept>>>);

type Field = (HeaderName, HeaderValue);

#[derive(Clone)]
struct Kept {
    fields: Vec<Field>,
    body: SharedBytes,
    begun: Instant,
    lifetime: Duration,
}

impl Cache {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: String, kept: Kept) {
        let mut all = self.all();
        if all.len() >= MOST {
            all.retain(|_, kept| kept.begun.elapsed() < kept.lifetime);
        }
        if all.len() < MOST {
            all.insert(key, kept);
        }
    }

    /// Copies the response while it is sent, and keeps the copy if the response was complete.
    fn copy(&self, key: String, lifetime: Duration, response: Response) -> Response {
        let (cache, copy, begun) = (self.clone(), Arc::new(Mutex::new(Vec::new())), Instant::now());
        let fields = response.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let copied = copy.clone();
        let tee = move |bytes: &[u8]| {
            let mut copy = copied.lock().unwrap_or_else(PoisonError::into_inner);
            let room = (LARGEST + 1).saturating_sub(copy.len());
            copy.extend_from_slice(&bytes[..bytes.len().min(room)]);
        };
        response.tee(tee).on_sent(move |is_whole| {
            let body = std::mem::take(&mut *copy.lock().unwrap_or_else(PoisonError::into_inner));
            if is_whole && body.len() <= LARGEST {
                cache.keep(key, Kept { fields, body: Arc::new(body), begun, lifetime });
            }
        })
    }
}

/// Returns how long this response may be sent to other clients (RFC 9111, section 3). A response that depends on fields
/// of the request is not kept.
fn lifetime(response: &Response) -> Option<Duration> {
    let has = |name| response.header(name).is_some();
    let lines = response.headers().get_all("cache-control").iter().map(|line| line.to_str().ok());
    let control = lines.collect::<Option<Vec<_>>>()?.join(",").to_ascii_lowercase(); // `None` if it is not text
    let directives: Vec<(&str, Option<&str>)> = control
        .split(',')
        .map(|directive| directive.split_once('=').map_or((directive, None), |(name, value)| (name, Some(value))))
        .map(|(name, value)| (name.trim(), value.map(|value| value.trim().trim_matches('"'))))
        .collect();
    let find = |name| directives.iter().find(|directive| directive.0 == name);
    let is_shared =
        find("public").is_some() && ["no-store", "no-cache", "private"].into_iter().all(|no| find(no).is_none());
    let seconds = find("s-maxage").or(find("max-age"))?.1?.parse().ok()?;
    (response.status() == 200 && is_shared && !has("vary") && !has("set-cookie") && !has("age"))
        .then(|| Duration::from_secs(seconds))
}

impl Layer for Cache {
    fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response> {
        let is_plain = ["authorization", "range", "cache-control"].iter().all(|name| request.header(name).is_none());
        if *request.method() != Method::GET || !is_plain {
            return next.run(request);
        }
        let key = format!("{} {}", request.host().unwrap_or_default(), request.target());
        let kept = self.all().get(&key).filter(|kept| kept.begun.elapsed() < kept.lifetime).cloned();
        if let Some(kept) = kept {
            let response = Response::shared(kept.body).with_header("age", kept.begun.elapsed().as_secs());
            let add = |response: Response, (name, value): Field| response.with_forwarded_header(name, value);
            return Ok(kept.fields.into_iter().fold(response, add));
        }
        let response = next.run(request)?;
        Ok(match lifetime(&response) {
            Some(lifetime) => self.copy(key, lifetime, response),
            None => response,
        })
    }
}

fn main() -> io::Result<()> {
    let _log = modest::log_to_stderr();
    let words: Vec<String> = std::env::args().collect();
    let [_, address, first, second] = &words[..] else { return Err(io::Error::other("expected ADDRESS URL URL")) };
    let app = Routes::new().mount("/api", ReverseProxy::new(first)?).fallback(ReverseProxy::new(second)?);
    let server = TcpServer::bind(address.as_str(), app.with_state(()).layer(Cache::default()))?.max_streams(1024);
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    server.serve_forever()
}
