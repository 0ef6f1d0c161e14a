//~ E0277
//~ `Cell<u64>` cannot be shared between threads safely
//~ AtomicU64
use std::cell::Cell;

use modest::{Request, RequestHandler, Response, Result};

struct Counter {
    visits: Cell<u64>,
}

impl RequestHandler for Counter {
    fn do_get(&self, _: &Request) -> Result<Response> {
        self.visits.set(self.visits.get() + 1);
        Ok(Response::text(self.visits.get().to_string()))
    }
}

fn main() {}
