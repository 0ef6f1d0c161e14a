//! Changes of every kind of entry: files, folders, links of all kinds, and entries that are not served. Entries that no
//! client can see stay, and a link that is moved leads to the same file as before.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use modest::testing::serve;
use modest::{Method, Overwrite, Request, StaticFileHandler, Symlinks, Uploads};

use super::super::system::{fifo, way_of};
use super::super::{Folder, Got, at_once};
use super::{ask, tree};

fn changing(folder: &Path, symlinks: Symlinks) -> StaticFileHandler {
    let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
    StaticFileHandler::new(folder).unwrap().symlinks(symlinks).uploads(uploads).webdav(true)
}

/// Calls the handler without a server, because there are many cases.
fn call(handler: &StaticFileHandler, method: &str, target: &str, fields: &[(&str, &str)], body: &str) -> Got {
    let request = Request::new(method.parse::<Method>().unwrap(), target).unwrap();
    let request = fields.iter().fold(request, |request, (name, value)| request.with_header(name, *value));
    let has_body = matches!(method, "PUT" | "PROPPATCH");
    super::super::ask(handler, &if has_body { request.with_body(body) } else { request })
}

/// A method, a target, and fields.
type Change<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// How entries of one name are created, and the name.
const KINDS: &[(&str, &str)] = &[
    ("file", "x"),
    ("folder", "x"),
    ("link to a file", "x"),
    ("link to a folder", "x"),
    ("absolute link", "x"),
    ("link to nothing", "x"),
    ("link to itself", "x"),
    ("link to a file outside", "x"),
    ("link to a folder outside", "x"),
    ("link to a FIFO", "x"),
    ("FIFO", "x"),
    ("socket", "x"),
    ("file", ".x"),
    ("folder", ".x"),
    ("link to a file", ".x"),
];

fn make(kind: &str, folder: &Folder, outside: &Folder, at: &str) {
    let (path, up) = (folder.path(at), "../".repeat(at.matches('/').count()));
    let link = |to: &str| symlink(to, &path).unwrap();
    match kind {
        "file" => fs::write(path, "x").unwrap(),
        "folder" => fs::create_dir(path).unwrap(),
        "link to a file" => link(&format!("{up}kept/file")),
        "link to a folder" => link(&format!("{up}kept")),
        "absolute link" => symlink(folder.path("kept/file"), path).unwrap(),
        "link to nothing" => link("nothing"),
        "link to itself" => link(at.rsplit('/').next().unwrap()),
        "link to a file outside" => symlink(outside.path("kept/file"), path).unwrap(),
        "link to a folder outside" => symlink(outside.path("kept"), path).unwrap(),
        "link to a FIFO" => link(&format!("{up}fifo")),
        "FIFO" => fifo(path),
        _ => drop(UnixListener::bind(path).unwrap()),
    }
}

