//~ E0407
//~ method `get` is not a member of trait `RequestHandler`
use modest::{Request, RequestHandler, Response, Result};

struct Hello;

impl RequestHandler for Hello {
    fn get(&self, _: &Request) -> Result<Response> {
        Ok(Response::no_content())
    }
}

fn main() {}
