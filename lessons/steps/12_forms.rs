//! Notes from a form, for visitors with a session. `cargo run -q --bin step12 [ADDRESS]`

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lessons::engine::serve;
use lessons::http::{Handler, Http};
use lessons::notes::Notes;

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8000".into());
    let notes = Notes::default();
    let handler: Handler = Arc::new(move |request| notes.handle(request));
    serve(&address, || Http::meet(&handler), &AtomicBool::new(false))
}