/// An entry that no request finds is neither replaced nor deleted by any request, alone or with the folder that it is
/// in. Any other entry is.
#[test]
fn entries_that_are_not_served_stay() {
    let to = |path| [("destination", path)];
    let (to_entry, to_box, to_new) = (to("/box/NAME"), to("/box"), to("/new"));
    let changes: &[Change<'_>] = &[
        ("DELETE", "/box/NAME", &[]),
        ("DELETE", "/box/NAME/", &[]),
        ("MOVE", "/box/NAME", &to_new),
        ("MOVE", "/src/file", &to_entry),
        ("MOVE", "/src", &to_entry),
        ("COPY", "/src/file", &to_entry),
        ("COPY", "/src", &to_entry),
        ("PUT", "/box/NAME", &[]),
        ("PUT", "/box/NAME?overwrite=rename", &[]),
        ("PROPPATCH", "/box/NAME", &[]),
        ("MKCOL", "/box/NAME", &[]),
        ("DELETE", "/box", &[]),
        ("MOVE", "/src/file", &to_box),
        ("MOVE", "/src", &to_box),
        ("COPY", "/src/file", &to_box),
        ("COPY", "/src", &to_box),
    ];
    at_once(KINDS.iter(), |(kind, name)| {
        for symlinks in [Symlinks::Deny, Symlinks::WithinRoot, Symlinks::Follow] {
            for (method, target, fields) in changes {
                let case = format!("{kind} {name} {symlinks:?} {method} {target} {fields:?}");
                let outside = Folder::new(&[("kept/file", "outside")]);
                let folder = Folder::new(&[("kept/file", "inside"), ("src/file", "src"), ("box/other", "")]);
                fifo(folder.path("fifo"));
                let path = folder.path("box").join(name);
                make(kind, &folder, &outside, &format!("box/{name}"));
                let handler = changing(folder.as_ref(), symlinks);
                let is_served = matches!(super::super::get(&handler, &format!("/box/{name}")).status, 200 | 301);
                let inode = || path.symlink_metadata().map(|found| found.ino()).ok();
                let before = (inode(), tree(&folder.path("box")));
                let target = target.replace("NAME", name);
                let fields: Vec<(&str, String)> =
                    fields.iter().map(|(field, value)| (*field, value.replace("NAME", name))).collect();
                let fields: Vec<(&str, &str)> = fields.iter().map(|(field, value)| (*field, value.as_str())).collect();
                let body = "<D:propertyupdate xmlns:D=\"DAV:\"><D:set><D:prop><x/></D:prop></D:set></D:propertyupdate>";
                let got = call(&handler, method, &target, &fields, body);
                let status = got.status;
                let replaces = matches!(*method, "MOVE" | "COPY") && fields[0].1 != "/new";
                let deletes = *method == "DELETE" && !target.ends_with("x/");
                if !is_served && !target.contains("rename") {
                    assert!(matches!(status, 403 | 404 | 405 | 409), "{case}: {got:?}");
                    assert_eq!((inode(), tree(&folder.path("box"))), before, "{case}");
                    assert!(folder.path("src/file").exists(), "{case}");
                    if replaces && !name.starts_with('.') {
                        assert_eq!(status, 409, "{case}: {got:?}");
                    }
                } else if is_served && (replaces || deletes) {
                    assert!(matches!(status, 201 | 204), "{case}: {got:?}");
                }
                let kept = |of: &Folder| fs::read_to_string(of.path("kept/file")).unwrap();
                assert_eq!([kept(&folder), kept(&outside)], ["inside", "outside"], "{case}: the target has changed");
                let hidden = tree(folder.as_ref()).into_iter().find(|path| path.contains(".modest-upload-"));
                assert_eq!(hidden, None, "{case}");
            }
        }
    });
}

/// The response to GET of each file and link, by path. For a link to a folder: of a file in it.
fn shown(handler: &StaticFileHandler, folder: &Path) -> BTreeMap<String, String> {
    let names = tree(folder).into_iter().filter_map(|name| Some(name.split_once('=')?.0.to_owned()));
    let get = |path: &str| {
        let got = super::super::get(handler, path);
        (got.status, if got.status == 200 { got.text() } else { String::new() })
    };
    let of = |name: &str| match get(&format!("/{name}")) {
        (301, _) => format!("folder {:?}", get(&format!("/{name}/f"))),
        got => format!("{got:?}"),
    };
    names.map(|name| (name.clone(), of(&name))).collect()
}

/// The responses for a path and everything below it.
fn below<'a>(at: &str, all: &'a BTreeMap<String, String>) -> BTreeMap<&'a str, &'a str> {
    let at = at.replace("by/", "p/"); // a link to the folder
    let rest = |path: &'a str| path.strip_prefix(&*at).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    all.iter().filter_map(|(path, got)| Some((rest(path)?, got.as_str()))).collect()
}

const FILES: &[(&str, &str)] =
    &[("f", ""), ("o/f", ""), ("o/.f", ""), ("p/f", ""), ("p/q/f", ""), ("p/q/o/f", ""), ("o/p/f", "")];

/// A folder whose files contain their own paths.
fn labelled() -> Folder {
    let folder = Folder::new(FILES);
    FILES.iter().for_each(|(path, _)| folder.write(path, path));
    folder
}

