//! `API_TOKENS=ada:7f3a9c cargo run -p projects -- 127.0.0.1:8000 https://app.example`; `-- --routes` prints the routes.

use modest::TcpServer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _log = modest::log_to_stderr();
    let words: Vec<String> = std::env::args().collect();
    let [_, address, origin] = &words[..] else {
        projects::routes().list().iter().for_each(|route| println!("{route}")); // --routes
        return Ok(());
    };
    let server = TcpServer::bind(address.as_str(), projects::app(&std::env::var("API_TOKENS")?, origin))?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/projects ...", server.local_addr());
    Ok(server.serve_forever()?)
}
