//! Accounts with hashed passwords, sessions, forms that other sites can't send, and messages that are shown once.
//!
//! `modest --hash-password ada >> users` adds an account. `cargo run -p login -- 127.0.0.1:8000 users` serves; then open it
//! in a browser. For sessions that survive a restart, use `FileSessions`.

use modest::layers::{Csrf, MemorySessions, Session, Sessions, UserFile};
use modest::{Http, Layer, Request, RequestHandler, Response, Result, Routes, TcpServer, escape_html};

struct Login {
    accounts: UserFile,
}

impl Login {
    fn home(&self, request: &Request) -> Result<Response> {
        let Some(user) = request.user() else { return Ok(Response::redirect("/login")) };
        let token = Session::of(request)?.csrf_token()?;
        page(request, "Home", &format!(include_str!("home.html"), user = escape_html(&user), token = token))
    }

    fn form(&self, request: &Request) -> Result<Response> {
        let token = Session::of(request)?.csrf_token()?;
        page(request, "Log in", &format!(include_str!("login.html"), token = token))
    }

    fn log_in(&self, request: &Request) -> Result<Response> {
        let (form, session) = (request.form()?, Session::of(request)?);
        let (name, password): (String, String) = (form.parse("name")?, form.parse("password")?); // missing: 400
        if let Some(user) = self.accounts.verify(request, &name, &password)? {
            session.flash(format!("Welcome, {name}."));
            session.log_in(user);
            return Ok(Response::redirect("/"));
        }
        session.flash("No account has this name and this password.");
        Ok(self.form(request)?.with_status(403))
    }

    fn log_out(&self, request: &Request) -> Result<Response> {
        let session = Session::of(request)?;
        session.log_out();
        session.flash("You are logged out.");
        Ok(Response::redirect("/login"))
    }
}

/// A page, with the messages to show once.
fn page(request: &Request, title: &str, body: &str) -> Result<Response> {
    let flash = escape_html(&Session::of(request)?.take_flashes().join(" "));
    Ok(Response::html(format!(include_str!("page.html"), title = title, flash = flash, body = body)))
}

/// Our pages load nothing from other sites, other sites can't frame them, and no copy of them remains after a logout.
struct Strict;

impl Layer for Strict {
    fn finish_response(&self, _: &Request, response: Response) -> Response {
        let policy =
            "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
        response.with_header("content-security-policy", policy).with_header("cache-control", "no-store")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or("127.0.0.1:8000".into());
    let accounts = UserFile::open(words.next().unwrap_or("users".into()))?;
    let app = Routes::new()
        .get("/", Login::home)
        .get("/login", Login::form)
        .post("/login", Login::log_in)
        .post("/logout", Login::log_out)
        .get("/style.css", |_, _| Ok(Response::text(include_str!("style.css")).with_content_type("text/css")))
        .with_state(Login { accounts })
        .layer(Strict)
        .layer(Csrf::new())
        .layer(Sessions::new(MemorySessions::new()));
    let server = TcpServer::bind(address, Http::new(app).body_limit(16 << 10))?;
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    Ok(server.serve_forever()?)
}
