//~ E0277
//~ `TooLong: std::error::Error` is not satisfied
use modest::{Request, Response, Result};

struct TooLong;

fn check(text: &str) -> Result<(), TooLong> {
    if text.len() > 100 { Err(TooLong) } else { Ok(()) }
}

fn add(request: &Request) -> Result<Response> {
    check(&request.text()?)?;
    Ok(Response::no_content())
}

fn main() {
    drop(add(&Request::get("/")));
}
