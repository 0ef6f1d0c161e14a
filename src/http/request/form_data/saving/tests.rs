//! Forms whose parts are saved while they arrive.

use std::fs;

use super::*;

const BODY: &str = "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA day\r\n\
    --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\nline\r\n--\r\n--y\r\n\
    --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\n\r\n\r\n\
    --x\r\nContent-Disposition: form-data; name=\"skip\"; filename=\"b\"\r\n\r\nnothing\r\n--x--";

fn sink(folder: &Path, limits: FormDataLimits) -> (FormSink, SavedForm) {
    let folder = folder.to_owned();
    let plan = move |part: &PartHead| match part.name() {
        "f" => Ok(PartPlan::save_in(&folder)),
        "skip" => Ok(PartPlan::skip()),
        "no" => Err(Error::new(StatusCode::CONFLICT, "not this")),
        _ => Ok(PartPlan::keep()),
    };
    FormSink::new("multipart/form-data; boundary=x", limits, Box::new(plan)).unwrap()
}

/// Text has the same statuses as [`Part::text`](super::super::Part::text).
#[test]
fn text_in_another_charset_is_rejected() {
    for (content_type, content, expected) in [
        ("", "v", Ok("v")),
        ("Content-Type: text/plain; charset=\"UTF-8\"\r\n", "v", Ok("v")),
        ("Content-Type: text/plain; charset=iso-8859-1\r\n", "v", Err(415)),
        ("", "\u{fffd}", Err(400)),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, saved) = sink(folder.path(), FormDataLimits::default());
        let head = format!("--x\r\nContent-Disposition: form-data; name=\"n\"\r\n{content_type}\r\n");
        let content = if content == "\u{fffd}" { b"\xff".as_slice() } else { content.as_bytes() };
        [head.as_bytes(), content, b"\r\n--x--"].iter().for_each(|piece| sink.write_all(piece).unwrap());
        let _ = sink.end();
        drop(sink);
        let parts = saved.take().unwrap();
        let text = parts[0].text().map_err(|error| error.status().as_u16());
        assert_eq!(text, expected, "{content_type:?}");
    }
}

/// A writer that keeps bytes back, and cannot write them at the end of its part, fails as one that writes at once.
#[test]
fn the_last_bytes_of_a_writer_are_not_lost() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for is_buffered in [false, true] {
        for body in [BODY, &BODY[..BODY.len() - 4]] {
            let plan = move |_: &PartHead| match is_buffered {
                true => Ok(PartPlan::write_to(io::BufWriter::new(Full))),
                false => Ok(PartPlan::write_to(Full)),
            };
            let limits = FormDataLimits::default();
            let (mut sink, saved) = FormSink::new("multipart/form-data; boundary=x", limits, Box::new(plan)).unwrap();
            let written = sink.write_all(body.as_bytes()).map_err(|err| Error::from(err).status().as_u16());
            let _ = sink.end();
            drop(sink);
            assert_eq!(written, Err(507), "buffered: {is_buffered}");
            assert!(saved.take().is_err());
        }
    }
}

/// A layer gets the form that it planned, even if a handler inside it planned another one and rejected the request.
#[test]
fn a_rejecting_handler_leaves_the_form_of_a_layer() {
    use crate::testing::{self, TestRequest};
    use crate::{BodyPlan, Layer, Method, Next, Request, RequestHandler, Response};
    struct Keeps;
    impl Layer for Keeps {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
            plan.limit(1000).save_form(request, FormDataLimits::default(), |_| Ok(PartPlan::keep()))
        }

        fn handle(&self, request: &Request, next: Next<'_>) -> Result<Response, Error> {
            let status = next.run(request).unwrap_err().status();
            Ok(Response::text(format!("{} {status}", request.saved_form()?[0].text()?)))
        }
    }
    struct Rejects;
    impl RequestHandler for Rejects {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
            plan.save_form(request, FormDataLimits::default(), |_| Ok(PartPlan::skip()))?;
            Err(Error::new(StatusCode::FORBIDDEN, "no"))
        }
    }
    let form = TestRequest::new(Method::POST, "/").with_header("content-type", "multipart/form-data; boundary=x");
    let sent = testing::serve(Rejects.layer(Keeps)).send(form.with_body(BODY));
    assert_eq!(sent.text(), "A day 403 Forbidden", "{sent:?}");
}

