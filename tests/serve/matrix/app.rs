//! The application: the target of a request determines what its handler does.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use modest::live::Signal;
use modest::raw::{Action, Conversation, Event, Stream, Turn};
use modest::{BodyPlan, LogRecord, Request, RequestHandler, Response, Result};

use super::SIZES;
use crate::server::{PATIENCE, eventually};

pub struct App {
    calls: Mutex<HashMap<usize, Vec<String>>>,
    lines: Mutex<Vec<Line>>,
    alive: Arc<AtomicUsize>,
    changed: Signal,
}

/// A line of the access log: the request, and the status and the bytes of its response.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    pub id: usize,
    pub status: u16,
    pub bytes: u64,
}

/// The part of a body that a handler has read before it waited.
struct Seen(String);

/// A value in a request, a writer or a source. Live values are counted.
struct Guard(Arc<AtomicUsize>);

impl Guard {
    fn new(alive: &Arc<AtomicUsize>) -> Guard {
        alive.fetch_add(1, SeqCst);
        Guard(Arc::clone(alive))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The content of a response or of a request body of this length.
pub fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 7 + at / 251 + size) as u8).collect()
}

/// A short checksum of a body.
pub fn sum(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(7u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    format!("{}-{sum:x}", bytes.len())
}

static FILES: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("modest-matrix-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    SIZES.iter().for_each(|size| fs::write(folder.join(size.to_string()), content(*size)).unwrap());
    folder
});

/// The content of a response, in pieces, with an error if it is a broken one.
struct Source {
    content: Vec<u8>,
    at: usize,
    breaks_at: Option<usize>,
    _guard: Guard,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.breaks_at.is_some_and(|end| self.at >= end) {
            return Err(io::Error::other("the source fails"));
        }
        let count = (&self.content[self.at..]).read(buffer)?.min(1 + self.at % 30_000);
        self.at += count;
        Ok(count)
    }
}

/// The destination of a saved body.
struct Saved(Arc<Mutex<Vec<u8>>>, #[expect(dead_code, reason = "it is counted")] Guard);

impl Write for Saved {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends back all bytes.
struct Echo(#[expect(dead_code, reason = "it is counted")] Guard);

impl Conversation for Echo {
    fn turn(&mut self, turn: &mut Turn<'_>) -> Action {
        turn.output.bytes().extend_from_slice(turn.input.bytes());
        turn.input.consume(turn.input.bytes().len());
        if turn.input.ended() { Action::Close } else { Action::Idle { within: None } }
    }

    fn event(&mut self, _: Event, _: &mut Turn<'_>) -> Action {
        Action::Close
    }
}

fn echo(mut stream: Stream, guard: Guard) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer)
        && stream.write_all(&buffer[..count]).and_then(|()| stream.flush()).is_ok()
    {}
    drop(guard);
}

impl App {
    pub fn new() -> App {
        App { calls: Mutex::default(), lines: Mutex::default(), alive: Arc::default(), changed: Signal::new() }
    }

    /// The bodies that handlers have read, by request.
    pub fn calls(&self) -> HashMap<usize, Vec<String>> {
        self.calls.lock().unwrap().clone()
    }

    /// The access log. Heads that are not requests are left out.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    pub fn wait_until_all_is_dropped(&self) {
        eventually("all is dropped", || self.alive.load(SeqCst) == 0);
    }

    /// Waits until a handler was called, for a limited number of checks.
    pub fn wait_for_a_call(&self, patience: usize) {
        for _ in 0..patience {
            if !self.calls.lock().unwrap().is_empty() {
                return;
            }
            thread::yield_now();
        }
    }

    fn read(&self, request: &Request) -> Result<String> {
        match request.param("reading").unwrap_or_default().as_ref() {
            "Whole" => Ok(sum(&request.bytes()?)),
            "Saved" => match request.value::<Arc<Mutex<Vec<u8>>>>() {
                Some(saved) if !saved.lock().unwrap().is_empty() => Ok(sum(&saved.lock().unwrap())),
                _ => Ok(sum(&request.bytes()?)), // there was no body
            },
            "Streamed" => {
                let mut all = Vec::new();
                request.reader().read_to_end(&mut all)?;
                Ok(sum(&all))
            }
            "Half" => {
                let half: usize = request.parse_param("half")?;
                request.reader().read_exact(&mut vec![0; half])?;
                Ok("unread".into())
            }
            _ => Ok("unread".into()),
        }
    }

    fn source(&self, size: usize, breaks_at: Option<usize>) -> Source {
        Source { content: content(size), at: 0, breaks_at, _guard: Guard::new(&self.alive) }
    }

    fn respond(&self, request: &Request) -> Result<Response> {
        let size: usize = request.parse_param("size")?;
        let id: usize = request.parse_param("id")?;
        let kind = request.param("response").unwrap_or_default();
        let seen = match request.value::<Seen>() {
            Some(seen) => seen.0.clone(),
            None => {
                request.put(Guard::new(&self.alive));
                self.calls.lock().unwrap().entry(id).or_default().push("called".into());
                let seen = self.read(request)?;
                self.calls
                    .lock()
                    .unwrap()
                    .get_mut(&id)
                    .expect("an exchange whose handler was called")
                    .push(seen.clone());
                request.put(Seen(seen.clone()));
                seen
            }
        };
        if kind == "Wait" && !request.is_late() {
            return Ok(Response::wait_for(self.changed.ticket(), Duration::from_millis(5)));
        }
        let response = match kind.as_ref() {
            "Bytes" | "Wait" => Response::bytes(content(size)),
            "File" => Response::file(FILES.join(size.to_string())),
            "Stream" => Response::stream(self.source(size, None)),
            "SizedStream" => Response::sized_stream(self.source(size, None), size as u64),
            "Broken" => Response::stream(self.source(size, Some(size / 2))),
            "Panic" => panic!("as the case asks"),
            "Channel" => self.channel(size),
            "Switch" => Response::switch_to("echo", Echo(Guard::new(&self.alive))),
            _ => {
                let guard = Guard::new(&self.alive);
                Response::upgrade("echo", move |stream| echo(stream, guard))
            }
        };
        Ok(response.with_header("x-body", seen))
    }

    fn channel(&self, size: usize) -> Response {
        let (sender, response) = Response::channel();
        let guard = Guard::new(&self.alive);
        thread::spawn(move || {
            let _guard = guard;
            for piece in content(size).chunks(9_000) {
                if sender.send_timeout(piece, PATIENCE).is_err() {
                    return;
                }
            }
        });
        response
    }
}

impl RequestHandler for App {
    fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<()> {
        match request.param("reading").unwrap_or_default().as_ref() {
            "Saved" => {
                let saved = Arc::<Mutex<Vec<u8>>>::default();
                plan.save_to(Saved(Arc::clone(&saved), Guard::new(&self.alive)));
                request.put(saved);
            }
            "Streamed" | "Half" | "Unread" => drop(plan.stream()),
            _ => {}
        }
        Ok(())
    }

    fn do_get(&self, request: &Request) -> Result<Response> {
        self.respond(request)
    }

    fn do_post(&self, request: &Request) -> Result<Response> {
        self.respond(request)
    }
    fn log_request(&self, record: &LogRecord<'_>) {
        if let Some(request) = record.request() {
            let id = request.parse_param("id").expect("a number");
            self.lines.lock().unwrap().push(Line { id, status: record.status().as_u16(), bytes: record.bytes() });
        }
    }
}
