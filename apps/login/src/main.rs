//! Accounts with hashed passwords, sessions, forms that other sites can't send, and messages that are shown once.
//!
//! `cargo run -p login -- 127.0.0.1:8000 ada:secret bob:other`, then open it in a browser. A real program reads its
//! accounts, with hashes, from a file or a database, and keeps its sessions in `FileSessions`.

use std::collections::HashMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use modest::layers::{Csrf, MemorySessions, Session, Sessions};
use modest::{Http, Layer, Request, RequestHandler, Response, Result, Routes, TcpServer, User, escape_html};

struct Login {
    /// Hashes of passwords, by name.
    accounts: HashMap<String, String>,
    /// A hash for unknown names, so that checking an unknown name takes as long as checking a wrong password.
    nobody: String,
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
        let known = self.accounts.get(&name);
        let hash = PasswordHash::new(known.unwrap_or(&self.nobody))?;
        let is_right = Argon2::default().verify_password(password.as_bytes(), &hash).is_ok();
        if known.is_some() && is_right {
            session.flash(format!("Welcome, {name}."));
            session.log_in(User::new(name));
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

/// Argon2id: 19 MiB of memory and some 20 ms of processor time.
fn hashed(password: &str) -> argon2::password_hash::Result<String> {
    Ok(Argon2::default().hash_password(password.as_bytes())?.to_string())
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
    let mut login = Login { accounts: HashMap::new(), nobody: hashed("")? };
    for word in words {
        let (name, password) = word.split_once(':').ok_or("an account is NAME:PASSWORD")?;
        login.accounts.insert(name.to_owned(), hashed(password)?);
    }
    let app = Routes::new()
        .get("/", Login::home)
        .get("/login", Login::form)
        .post("/login", Login::log_in)
        .post("/logout", Login::log_out)
        .get("/style.css", |_, _| Ok(Response::text(include_str!("style.css")).with_content_type("text/css")))
        .with_state(login)
        .layer(Strict)
        .layer(Csrf::new())
        .layer(Sessions::new(MemorySessions::new()));
    // at most this many requests hash at once
    let server = TcpServer::bind(address, Http::new(app).body_limit(16 << 10))?.workers(4);
    server.handle().shutdown_on_signals()?;
    println!("Serving HTTP at http://{}/ ...", server.local_addr());
    Ok(server.serve_forever()?)
}
