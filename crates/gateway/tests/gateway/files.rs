//! Static files: what is there, how it may be cached, and what is not reachable.

use crate::harness::*;
use mainstay_gateway::Running;
use std::fs;
use std::path::PathBuf;

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random");
        let path = std::env::temp_dir().join(format!("mainstay-{name}-{:x}", u64::from_ne_bytes(random)));
        fs::create_dir_all(path.join("public/docs")).expect("a folder");
        let put = |name: &str, content: &[u8]| fs::write(path.join(name), content).expect("a file");
        put("secret.txt", b"outside");
        put("public/index.html", b"<h1>shop</h1>");
        put("public/docs/index.html", b"<h1>docs</h1>");
        put("public/app.js", "let a = 1;\n".repeat(500).as_bytes());
        put("public/app.3f9a1c2b.js", b"let b = 2;");
        put("public/data.bin", b"0123456789");
        put("public/.env", b"SECRET=1");
        put("public/a b.txt", b"blank");
        fs::create_dir_all(path.join("public/.git")).expect("a folder");
        put("public/.git/config", b"hidden");
        Folder(path)
    }

    fn serve(&self, change: impl FnOnce(&mut mainstay_gateway::Config)) -> Running {
        let mut config = config(vec![]);
        config.public_dir = Some(self.0.join("public"));
        change(&mut config);
        start(config)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_come_with_their_type_and_how_long_they_last() {
    let folder = Folder::new("types");
    let gateway = folder.serve(|_| {});
    let mut wire = Wire::connect(&gateway);
    for (path, kind, cache, body) in [
        (
            "/",
            "text/html; charset=utf-8",
            "public, max-age=0, must-revalidate",
            "<h1>shop</h1>",
        ),
        (
            "/index.html",
            "text/html; charset=utf-8",
            "public, max-age=0, must-revalidate",
            "<h1>shop</h1>",
        ),
        (
            "/docs/",
            "text/html; charset=utf-8",
            "public, max-age=0, must-revalidate",
            "<h1>docs</h1>",
        ),
        (
            "/app.3f9a1c2b.js",
            "text/javascript; charset=utf-8",
            "public, max-age=31536000, immutable",
            "let b = 2;",
        ),
        (
            "/data.bin",
            "application/octet-stream",
            "public, max-age=60, must-revalidate",
            "0123456789",
        ),
        (
            "/a%20b.txt?x=y",
            "text/plain; charset=utf-8",
            "public, max-age=60, must-revalidate",
            "blank",
        ),
    ] {
        for _ in 0..2 {
            let answer = wire.ask("GET", path, &[]);
            assert_eq!((answer.status, answer.text().as_str()), (200, body), "{path}");
            assert_eq!(answer.field("content-type").as_deref(), Some(kind), "{path}");
            assert_eq!(answer.field("cache-control").as_deref(), Some(cache), "{path}");
            assert!(answer.field("etag").is_some() && answer.field("last-modified").is_some());
        }
        let head = wire.ask("HEAD", path, &[]);
        assert_eq!(
            (head.status, head.field("content-length")),
            (200, Some(body.len().to_string())),
            "{path}"
        );
    }
    let folder_without_slash = wire.ask("GET", "/docs", &[]);
    assert_eq!(
        (
            folder_without_slash.status,
            folder_without_slash.field("location").as_deref()
        ),
        (308, Some("/docs/"))
    );
    for method in ["POST", "PUT", "DELETE"] {
        let answer = wire.ask(method, "/app.js", &[]);
        assert_eq!((answer.status, answer.code().as_str()), (405, "GW202"), "{method}");
        assert_eq!(answer.field("allow").as_deref(), Some("GET, HEAD, OPTIONS"));
    }
}

#[test]
fn nothing_outside_and_nothing_hidden_is_reachable() {
    let folder = Folder::new("escape");
    let root = folder.0.join("public");
    std::os::unix::fs::symlink("../secret.txt", root.join("link.txt")).expect("a link");
    std::os::unix::fs::symlink("..", root.join("up")).expect("a link");
    std::os::unix::fs::symlink(".env", root.join("shown.txt")).expect("a link");
    std::os::unix::fs::symlink("data.bin", root.join("fine.bin")).expect("a link");
    let gateway = folder.serve(|_| {});
    for (path, status) in [
        ("/../secret.txt", 400),
        ("/%2e%2e/secret.txt", 400),
        ("/docs/..%2f..%2fsecret.txt", 400),
        ("/docs%5c..%5c..%5csecret.txt", 400),
        ("/link.txt", 404),
        ("/up/secret.txt", 404),
        ("/.env", 404),
        ("/%2eenv", 404),
        ("/shown.txt", 404),
        ("/.git/config", 404),
        ("/docs%2Findex.html", 404),
        ("/data.bin/", 404),
        ("/nothing", 404),
        ("/fine.bin", 200),
    ] {
        let answer = get(&gateway, path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(
            !answer.text().contains("outside") && !answer.text().contains("SECRET"),
            "{path}"
        );
    }
}

#[test]
fn conditions_and_ranges_are_answered() {
    let folder = Folder::new("ranges");
    // Both ways of serving: from memory, and as it is read.
    for in_memory in [true, false] {
        let gateway = folder.serve(|c| c.limits.file_memory_max = if in_memory { 1 << 20 } else { 0 });
        let mut wire = Wire::connect(&gateway);
        let whole = wire.ask("GET", "/data.bin", &[]);
        assert_eq!(
            (whole.text().as_str(), whole.field("accept-ranges").as_deref()),
            ("0123456789", Some("bytes"))
        );
        let tag = whole.field("etag").expect("a tag");
        let date = whole.field("last-modified").expect("a date");
        for (fields, status, body, range) in [
            (vec![("Range", "bytes=2-4")], 206, "234", Some("bytes 2-4/10")),
            (vec![("Range", "bytes=-3")], 206, "789", Some("bytes 7-9/10")),
            (vec![("Range", "bytes=8-")], 206, "89", Some("bytes 8-9/10")),
            (
                vec![("Range", "bytes=8-"), ("If-Range", tag.as_str())],
                206,
                "89",
                Some("bytes 8-9/10"),
            ),
            (
                vec![("Range", "bytes=8-"), ("If-Range", "\"other\"")],
                200,
                "0123456789",
                None,
            ),
            (vec![("Range", "bytes=0-1,4-5")], 200, "0123456789", None),
            (vec![("If-None-Match", tag.as_str())], 304, "", None),
            (vec![("If-None-Match", "\"other\"")], 200, "0123456789", None),
            (vec![("If-Modified-Since", date.as_str())], 304, "", None),
            (vec![("If-Match", "\"other\"")], 412, "", None),
        ] {
            let answer = wire.ask("GET", "/data.bin", &fields);
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (status, body),
                "{fields:?}, in memory: {in_memory}"
            );
            assert_eq!(answer.field("content-range").as_deref(), range, "{fields:?}");
            if status == 304 {
                assert_eq!(answer.field("etag").as_ref(), Some(&tag));
            }
        }
        let outside = wire.ask("GET", "/data.bin", &[("Range", "bytes=10-")]);
        assert_eq!((outside.status, outside.code().as_str()), (416, "GW702"));
        assert_eq!(outside.field("content-range").as_deref(), Some("bytes */10"));
        let head = wire.ask("HEAD", "/data.bin", &[("Range", "bytes=2-4")]);
        assert_eq!(
            (head.status, head.field("content-length").as_deref()),
            (200, Some("10")),
            "ranges are for GET"
        );
    }
}

#[test]
fn compressed_files_are_another_representation() {
    let folder = Folder::new("gzip");
    let gateway = folder.serve(|_| {});
    let mut wire = Wire::connect(&gateway);
    let plain = wire.ask("GET", "/app.js", &[]);
    let packed = wire.ask("GET", "/app.js", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!(
        (packed.status, packed.field("content-encoding").as_deref()),
        (200, Some("gzip"))
    );
    assert_eq!(
        (plain.field("vary").as_deref(), packed.field("vary").as_deref()),
        (Some("Accept-Encoding"), Some("Accept-Encoding"))
    );
    assert_eq!(packed.field("etag"), plain.field("etag").map(|tag| format!("W/{tag}")));
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).expect("gzip");
    assert_eq!(unpacked, plain.body);
    assert!(packed.body.len() < plain.body.len() / 5);
    let again = packed.field("etag").expect("a tag");
    assert_eq!(
        wire.ask(
            "GET",
            "/app.js",
            &[("If-None-Match", &again), ("Accept-Encoding", "gzip")]
        )
        .status,
        304
    );
    let part = wire.ask("GET", "/app.js", &[("Accept-Encoding", "gzip"), ("Range", "bytes=0-3")]);
    assert_eq!(
        (part.status, part.text().as_str(), part.field("content-encoding")),
        (206, "let ", None)
    );
}

#[test]
fn an_edited_file_is_seen_and_large_ones_arrive_whole() {
    let folder = Folder::new("edit");
    let gateway = folder.serve(|_| {});
    let first = get(&gateway, "/data.bin");
    fs::write(folder.0.join("public/data.bin"), b"changed").expect("a file");
    let mut latest = String::new();
    eventually("the new bytes are served", || {
        latest = get(&gateway, "/data.bin").text();
        latest != first.text()
    });
    assert_eq!(latest, "changed");
    fs::remove_file(folder.0.join("public/data.bin")).expect("removed");
    eventually("and so is its end", || get(&gateway, "/data.bin").status == 404);
    let large: Vec<u8> = (0..5u32 << 20).map(|i| (i % 251) as u8).collect();
    fs::write(folder.0.join("public/large.bin"), &large).expect("a file");
    assert!(get(&gateway, "/large.bin").body == large);
    let part = ask(&gateway, "GET", "/large.bin", &[("Range", "bytes=3000000-4000000")]);
    assert!(part.body == large[3_000_000..=4_000_000]);
    // Another in its place is another answer, whole and under a tag of its own, however soon.
    let before = get(&gateway, "/large.bin").field("etag");
    let other = vec![b'y'; 6 << 20];
    fs::write(folder.0.join("other"), &other).expect("a file");
    fs::rename(folder.0.join("other"), folder.0.join("public/large.bin")).expect("renamed");
    let after = get(&gateway, "/large.bin");
    assert!(after.body == other && after.field("etag") != before);
}

#[test]
fn a_folder_is_led_to_with_its_query() {
    let folder = Folder::new("led");
    fs::create_dir_all(folder.0.join("public/100%")).expect("a folder");
    fs::write(folder.0.join("public/100%/index.html"), "all").expect("a file");
    let gateway = folder.serve(|_| {});
    let answer = get(&gateway, "/100%25?x=1");
    assert_eq!(
        (answer.status, answer.field("location").as_deref()),
        (308, Some("/100%25/?x=1"))
    );
    assert_eq!(get(&gateway, "/100%25/?x=1").text(), "all");
}

#[test]
fn every_form_of_an_answer_says_what_it_depends_on() {
    let folder = Folder::new("varies");
    let gateway = folder.serve(|_| {});
    let gzip = ("Accept-Encoding", "gzip");
    let whole = ask(&gateway, "GET", "/app.js", &[gzip]);
    let tag = whole.field("etag").expect("a tag");
    assert!(tag.starts_with("W/"), "{tag}");
    for (method, fields, status) in [
        ("GET", vec![gzip, ("If-None-Match", tag.as_str())], 304),
        ("HEAD", vec![gzip], 200),
        ("GET", vec![gzip, ("Range", "bytes=0-3")], 206),
        ("GET", vec![], 200),
    ] {
        let answer = ask(&gateway, method, "/app.js", &fields);
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.field("vary").as_deref(),
            Some("Accept-Encoding"),
            "{method} {fields:?}"
        );
        if matches!(status, 304) || method == "HEAD" {
            assert_eq!(answer.field("etag").as_deref(), Some(&*tag), "{method} {fields:?}");
        }
    }
}