/// A handler that rejects a form after a look at its fields leaves no file.
#[test]
fn fields_are_checked_before_files_are_visible() {
    use crate::testing::{self, TestRequest};
    use crate::{BodyPlan, Method, Request, RequestHandler, Response};
    struct Checks(std::path::PathBuf);
    impl RequestHandler for Checks {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
            let folder = self.0.clone();
            plan.save_form(request, FormDataLimits::default(), move |part| {
                Ok(match part.file_name() {
                    Some(_) => PartPlan::save_in(&folder),
                    None => PartPlan::keep(),
                })
            })
        }

        fn do_post(&self, request: &Request) -> Result<Response, Error> {
            if request.peek_form()?[0].text()? != request.header("x-title").unwrap_or_default() {
                return Err(Error::new(422, "another title"));
            }
            request.saved_form().map(|parts| Response::text(parts.len().to_string()))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let client = testing::serve(Checks(folder.path().to_owned()));
    for (title, status, files) in [("A night", 422, vec![]), ("A day", 200, vec!["a-1.txt", "a.txt", "b"])] {
        let form = TestRequest::new(Method::POST, "/").with_header("content-type", "multipart/form-data; boundary=x");
        let sent = client.send(form.with_header("x-title", title).with_body(BODY));
        assert_eq!(
            (sent.status().as_u16(), names(folder.path())),
            (status, files.into_iter().map(str::to_owned).collect())
        );
    }
}

/// A request without a body gets an error that expects a form, but only from a handler that takes the form.
#[test]
fn no_form() {
    use crate::{BodyPlan, Http, Request, RequestHandler, Response};
    struct Takes;
    impl RequestHandler for Takes {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
            plan.save_form(request, FormDataLimits::default(), |_| Ok(PartPlan::keep()))
        }

        fn do_get(&self, _: &Request) -> Result<Response, Error> {
            Ok(Response::text(""))
        }

        fn do_post(&self, request: &Request) -> Result<Response, Error> {
            request.saved_form().map(|_| Response::text(""))
        }
    }
    let http = Http::new(Takes);
    let post = |content_type: &str| Request::post("/", "").with_header("content-type", content_type);
    for (request, expected) in [
        (Request::get("/"), 200),
        (Request::post("/", ""), 415),
        (post("text/plain"), 415),
        (post("multipart/form-data; boundary=x"), 400),
        (post("multipart/form-data"), 400),
    ] {
        let sent = http.respond(&request);
        assert_eq!(sent.status(), expected, "{request:?}: {sent:?}");
    }
}

