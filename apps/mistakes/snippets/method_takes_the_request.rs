//~ E0053
//~ method `do_post` has an incompatible type for trait
//~ expected `&modest::Request`
use modest::{Request, RequestHandler, Response, Result};

struct Hello;

impl RequestHandler for Hello {
    fn do_post(&self, _: Request) -> Result<Response> {
        Ok(Response::no_content())
    }
}

fn main() {}
