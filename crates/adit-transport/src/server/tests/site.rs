//! The site as a visitor sees it.

use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{HOST, PAGE, World};

#[tokio::test]
async fn a_page_has_a_type_a_length_and_validators() {
    let world = World::with_users(vec![]).await;
    let mut client = world.connect().await;
    let page = client.get("/").await;
    assert_eq!((page.status, page.body.as_slice()), (StatusCode::OK, PAGE.as_bytes()));
    assert_eq!(page.headers["content-type"], "text/html");
    assert_eq!(page.headers["content-length"], PAGE.len().to_string());
    assert_eq!(page.headers["accept-ranges"], "bytes");
    assert!(page.headers.contains_key("last-modified") && page.headers.contains_key("etag"));

    let tag = page.headers["etag"].clone();
    let again = Request::get(format!("https://{HOST}/")).header("if-none-match", tag).body(()).unwrap();
    let again = client.ask(again).await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let date = page.headers["last-modified"].clone();
    let again = Request::get(format!("https://{HOST}/")).header("if-modified-since", date).body(()).unwrap();
    assert_eq!(client.ask(again).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_range_is_answered_with_that_part() {
    let world = World::with_users(vec![]).await;
    let mut client = world.connect().await;
    let part = Request::get(format!("https://{HOST}/index.html")).header("range", "bytes=6-10").body(()).unwrap();
    let part = client.ask(part).await;
    assert_eq!((part.status, part.body.as_slice()), (StatusCode::PARTIAL_CONTENT, &PAGE.as_bytes()[6..=10]));
    let beyond = Request::get(format!("https://{HOST}/index.html")).header("range", "bytes=9999-").body(()).unwrap();
    assert_eq!(client.ask(beyond).await.status, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn text_is_compressed_for_those_who_take_it() {
    let world = World::with_users(vec![]).await;
    let mut client = world.connect().await;
    let plain = client.get("/style.css").await;
    let request =
        Request::get(format!("https://{HOST}/style.css")).header("accept-encoding", "gzip, br").body(()).unwrap();
    let packed = client.ask(request).await;
    assert_eq!(packed.headers["content-encoding"], "br");
    assert!(packed.body.len() < plain.body.len() / 2);
    assert_eq!(packed.headers["etag"], format!("W/{}", plain.headers["etag"].to_str().unwrap()));
    let again = Request::get(format!("https://{HOST}/style.css"))
        .header("accept-encoding", "br")
        .header("if-none-match", packed.headers["etag"].clone())
        .body(())
        .unwrap();
    assert_eq!(client.ask(again).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn what_is_not_there_has_a_page_which_may_be_the_owners() {
    let world = World::with_users(vec![]).await;
    let mut client = world.connect().await;
    let missing = client.get("/missing").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.body.starts_with(b"<!DOCTYPE html>"));
    std::fs::write(world.dir.0.join("404.html"), "gone fishing").unwrap();
    let missing = client.get("/missing").await;
    assert_eq!((missing.status, missing.body.as_slice()), (StatusCode::NOT_FOUND, &b"gone fishing"[..]));
}

#[tokio::test]
async fn no_path_leads_out_of_the_directory() {
    let world = World::with_users(vec![]).await;
    std::fs::write(world.dir.0.parent().unwrap().join("adit-outside.txt"), "secret").unwrap();
    let mut client = world.connect().await;
    for path in [
        "/../adit-outside.txt",
        "/%2e%2e/adit-outside.txt",
        "/sub/../../adit-outside.txt",
        "/..%2fadit-outside.txt",
        "//etc/passwd",
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    // Over HTTP/1.1 the path is not looked at by a client on the way.
    for path in ["/../adit-outside.txt", "/sub/../../adit-outside.txt"] {
        let answer = raw(&world, &format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }
    drop(std::fs::remove_file(world.dir.0.parent().unwrap().join("adit-outside.txt")));
}

#[tokio::test]
async fn other_methods_are_answered_as_a_site_of_files_does() {
    let world = World::with_users(vec![]).await;
    let mut client = world.connect().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "BREW"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request::builder().method(method).uri(format!("https://{HOST}/")).body(()).unwrap();
        let answer = client.ask(request).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.headers["allow"], "GET,HEAD");
    }
    let head = Request::head(format!("https://{HOST}/")).body(()).unwrap();
    let head = client.ask(head).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.headers["content-length"], PAGE.len().to_string());
}

#[tokio::test]
async fn http_1_1_has_the_same_site() {
    let world = World::with_users(vec![]).await;
    let answer = raw(&world, &format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(PAGE) && answer.contains("\r\ndate: "), "{answer}");
    let answer = raw(&world, &format!("GET / HTTP/1.0\r\nhost: {HOST}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let answer = raw(&world, "CONNECT a.test:443 HTTP/1.1\r\nhost: a.test:443\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = raw(&world, "rubbish\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

/// What a server says to these bytes over TLS, until it closes.
async fn raw(world: &World, request: &str) -> String {
    let mut tls = world.tls(b"http/1.1").await;
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A close without TLS's own farewell is an error here, and no matter.
    drop(tokio::time::timeout(Duration::from_secs(20), tls.read_to_end(&mut answer)).await.expect("an end"));
    String::from_utf8_lossy(&answer).into_owned()
}
