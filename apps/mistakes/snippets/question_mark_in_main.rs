//~ E0277
//~ `modest::Error: std::error::Error` is not satisfied
use modest::{Request, Response, Result};

fn hello(_: &Request) -> Result<Response> {
    Ok(Response::text("hello"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    hello(&Request::get("/"))?;
    Ok(())
}