/// A link that is moved, alone or in a folder, leads to the same file afterwards. Otherwise nothing is moved. A move
/// that would change no link is never rejected for one.
#[test]
fn moved_links_lead_to_the_same_file() {
    let texts = [
        "f",
        "../f",
        "../o/f",
        "../../f",
        "q/f",
        "p/f",
        "../p/q/f",
        "../q/f",
        "../../o/.f",
        "../o",
        "nothing",
        "ROOT/p/f",
        "ROOT/o",
        "../l2",
        "LINK",
    ];
    let moves: &[(&str, &str)] = &[
        ("l", "l3"),
        ("l", "o/l"),
        ("l", "p/q/l"),
        ("l", "f"),
        ("p/l", "p/l3"),
        ("p/l", "l"),
        ("p/l", "o/l"),
        ("p/l", "p/q/l"),
        ("p/l", "p/f"),
        ("p/l", "p/q"),
        ("p/l", "by/l"),
        ("p/q/l", "p/l"),
        ("p/q/l", "l"),
        ("p/q/l", "p"),
        ("p", "r"),
        ("p", "o/r"),
        ("p/q", "q"),
        ("p/q", "o/q"),
        ("p/q", "o"),
        ("p/q", "p/r"),
        ("p", "o"),
        ("by", "p/by"),
        ("by/l", "l"),
    ];
    let (rejected, done) = (AtomicU32::new(0), AtomicU32::new(0));
    at_once(texts.into_iter(), |text| {
        for place in ["l", "p/l", "p/q/l"] {
            for (from, to) in moves.iter().filter(|(from, _)| place.starts_with(from) || from.starts_with("by")) {
                let case = format!("{place} -> {text}, MOVE {from} {to}");
                let build = || {
                    let folder = labelled();
                    let text = text.replace("ROOT", folder.path("").to_str().unwrap().trim_end_matches('/'));
                    symlink(text.replace("LINK", "l"), folder.path(place)).unwrap();
                    symlink("o/f", folder.path("l2")).unwrap();
                    symlink("p", folder.path("by")).unwrap();
                    folder
                };
                let folder = build();
                let handler = changing(folder.as_ref(), Symlinks::WithinRoot);
                let (before, names) = (shown(&handler, folder.as_ref()), tree(folder.as_ref()));
                let got = call(&handler, "MOVE", &format!("/{from}"), &[("destination", &format!("/{to}"))], "");
                let (after, status) = (shown(&handler, folder.as_ref()), got.status);
                if status < 300 {
                    done.fetch_add(1, Relaxed);
                    assert_eq!(below(to, &after), below(from, &before), "{case}: {got:?}");
                    continue;
                }
                rejected.fetch_add(1, Relaxed);
                assert!(matches!(status, 403 | 404 | 409), "{case}: {got:?}");
                assert_eq!(tree(folder.as_ref()), names, "{case}");
                // Would the same rename outside the server have left all links as they were?
                let other = build();
                let is_new = other.path(to).symlink_metadata().is_err();
                let is_served = below(from, &before).values().all(|got| !got.starts_with("(404"));
                if is_new && is_served && fs::rename(other.path(from), other.path(to)).is_ok() {
                    let other_handler = changing(other.as_ref(), Symlinks::WithinRoot);
                    let renamed = shown(&other_handler, other.as_ref());
                    assert_ne!(below(to, &renamed), below(from, &before), "{case}: {got:?}");
                }
            }
        }
    });
    let (rejected, done) = (rejected.into_inner(), done.into_inner());
    assert!(rejected > 20 && done > 100, "{rejected} {done}");
}

