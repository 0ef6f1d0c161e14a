//~ E0277
//~ `?` operator
//~ .ok_or(
use modest::{Request, Response, Result};

fn hello(request: &Request) -> Result<Response> {
    let name = request.param("name")?;
    Ok(Response::text(format!("Hello, {name}!")))
}

fn main() {
    drop(hello(&Request::get("/")));
}
