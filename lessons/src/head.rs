//! Page 2: a request head by the rules (RFC 9112). Takes bytes and returns a decision; uses no socket. Used by all
//! later steps.

pub const MAX_HEAD: usize = 8192;

/// A request head that follows the rules of RFC 9112. Nothing else can be stored here.
pub struct Head {
    pub method: String,
    pub target: String,
    pub fields: Vec<(String, String)>, // names in lower case, values without spaces around them
}

/// The rejection of a head: a status and a reason.
pub type Rejection = (u16, &'static str);

/// Characters of a method or of a field name (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Reads `GET /path HTTP/1.1` (RFC 9112, section 3).
fn request_line(line: &str) -> Result<(String, String), Rejection> {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else { return Err((400, "expected: METHOD TARGET VERSION")) };
    if !is_token(method) {
        return Err((400, "the method is not a token"));
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err((400, "expected a path"));
    }
    if !["HTTP/1.0", "HTTP/1.1"].contains(&version) {
        return Err((505, "expected HTTP/1.1"));
    }
    Ok((method.into(), target.into()))
}

/// Reads `Name: value` (RFC 9112, section 5).
fn field(line: &str) -> Result<(String, String), Rejection> {
    let (name, value) = line.split_once(':').ok_or((400, "a field without a colon"))?;
    if !is_token(name) {
        return Err((400, "the name of a field is not a token")); // `Name :`, ` Name:`, `Na me:`
    }
    let value = value.trim_matches([' ', '\t']);
    if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err((400, "a control character in a field"));
    }
    Ok((name.to_ascii_lowercase(), value.into()))
}

/// Parses a head: `None` while its end has not arrived, else the head and its length in bytes.
pub fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Rejection> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() < MAX_HEAD { Ok(None) } else { Err((431, "the head is too long")) };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| (400, "the head is not text"))?;
    let mut lines = text.split("\r\n");
    let (method, target) = request_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    if fields.iter().filter(|(name, _)| name == "host").count() != 1 {
        return Err((400, "expected one Host field"));
    }
    Ok(Some((Head { method, target, fields }, end + 4)))
}

/// The words after the number in the first line of a response. Programs read the number, people the words.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        303 => "See Other",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        416 => "Range Not Satisfiable",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// A response of text, after which the connection ends.
pub fn response(status: u16, text: &str) -> String {
    let (reason, length) = (reason(status), text.len());
    format!("HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
}