/// A link never shows what the user's rights or a hidden name forbid, because it was moved.
#[test]
fn no_move_of_a_link_shows_another_file() {
    use modest::RequestHandler;
    use modest::layers::{BasicAuth, PathRights};
    for (moved, destination, link) in [
        ("/w/a/cur", "/w/cur", "/w/cur"),
        ("/w/a", "/w/b", "/w/b/cur"), // the link stays as deep as it was
        ("/w/a/in", "/w/in", "/w/in/cur"),
        ("/w/a/in", "/w/a/b", "/w/a/b/cur"),
    ] {
        let folder = Folder::new(&[
            ("private/readme", "SECRET"),
            ("w/private/readme", "public"),
            ("w/a/in/x", ""),
            ("w/private/.env", "HIDDEN"),
        ]);
        symlink("../private/readme", folder.path("w/a/cur")).unwrap();
        symlink("../../private/readme", folder.path("w/a/in/cur")).unwrap();
        let rights = ["/=*:read,list", "/private=ada:all", "/w=eve:all"];
        let rights = rights.iter().fold(PathRights::new(), |rights, rule| rights.allow(rule.parse().unwrap()));
        let auth = BasicAuth::new("files").user("ada", "a").user("eve", "e").optional(true);
        let uploads = Uploads::new().delete(true);
        let server = serve(folder.handler().uploads(uploads).layer(rights).layer(auth));
        let eve = ("authorization", "Basic ZXZlOmU=");
        let get = |path: &str| ask(&server, "GET", path, &[eve], b"").text().to_owned();
        assert!(!get("/private/readme").contains("SECRET"));
        ask(&server, "MOVE", moved, &[eve, ("destination", destination)], b"");
        assert!(!get(link).contains("SECRET"), "{moved} {destination}");
    }
}

