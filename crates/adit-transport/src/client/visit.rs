//! Loads the page of the web site and its parts first, as a browser does, on the connection that will carry the tunnel.
//!
//! Not here: which parts a page has (`page`), what is remembered of them (`cache`).

use std::io;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use super::cache::{Cache, Entry};
use super::inflate::inflate;
use super::page::{MAX_PAGE, Part, parts};
use super::request::Asker;
use super::wire::Wire;
use crate::h2::{Event, Field, StreamId};
use crate::tls::profile::Kind;

/// The page that is visited.
const PAGE: &str = "/";

/// An answer on its way.
#[derive(Debug)]
struct Loading {
    stream: StreamId,
    entry: Entry,
    status: String,
    is_html: bool,
    encoding: String,
    date: Option<SystemTime>,
    /// For how long a cache on the way has had the answer.
    age: Duration,
    /// Kept of a page only.
    body: Option<BytesMut>,
}

/// Visits the site. Whatever the site answers is fine; only a connection that breaks is an error. Gives what time it is by
/// the server's clock, if it said so: nothing when today's visit is left out.
pub(super) async fn visit<S>(
    wire: &mut Wire<S>,
    asker: Asker<'_>,
    cache: &mut Cache,
    now: SystemTime,
) -> io::Result<Option<SystemTime>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if cache.left(now) == 0 && cache.entry(PAGE).is_none() {
        return Ok(None);
    }
    let Some(page) = ask(wire, asker, cache, Kind::Document, PAGE) else { return Ok(None) };
    let page = load(wire, cache, vec![page], now).await?.pop();
    let date = page.as_ref().and_then(Loading::time);
    let needs = page.map(|page| needs(page, cache, asker.authority)).unwrap_or_default();
    let asked = needs.iter().filter_map(|Part { kind, path }| {
        let may = cache.left(now) > 0 || cache.entry(path).is_some();
        may.then(|| ask(wire, asker, cache, *kind, path))?
    });
    let asked = asked.collect();
    load(wire, cache, asked, now).await?;
    Ok(date)
}

/// Sends a request, unless the server takes none.
fn ask<S>(wire: &mut Wire<S>, asker: Asker<'_>, cache: &Cache, kind: Kind, path: &str) -> Option<Loading> {
    let known = cache.entry(path).cloned().unwrap_or_default();
    let stream = asker.get(&mut wire.connection, kind, path, &known.validators()).ok()?;
    Some(Loading {
        stream,
        entry: Entry { path: path.into(), ..Entry::default() },
        status: String::new(),
        is_html: false,
        encoding: String::new(),
        date: None,
        age: Duration::ZERO,
        body: (kind == Kind::Document).then(BytesMut::new),
    })
}

/// Waits until all answers are there, or were given up because they are too long for today.
async fn load<S>(
    wire: &mut Wire<S>,
    cache: &mut Cache,
    mut waiting: Vec<Loading>,
    now: SystemTime,
) -> io::Result<Vec<Loading>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut loaded = Vec::new();
    while !waiting.is_empty() {
        let (stream, end) = match wire.event().await? {
            Event::Head { stream, fields, end } => {
                if let Some(one) = waiting.iter_mut().find(|one| one.stream == stream) {
                    one.head(fields);
                }
                if end {
                    // As measured: an answer without a body is dealt with by a reset.
                    wire.connection.cancel(stream);
                }
                (stream, end)
            }
            Event::Data { stream, bytes, end } => {
                cache.used(bytes.len() as u64);
                if let Some(one) = waiting.iter_mut().find(|one| one.stream == stream) {
                    one.data(&bytes);
                }
                let enough = !end && cache.left(now) == 0;
                if enough {
                    wire.connection.cancel(stream);
                }
                (stream, end || enough)
            }
            Event::Reset { stream, .. } => (stream, true),
            Event::GoAway { .. } => return Err(io::Error::other("the server closes the connection")),
            Event::Settings | Event::Pong => continue,
        };
        if end && let Some(place) = waiting.iter().position(|one| one.stream == stream) {
            let one = waiting.swap_remove(place);
            if one.status == "200" && one.body.is_none() {
                cache.remember(one.entry.clone());
            }
            loaded.push(one);
        }
    }
    wire.flush().await?;
    Ok(loaded)
}

/// What a page that was loaded, or has not changed, consists of.
fn needs(mut page: Loading, cache: &mut Cache, authority: &str) -> Vec<Part> {
    if page.status == "304" {
        return cache.entry(PAGE).map(Entry::parts).unwrap_or_default();
    }
    let body = page.body.unwrap_or_default();
    let needs = match inflate(&page.encoding, &body, MAX_PAGE) {
        Some(html) if page.is_html => parts(&html, authority),
        _ => Vec::new(),
    };
    if page.status == "200" {
        page.entry.set_parts(&needs);
        cache.remember(page.entry);
    }
    needs
}

impl Loading {
    fn head(&mut self, fields: Vec<Field>) {
        for Field { name, value } in fields {
            match name.as_str() {
                ":status" => self.status = value,
                "etag" => self.entry.etag = Some(value),
                "last-modified" => self.entry.last_modified = Some(value),
                "content-type" => self.is_html = value.starts_with("text/html"),
                "content-encoding" => self.encoding = value,
                "age" => self.age = value.parse().map_or(Duration::ZERO, |age: u32| Duration::from_secs(age.into())),
                "date" => self.date = httpdate::parse_http_date(&value).ok(),
                _ => {}
            }
        }
    }

    /// What time it was there when the answer left: it may have been kept on the way (RFC 9111 §4.2.3).
    fn time(&self) -> Option<SystemTime> {
        self.date?.checked_add(self.age)
    }

    fn data(&mut self, bytes: &[u8]) {
        if let Some(body) = &mut self.body {
            let room = MAX_PAGE - body.len().min(MAX_PAGE);
            body.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_answer_that_a_cache_had_is_later_than_its_date() {
        let answer = |fields: &[(&str, &str)]| {
            let mut page = Loading {
                stream: 1,
                entry: Entry::default(),
                status: String::new(),
                is_html: false,
                encoding: String::new(),
                date: None,
                age: Duration::ZERO,
                body: None,
            };
            let field = |(name, value): &(&str, &str)| Field { name: (*name).into(), value: (*value).into() };
            page.head(fields.iter().map(field).collect());
            page.time()
        };
        let date = ("date", "Thu, 01 Jan 1970 00:01:00 GMT");
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(answer(&[date]), at(60));
        assert_eq!(answer(&[date, ("age", "40")]), at(100));
        assert_eq!(answer(&[date, ("age", "-4")]), at(60));
        assert_eq!(answer(&[("date", "yesterday")]), None);
    }
}
