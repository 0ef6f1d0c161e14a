//! `API_TOKENS=ada:7f3a9c cargo run --bin projects -- 127.0.0.1:8000 https://app.example`

use std::env;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = env::args().collect();
    let [_, address, origin] = &words[..] else { return Err("expected ADDRESS ORIGIN".into()) };
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("Serving HTTP at http://{}/projects ...", listener.local_addr()?);
    let stop = async { _ = tokio::signal::ctrl_c().await };
    Ok(axum::serve(listener, twins::app(&env::var("API_TOKENS")?, origin)).with_graceful_shutdown(stop).await?)
}
