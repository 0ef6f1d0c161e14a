//~ E0277
//~ can't handle streams
//~ this does not implement `StreamHandler`
//~ a closure names its argument and returns a `std::io::Result<()>`
use modest::raw::streams;

struct Echo;

fn main() {
    let _ = streams(Echo);
}
