//~ E0277
//~ is not a layer
//~ wrap a closure in `layer_fn(|request, next| ..)`
use modest::{Next, Request, RequestHandler, Response, handler_fn};

fn main() {
    let app = handler_fn(|_| Ok(Response::text("hello")));
    drop(app.layer(|request: &Request, next: Next<'_>| next.run(request)));
}
