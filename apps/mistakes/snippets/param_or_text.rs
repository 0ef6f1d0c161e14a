//~ E0308
//~ expected `Cow<'_, str>`, found `&str`
//~ try wrapping the expression in `std::borrow::Cow::Borrowed`
use modest::{Response, handler_fn};

fn main() {
    let _ = handler_fn(|request| Ok(Response::text(request.param("page").unwrap_or("1"))));
}
