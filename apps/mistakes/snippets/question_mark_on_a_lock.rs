//~ E0277
//~ MutexGuard
//~ cannot be sent between threads safely
use std::sync::Mutex;

use modest::{Request, Response, Result};

struct Counter(Mutex<u64>);

impl Counter {
    fn count(&self, _: &Request) -> Result<Response> {
        *self.0.lock()? += 1;
        Ok(Response::no_content())
    }
}

fn main() {
    drop(Counter(Mutex::new(0)).count(&Request::get("/")));
}