/// The page uses the URLs of the listing, in which all that leads to a folder has a slash. Only the link itself is
/// changed.
#[test]
fn entries_are_changed_by_their_urls_in_the_listing() {
    for (kind, has_slash) in [
        ("file", false),
        ("folder", true),
        ("link to a file", false),
        ("link to a folder", true),
        ("absolute link", false),
    ] {
        for method in ["DELETE", "MOVE"] {
            let (folder, outside) = (Folder::new(&[("kept/file", "kept")]), Folder::new(&[]));
            make(kind, &folder, &outside, "x");
            let handler = changing(folder.as_ref(), Symlinks::WithinRoot);
            let listing = call(&handler, "GET", "/", &[], "").text().to_owned();
            assert_eq!(listing.contains(r#"href="x/""#), has_slash, "{kind}: {listing}");
            let json = call(&handler, "GET", "/?format=json", &[], "").text().to_owned();
            assert_eq!(
                json.matches(r#","link":true,"size""#).count(),
                usize::from(kind.contains("link")),
                "{kind}: {json}"
            );
            assert_eq!(listing.contains("x/</a><td class=l>"), kind == "link to a folder", "{kind}: {listing}");
            let (listed, other) = if has_slash { ("/x/", "/x") } else { ("/x", "/x/") };
            let change = |target: &str| call(&handler, method, target, &[("destination", "/moved")], "").status;
            if !has_slash {
                assert_eq!(change(other), 404, "{method} {other}: {kind}");
            }
            assert_eq!(change(listed) / 100, 2, "{method} {listed}: {kind}");
            assert!(folder.path("x").symlink_metadata().is_err(), "{method}: {kind}");
            assert_eq!(fs::read(folder.path("kept/file")).unwrap(), b"kept", "{method}: {kind}");
        }
    }
}

/// A folder can be moved with links that cannot be followed, if the move does not change that.
#[test]
fn folders_with_links_can_be_moved() {
    for (text, to, expected) in [
        ("ROOT/f", "p", 201),
        ("/dev/null", "o/p", 201),
        ("nothing", "p", 201),
        ("nothing", "o/p", 201),
        ("../nothing", "p", 201),
        ("../nothing", "o/p", 409),
        ("in/x", "o/p", 201),
        ("./in/../in/x", "o/p", 201),
        ("../../x", "p", 201), // leads out of the folder, and to the same place
        ("../../x", "o/p", 409),
        ("../f", "p", 201),
        ("../f", "o/p", 409),
        ("../t/in/x", "p", 409),
        ("../p/in/x", "p", 409), // it would lead somewhere
    ] {
        let folder = Folder::new(&[("f", "f"), ("t/in/x", "x"), ("o/x", "")]);
        let text = text.replace("ROOT", folder.path("").to_str().unwrap().trim_end_matches('/'));
        symlink(&text, folder.path("t/link")).unwrap();
        let handler = changing(folder.as_ref(), Symlinks::WithinRoot);
        let got = call(&handler, "MOVE", "/t", &[("destination", &format!("/{to}"))], "");
        assert_eq!(got.status, expected, "{text} {to}: {}", got.text());
        assert_eq!(folder.path(to).join("in/x").exists(), expected == 201, "{text} {to}");
    }
}

/// A folder is deleted or replaced completely or not at all: an entry that can't be unlinked is found before
/// anything is removed. Needs the right to mount, and to change the attributes of files.
#[test]
fn nothing_is_removed_halfway() {
    if way_of("mounts in a folder that is deleted") != "statx" {
        return;
    }
    // A command for an entry of the folder, and the one that undoes it. OUT: an entry outside.
    let kinds: &[(&str, &[&str], &[&str])] = &[
        ("box/in/file", &["mount", "--bind", "OUT"], &["umount"]),
        ("box/in/deep", &["mount", "--bind", "OUT"], &["umount"]),
        ("box/in/file", &["chattr", "+i"], &["chattr", "-i"]),
        ("box/in/file", &["chattr", "+a"], &["chattr", "-a"]),
        ("box/in/deep", &["chattr", "+i"], &["chattr", "-i"]),
        ("box/in", &["chattr", "+i"], &["chattr", "-i"]),
        ("box/in", &["chattr", "+a"], &["chattr", "-a"]),
        ("box", &["chattr", "+i"], &["chattr", "-i"]),
        ("box", &["chattr", "+a"], &["chattr", "-a"]),
        // In a folder that a killed process has left behind.
        ("box/in/.modest-upload-removable-0123456789abcdef/deep", &["mount", "--bind", "OUT"], &["umount"]),
        ("box/in/.modest-upload-removable-0123456789abcdef/deep", &["chattr", "+i"], &["chattr", "-i"]),
    ];
    let to: &[(&str, &str)] = &[("destination", "/box")];
    let changes: &[Change<'_>] = &[
        ("DELETE", "/box", &[]),
        ("DELETE", "/box/in", &[]),
        ("MOVE", "/src", to),
        ("MOVE", "/src/file", to),
        ("COPY", "/src", to),
        ("COPY", "/src/file", to),
    ];
    for (entry, done, undone) in kinds {
        let outside = Folder::new(&[("file", "outside"), ("deep/x", "outside")]);
        let names: Vec<String> = (0..20).map(|number| format!("box/in/deep/{number}")).collect();
        let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        files.extend([("box/in/.modest-upload-removable-0123456789abcdef/deep/left", "")]);
        files.extend([("box/a", ""), ("box/in/file", "inside"), ("box/in/z", ""), ("src/file", "src")]);
        let folder = Folder::new(&files);
        let path = folder.path(entry);
        let run = |words: &[&str]| {
            let other = outside.path(entry.rsplit('/').next().unwrap());
            let words = words.iter().map(|word| if *word == "OUT" { other.clone() } else { word.into() });
            let words: Vec<_> = words.chain([path.clone()]).collect();
            Command::new(&words[0]).args(&words[1..]).output().is_ok_and(|output| output.status.success())
        };
        if !run(done) {
            eprintln!("skipped: {done:?} {entry} is not allowed here");
            continue;
        }
        let handler = changing(folder.as_ref(), Symlinks::WithinRoot);
        let before = tree(folder.as_ref());
        let seen: Vec<_> = changes
            .iter()
            .map(|(method, target, fields)| {
                (method, target, call(&handler, method, target, fields, "").status, tree(folder.as_ref()) == before)
            })
            .collect();
        assert!(run(undone), "{undone:?} {entry}");
        for (method, target, status, is_whole) in seen {
            assert!(
                matches!(status, 403 | 409) && is_whole,
                "{done:?} {entry}, {method} {target}: {status} {is_whole}"
            );
        }
        assert_eq!(call(&handler, "DELETE", "/box", &[], "").status, 204, "{done:?} {entry}, undone");
        assert_eq!(tree(outside.as_ref()), ["deep/", "deep/x=outside", "file=outside"], "{done:?} {entry}");
    }
}

/// An entry that a copy can't replace is found before anything is copied. The test needs the right to change attributes
/// of files, and a system that reports this attribute.
#[cfg(all(target_os = "linux", not(modest_portable)))]
#[test]
fn a_protected_destination_is_found_before_a_copy() {
    for (source, destination) in [("/src", "/box"), ("/src", "/file"), ("/src/large", "/box"), ("/src/large", "/file")]
    {
        let folder = Folder::new(&[("box/x", "x"), ("file", "f"), ("src/large", "larger than a file may be")]);
        let path = folder.path(&destination[1..]);
        let change = |how| Command::new("chattr").arg(how).arg(&path).output().is_ok_and(|done| done.status.success());
        if !change("+i") {
            return; // this user can't
        }
        let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true).max_size(4);
        let handler = folder.handler().webdav(true).uploads(uploads);
        let got = call(&handler, "COPY", source, &[("destination", destination)], "");
        assert!(change("-i"));
        assert_eq!(got.status, 409, "{source} {destination}: {}", got.text());
        let got = call(&handler, "COPY", source, &[("destination", destination)], "");
        assert_eq!(got.status, 413, "{source} {destination}, writable");
    }
}

/// A folder that contains only what a killed process has left there is empty for clients.
#[test]
fn a_folder_with_leftovers_only_is_deleted_as_empty() {
    const LEFT: &str = ".modest-upload-removable-0123456789abcdef";
    let depth: &[(&str, &str)] = &[("depth", "0")];
    for (webdav, fields) in [(true, depth), (true, &[]), (false, depth), (false, &[])] {
        let (left, inside) = (format!("empty/{LEFT}/deep/x"), format!("full/{LEFT}/x"));
        let folder = Folder::new(&[(left.as_str(), "x"), (inside.as_str(), "x"), ("full/kept", "kept")]);
        symlink("nowhere", folder.path("empty").join(LEFT.replace("abcdef", "fedcba"))).unwrap();
        let handler = folder.handler().webdav(webdav).uploads(Uploads::new().delete(true));
        let full = call(&handler, "DELETE", "/full", fields, "").status;
        assert_eq!(full, if webdav && fields.is_empty() { 204 } else { 409 }, "{webdav} {fields:?}");
        let got = call(&handler, "DELETE", "/empty", fields, "");
        assert_eq!(got.status, 204, "{webdav} {fields:?}: {}", got.text());
        assert!(!folder.path("empty").exists() && tree(folder.as_ref()).len() == if full == 204 { 0 } else { 4 });
    }
}

/// In a folder that takes two spellings for one name, a move can change the spelling. Two names of one file stay.
#[test]
fn the_spelling_of_a_name_can_be_changed() {
    for (name, other) in [("/file.txt", "/File.TXT"), ("/folder", "/FOLDER")] {
        for (webdav, overwrite) in [(true, "T"), (true, "F"), (false, "F")] {
            let folder = Folder::new(&[("file.txt", "x"), ("folder/y", "y")]);
            let ignores_case = folder.path(&other[1..]).exists();
            if !ignores_case && fs::hard_link(folder.path(&name[1..]), folder.path(&other[1..])).is_err() {
                continue;
            }
            let uploads = Uploads::new().overwrite(Overwrite::Replace).delete(true);
            let handler = folder.handler().webdav(webdav).uploads(uploads);
            let before = tree(folder.as_ref());
            let got = call(&handler, "MOVE", name, &[("destination", other), ("overwrite", overwrite)], "");
            assert_eq!(got.status, if ignores_case { 201 } else { 409 }, "{name} {overwrite}: {}", got.text());
            let mut expected = before;
            if ignores_case {
                expected.iter_mut().for_each(|one| *one = one.replace(&name[1..], &other[1..]));
                expected.sort();
            }
            assert_eq!(tree(folder.as_ref()), expected, "{name} {overwrite}");
        }
    }
}
