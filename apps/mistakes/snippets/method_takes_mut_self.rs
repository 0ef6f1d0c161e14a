//~ E0053
//~ method `do_post` has an incompatible type for trait
//~ (&self, _: &Request) -> Result<Response>
use modest::{Request, RequestHandler, Response, Result};

struct Counter {
    visits: u64,
}

impl RequestHandler for Counter {
    fn do_post(&mut self, _: &Request) -> Result<Response> {
        self.visits += 1;
        Ok(Response::no_content())
    }
}

fn main() {}
