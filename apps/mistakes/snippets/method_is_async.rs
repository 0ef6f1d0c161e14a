//~ E0053
//~ method `do_get` has an incompatible type for trait
//~ future
use modest::{Request, RequestHandler, Response, Result};

struct Hello;

impl RequestHandler for Hello {
    async fn do_get(&self, _: &Request) -> Result<Response> {
        Ok(Response::no_content())
    }
}

fn main() {}
