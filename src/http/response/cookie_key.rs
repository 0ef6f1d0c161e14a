//! Signed and encrypted cookies: values that a browser stores but cannot change, or cannot even read. Used by handlers.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::Cookie;
use crate::http::request::Request;
use crate::metadata::{check_secret, named};
use crate::random;

/// The secret with which cookies are signed or encrypted ([`Cookie::signed`], [`Cookie::encrypted`]).
///
/// A signed value can be read by the browser's user, but not changed (HMAC-SHA256). An encrypted one cannot be read
/// either (XChaCha20-Poly1305). The name of the cookie is part of both, so a value is not valid in another cookie. A
/// cookie, and any copy of it, is valid as long as the key. Do not use such cookies for logins or anything else that
/// must end. Use [`layers::Sessions`](crate::layers::Sessions) for these.
///
/// ```
/// use modest::{Cookie, CookieKey, Http, Request, Response, handler_fn};
///
/// let key = CookieKey::generate()?; // or `CookieKey::from_file`, so that cookies survive a restart
/// let http = Http::new(handler_fn(move |request| {
///     let visits: u32 = key.verified(request, "visits").and_then(|visits| visits.parse().ok()).unwrap_or(0);
///     let cookie = Cookie::signed("visits", (visits + 1).to_string(), &key).with_http_only();
///     Ok(Response::text(format!("{visits}")).with_cookie(cookie))
/// }));
///
/// let sent = http.respond(&Request::get("/").with_header("cookie", "visits=1000000"));
/// assert_eq!(sent.text(), "0");
/// let cookie = sent.header("set-cookie").unwrap().split(';').next().unwrap();
/// assert_eq!(http.respond(&Request::get("/").with_header("cookie", cookie)).text(), "1");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct CookieKey {
    signing: [u8; 32],
    encryption: [u8; 32],
}

/// The length of a nonce of XChaCha20. It is long enough for random nonces.
const NONCE: usize = 24;

impl CookieKey {
    /// Creates a random key. Its cookies are invalid once the program has ended.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn generate() -> io::Result<CookieKey> {
        Ok(CookieKey::derived(&random::bytes::<32>()?))
    }

    /// Derives a key from this secret, such as one from the environment.
    ///
    /// # Errors
    /// If it has fewer than 32 bytes.
    pub fn from_secret(secret: impl AsRef<[u8]>) -> io::Result<CookieKey> {
        match secret.as_ref() {
            secret if secret.len() >= 32 => Ok(CookieKey::derived(secret)),
            secret => {
                let message = format!("a secret for cookies needs 32 random bytes or more, and has {}", secret.len());
                Err(io::Error::new(io::ErrorKind::InvalidInput, message))
            }
        }
    }

    /// Derives a key from the secret in this file. If the file does not exist, it is created with a random secret,
    /// readable by this user only. If every user of the system can read the file, and so make cookies, a warning is
    /// logged.
    ///
    /// # Errors
    /// If it cannot be read or created, or has fewer than 32 bytes. The error names the path.
    pub fn from_file(path: impl AsRef<Path>) -> io::Result<CookieKey> {
        let path = path.as_ref();
        let read = || {
            match fs::metadata(path) {
                Ok(found) if found.is_file() => {}
                // Reading a FIFO would wait.
                Ok(_) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is not a file with a secret")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => create_secret(path)?,
                Err(error) => return Err(error),
            }
            check_secret(path);
            CookieKey::from_secret(fs::read(path)?)
        };
        read().map_err(|error| named(path, error))
    }

    /// Returns the value of the first cookie with this name that was created by [`Cookie::signed`] with this key.
    pub fn verified(&self, request: &Request, name: &str) -> Option<String> {
        cookies_of(request, name).find_map(|text| {
            let (value, signature) = text.split_once('.')?;
            let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
            self.mac(name, value).verify_slice(&signature).ok()?; // in constant time
            String::from_utf8(Base64UrlUnpadded::decode_vec(value).ok()?).ok()
        })
    }

    /// Returns the value of the first cookie with this name that was created by [`Cookie::encrypted`] with this key.
    pub fn decrypted(&self, request: &Request, name: &str) -> Option<String> {
        cookies_of(request, name).find_map(|text| {
            let sealed = Base64UrlUnpadded::decode_vec(text).ok()?;
            let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
            let nonce = XNonce::try_from(nonce).ok()?;
            let payload = Payload { msg: sealed, aad: name.as_bytes() };
            String::from_utf8(self.cipher().decrypt(&nonce, payload).ok()?).ok()
        })
    }

    fn derived(secret: &[u8]) -> CookieKey {
        let part = |purpose: &str| {
            let mut mac = mac_with(secret);
            mac.update(purpose.as_bytes());
            mac.finalize().into_bytes().into()
        };
        CookieKey { signing: part("modest: signed cookies"), encryption: part("modest: encrypted cookies") }
    }

    /// Returns the MAC of name and value. A character that no name contains separates them.
    fn mac(&self, name: &str, value: &str) -> Hmac<Sha256> {
        let mut mac = mac_with(&self.signing);
        [name, "=", value].iter().for_each(|part| mac.update(part.as_bytes()));
        mac
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(self.encryption))
    }

    fn signed(&self, name: &str, value: &str) -> String {
        let value = Base64UrlUnpadded::encode_string(value.as_bytes());
        let signature = self.mac(name, &value).finalize().into_bytes();
        format!("{value}.{}", Base64UrlUnpadded::encode_string(&signature))
    }

    /// Returns `None` if the system has no random bytes.
    fn encrypted(&self, name: &str, value: &str) -> Option<String> {
        let nonce = random::bytes::<NONCE>().ok()?;
        let payload = Payload { msg: value.as_bytes(), aad: name.as_bytes() };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(Base64UrlUnpadded::encode_string(&[&nonce[..], &sealed].concat()))
    }
}

