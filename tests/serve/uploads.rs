//! Forms with files, as curl sends them.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::sync::Arc;

use modest::{Http, Method, Request, Response, Result, handler_fn};

use crate::server::serve;

#[test]
fn curl_sends_a_form() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    let large: Vec<u8> = (0..3_000_000u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
    fs::write(path("large"), &large).unwrap();
    fs::write(path("small"), "\r\n--\r\n").unwrap();

    let saved = Arc::clone(&folder);
    let upload = move |request: &Request| -> Result<Response> {
        assert_eq!(request.method(), &Method::POST);
        let mut form = request.form_data()?;
        let mut seen = String::new();
        while let Some(mut part) = form.next_part()? {
            let line = format!("{}, {:?}, {:?}: ", part.name(), part.file_name(), part.content_type());
            let content = match part.safe_file_name() {
                Some(name) => format!("{} bytes", part.save(saved.path().join(format!("saved {name}")))?),
                None => part.text()?,
            };
            seen.push_str(&format!("{line}{content}\n"));
        }
        Ok(Response::text(seen))
    };
    let server = serve(Http::new(handler_fn(upload)), |server| server);
    let send = || {
        Command::new("curl")
            .args(["-sS", "-m", "20", "-F", "title=un été", "-F", "note=a\r\nb;type=text/x-note"])
            .args(["-F", &format!("file=@{};filename=../x\"y", path("large").display())])
            .args(["-F", &format!("file=@{};type=image/png", path("small").display())])
            .arg(format!("http://{}/", server.address))
            .output()
    };
    let answer = match send() {
        Ok(output) => String::from_utf8(output.stdout).unwrap(),
        Err(err) if err.kind() == ErrorKind::NotFound => return, // no curl here
        Err(err) => panic!("curl: {err}"),
    };
    // curl before 7.81 writes `\"`, which is refused; none of this age is left.
    let expected = "title, None, None: un été\n\
        note, None, Some(\"text/x-note\"): a\r\nb\n\
        file, Some(\"../x\\\"y\"), Some(\"application/octet-stream\"): 12000000 bytes\n\
        file, Some(\"small\"), Some(\"image/png\"): 6 bytes\n";
    assert_eq!(answer, expected);
    assert!(fs::read(path("saved x_y")).unwrap() == large);
    assert_eq!(fs::read(path("saved small")).unwrap(), b"\r\n--\r\n");
    // The files are there already.
    let answer = String::from_utf8(send().unwrap().stdout).unwrap();
    assert!(answer.contains("409"), "{answer}");
}