/// A form in a request made by hand is saved as one that arrives.
#[test]
fn forms_made_by_hand() {
    use crate::{BodyPlan, Http, Request, RequestHandler, Response};
    struct Saves(std::path::PathBuf);
    impl RequestHandler for Saves {
        fn before_body(&self, request: &Request, plan: &mut BodyPlan) -> Result<(), Error> {
            let folder = self.0.clone();
            plan.save_form(request, FormDataLimits::default(), move |part| match part.name() {
                "f" => Ok(PartPlan::save_in(&folder)),
                "no" => Err(Error::new(StatusCode::CONFLICT, "not this")),
                _ => Ok(PartPlan::keep()),
            })
        }

        fn do_post(&self, request: &Request) -> Result<Response, Error> {
            let lengths: Vec<u64> = request.saved_form()?.iter().map(SavedPart::len).collect();
            Ok(Response::text(format!("{lengths:?}")))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let http = Http::new(Saves(folder.path().into()));
    let post = |body: &str| {
        let request = Request::post("/", body).with_header("content-type", "multipart/form-data; boundary=x");
        let sent = http.respond(&request);
        (sent.status().as_u16(), sent.text().to_owned())
    };
    for (body, status, left) in [
        (BODY[..BODY.len() - 3].to_owned(), 400, &[][..]),
        (BODY.replace("title", "no"), 409, &[]),
        (BODY.to_owned(), 200, &["a-1.txt", "a.txt"]),
    ] {
        let found = post(&body);
        assert_eq!(found.0, status, "{found:?}");
        assert!(status != 200 || found.1 == "[5, 13, 0, 7]", "{found:?}");
        assert_eq!(names(folder.path()), left, "{found:?}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn parts_do_not_depend_on_how_the_body_is_cut() {
    for size in (1..40).chain([100, 1000]) {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, saved) = sink(folder.path(), FormDataLimits::default());
        for piece in BODY.as_bytes().chunks(size) {
            sink.write_all(piece).unwrap();
            let visible = names(folder.path()).into_iter().find(|name| !name.starts_with(crate::new_file::PREFIX));
            assert_eq!(visible, None, "visible before the handler takes it, read {size} bytes at a time");
        }
        let _ = sink.end();
        drop(sink);
        let peeked = saved.peek().unwrap();
        assert!(peeked.iter().all(|part| part.path().is_none()));
        let visible = names(folder.path()).into_iter().find(|name| !name.starts_with(crate::new_file::PREFIX));
        assert_eq!(visible, None, "visible before the handler takes it");
        let parts = saved.take().unwrap();
        assert_eq!(
            peeked.iter().map(SavedPart::len).collect::<Vec<_>>(),
            parts.iter().map(SavedPart::len).collect::<Vec<_>>()
        );
        let of = |part: &SavedPart| (part.head().name().to_owned(), part.len(), part.path().is_some());
        let wanted = [("title", 5, false), ("f", 13, true), ("f", 0, true), ("skip", 7, false)];
        let wanted = wanted.map(|(name, length, is_file)| (name.to_owned(), length, is_file));
        assert_eq!(parts.iter().map(of).collect::<Vec<_>>(), wanted, "read {size} bytes at a time");
        assert_eq!(parts[0].text().unwrap(), "A day");
        assert_eq!(fs::read(parts[1].path().unwrap()).unwrap(), b"line\r\n--\r\n--y");
        let again = saved.take().unwrap();
        assert_eq!(
            again.iter().map(SavedPart::path).collect::<Vec<_>>(),
            parts.iter().map(SavedPart::path).collect::<Vec<_>>()
        );
        drop(saved);
        assert_eq!(names(folder.path()), ["a-1.txt", "a.txt"], "files that were taken out of the form must stay");
    }
}

/// Another program changes the folder while a form arrives. The form's files get their names if the handler takes them,
/// and another program's files stay in any case.
#[test]
fn a_form_removes_no_file_of_others() {
    type Meanwhile = fn(&Path);
    let nothing: Meanwhile = |_| {};
    let creates: Meanwhile = |folder| fs::write(folder.join("a.txt"), "other").unwrap();
    let replaces_folder: Meanwhile = |folder| {
        fs::rename(folder, folder.with_extension("old")).unwrap();
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("a.txt"), "other").unwrap();
    };
    let removes_everything: Meanwhile = |folder| fs::remove_dir_all(folder).unwrap();
    let make: fn(&Path) -> PartPlan = |folder| PartPlan::save(folder.join("a.txt"));
    let number: fn(&Path) -> PartPlan = |folder| PartPlan::save_in(folder);
    for (case, meanwhile, plan, taken, left) in [
        ("nothing", nothing, make, Err(409), &[][..]),
        ("nothing", nothing, number, Ok(()), &["a-1.txt", "a.txt"]),
        ("a name is taken", creates, make, Err(409), &["a.txt: other"]),
        ("a name is taken", creates, number, Ok(()), &["a-1.txt", "a-2.txt", "a.txt: other"]),
        ("the folder is replaced", replaces_folder, number, Ok(()), &["a-1.txt", "a-2.txt", "a.txt: other"]),
        ("the folder is replaced", replaces_folder, make, Err(409), &["a.txt: other"]),
        ("everything is removed", removes_everything, number, Err(500), &[]),
    ] {
        for takes in [true, false] {
            let top = tempfile::tempdir().unwrap();
            let folder = top.path().join("in");
            fs::create_dir(&folder).unwrap();
            let to = folder.clone();
            let planning = move |part: &PartHead| Ok(if part.name() == "f" { plan(&to) } else { PartPlan::skip() });
            let limits = FormDataLimits::default();
            let (mut sink, saved) =
                FormSink::new("multipart/form-data; boundary=x", limits, Box::new(planning)).unwrap();
            sink.write_all(BODY.as_bytes()).unwrap();
            let _ = sink.end();
            drop(sink);
            meanwhile(&folder);
            let found = takes.then(|| saved.take().map(drop).map_err(|error| error.status().as_u16()));
            drop(saved);
            let content = |name: &String| match fs::read_to_string(folder.join(name)).unwrap().as_str() {
                "other" => format!("{name}: other"),
                _ => name.clone(),
            };
            let names_in = |folder: &Path| if folder.exists() { names(folder) } else { Vec::new() };
            let there: Vec<_> = names_in(&folder).iter().map(content).collect();
            let expected: Vec<_> = match takes {
                true => left.to_vec(),
                false => left.iter().copied().filter(|name| name.ends_with("other")).collect(),
            };
            assert_eq!(
                (found, there),
                (takes.then_some(taken), expected.iter().map(|name| (*name).to_owned()).collect()),
                "{case}"
            );
            assert!(names_in(&top.path().join("in.old")).is_empty(), "{case}: something is left in the moved folder");
        }
    }
}

/// No file stays if the form is cut at any place, or if it is complete and no handler takes it.
#[test]
fn files_of_a_rejected_form_are_removed() {
    for end in 0..=BODY.len() {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, saved) = sink(folder.path(), FormDataLimits::default());
        sink.write_all(&BODY.as_bytes()[..end]).unwrap();
        let _ = sink.end();
        drop(sink);
        if end < BODY.len() {
            assert_eq!(saved.take().unwrap_err().status(), 400, "{end} bytes");
        }
        drop(saved);
        assert!(names(folder.path()).is_empty(), "{end} bytes: {:?}", names(folder.path()));
    }
}

#[test]
fn a_rejected_form_determines_the_response() {
    let small = FormDataLimits::default().field(4);
    let long = format!("filename=\"{}\"", "a".repeat(300));
    for (limits, body, status) in [
        (small, BODY.to_owned(), 413),
        (FormDataLimits::default().parts(4).head(400), BODY.replace("filename=\"a.txt\"", &long), 413),
        (FormDataLimits::default().parts(2), BODY.to_owned(), 413),
        (FormDataLimits::default(), BODY.replace("title", "no"), 409),
        (FormDataLimits::default(), BODY.replace("form-data; name=\"skip\"", "form-data"), 400),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut sink, saved) = sink(folder.path(), limits);
        let error = Error::from(sink.write_all(body.as_bytes()).unwrap_err());
        let _ = sink.end();
        drop(sink);
        assert_eq!(error.status(), status, "{body}");
        drop(saved);
        assert!(names(folder.path()).is_empty());
    }
}
