//~ E0277
//~ is no layer
//~ a closure is given as `layer_fn(|request, next| ..)`
use modest::{Next, Request, RequestHandler, Response, handler_fn};

fn main() {
    let app = handler_fn(|_| Ok(Response::text("hello")));
    drop(app.layer(|request: &Request, next: Next<'_>| next.run(request)));
}