impl Cookie {
    /// Creates a cookie with any text as its value, signed with this key: [`CookieKey::verified`] returns it.
    pub fn signed(name: impl AsRef<str>, value: impl AsRef<str>, key: &CookieKey) -> Cookie {
        let name = name.as_ref();
        Cookie::new(name, key.signed(name, value.as_ref()))
    }

    /// Creates a cookie with any text as its value, encrypted with this key: [`CookieKey::decrypted`] returns it. The
    /// length of the cookie reveals the length of the text.
    pub fn encrypted(name: impl AsRef<str>, value: impl AsRef<str>, key: &CookieKey) -> Cookie {
        let name = name.as_ref();
        match key.encrypted(name, value.as_ref()) {
            Some(value) => Cookie::new(name, value),
            None => Cookie::new(name, "").refused(format!("the cookie {name} could not be encrypted")),
        }
    }
}

fn cookies_of<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    request.cookies().filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

fn mac_with(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("an HMAC key can have any length")
}

/// Atomically creates a file with a secret. If another process has just created it, its secret is used.
fn create_secret(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&random::bytes::<32>()?)?;
    file.as_file().sync_all()?;
    // If a sandbox forbids a rename that must not replace a file, a link has the same effect.
    let link = |error: tempfile::PersistError| fs::hard_link(error.file.path(), path);
    match file.persist_noclobber(path).map(drop).or_else(link) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

// Leaves out the secret.
opaque!(CookieKey);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::Response;

    fn sent(cookie: Cookie) -> String {
        Response::text("").with_cookie(cookie).header("set-cookie").expect("a cookie").to_owned()
    }

    fn with(cookies: &str) -> Request {
        Request::get("/").with_header("cookie", cookies)
    }

    #[test]
    fn a_value_comes_back_unless_it_was_changed() {
        let (key, other) = (CookieKey::generate().unwrap(), CookieKey::generate().unwrap());
        for value in ["", "ada", "a; b=\"c\", é\0\n", &"x".repeat(3000)] {
            type Read = fn(&CookieKey, &Request, &str) -> Option<String>;
            let both: [(String, Read); 2] = [
                (sent(Cookie::signed("a", value, &key)), CookieKey::verified),
                (sent(Cookie::encrypted("a", value, &key)), CookieKey::decrypted),
            ];
            for (cookie, read) in both {
                let text = cookie.strip_prefix("a=").unwrap().to_owned();
                assert_eq!(read(&key, &with(&cookie), "a").as_deref(), Some(value), "{cookie}");
                assert_eq!(read(&key, &with(&format!("a=x; a={text}; a=y")), "a").as_deref(), Some(value), "{cookie}");
                assert_eq!(read(&other, &with(&cookie), "a"), None, "accepted under another key: {cookie}");
                assert_eq!(read(&key, &with(&format!("b={text}")), "b"), None, "accepted under another name: {cookie}");
                assert_eq!(read(&key, &with("c=d"), "a"), None, "a request without the cookie");
                let step = 1 + text.len() / 50;
                for at in (0..text.len()).step_by(step) {
                    let mut changed = text.clone().into_bytes();
                    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                    let changed = String::from_utf8(changed).unwrap();
                    assert_eq!(read(&key, &with(&format!("a={changed}")), "a"), None, "{changed}");
                    assert_eq!(read(&key, &with(&format!("a={}", &text[..at])), "a"), None, "{at} of {text}");
                }
            }
        }
        let [one, two] = [(); 2].map(|()| sent(Cookie::encrypted("a", "secret", &key)));
        assert!(one != two && !one.contains("secret"), "{one} {two}");
        assert_eq!(key.decrypted(&with(&sent(Cookie::signed("a", "b", &key))), "a"), None);
        assert_eq!(key.verified(&with(&sent(Cookie::encrypted("a", "b", &key))), "a"), None);
    }

    #[test]
    fn a_secret_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = CookieKey::from_file(&path).unwrap();
        let cookie = sent(Cookie::signed("a", "b", &key));
        let again = CookieKey::from_file(&path).unwrap();
        assert_eq!(again.verified(&with(&cookie), "a").as_deref(), Some("b"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{again:?}"), "CookieKey(..)");
        std::fs::write(&path, [7; 31]).unwrap();
        assert!(CookieKey::from_file(&path).unwrap_err().to_string().contains("has 31"));
    }

    /// Errors name the path. Opening a FIFO would wait for a writer, forever.
    #[test]
    fn a_file_without_a_secret_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("short"), [7; 31]).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/x", path("dangling")).unwrap();
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(path("fifo")).status().unwrap().success());
        for name in ["short", "folder", "dangling", "loop", "none/key", "short/key", "fifo"] {
            let error = CookieKey::from_file(path(name)).map(drop).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}: ", path(name).display())), "{name}: {error}");
        }
    }
}
