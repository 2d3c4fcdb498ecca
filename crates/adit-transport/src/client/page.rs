//! What a page of HTML makes a browser load: its style sheets, scripts and images of the same origin. Pure.
//!
//! Not a parser of HTML: it reads tags in order and understands three of them, which is all that is needed to ask for what
//! a browser would ask for.

use crate::tls::profile::Kind;

/// Bytes of a page that are looked at.
pub(super) const MAX_PAGE: usize = 256 << 10;
/// Parts of a page that are loaded.
pub(super) const MAX_PARTS: usize = 24;
/// The longest path that is asked for.
const MAX_PATH: usize = 1024;
/// What a browser asks for when the page does not name its icon.
pub(super) const ICON: &str = "/favicon.ico";

/// Something that a page needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) kind: Kind,
    pub(super) path: String,
}

/// The parts of a page at `/`, each once, in the order in which it names them, the icon last.
pub(super) fn parts(html: &[u8], authority: &str) -> Vec<Part> {
    let html = String::from_utf8_lossy(&html[..html.len().min(MAX_PAGE)]);
    let mut found: Vec<Part> = Vec::new();
    let mut icon = ICON.to_owned();
    for tag in Tags(&html) {
        let (name, attributes) = tag.split_once(|c: char| c.is_ascii_whitespace() || c == '/').unwrap_or((tag, ""));
        let wanted = match name.to_ascii_lowercase().as_str() {
            "script" => attribute(attributes, "src").map(|url| (Kind::Script, url)),
            "img" => attribute(attributes, "src").map(|url| (Kind::Image, url)),
            "link" => link(attributes),
            _ => None,
        };
        let Some((kind, path)) = wanted.and_then(|(kind, url)| Some((kind, same_origin(&url, authority)?))) else {
            continue;
        };
        if kind == Kind::Icon {
            icon = path;
        } else if found.len() < MAX_PARTS && !found.iter().any(|part| part.path == path) {
            found.push(Part { kind, path });
        }
    }
    found.push(Part { kind: Kind::Icon, path: icon });
    found
}

fn link(attributes: &str) -> Option<(Kind, String)> {
    let rel = attribute(attributes, "rel")?.to_ascii_lowercase();
    let kind = rel.split_ascii_whitespace().find_map(|word| match word {
        "stylesheet" => Some(Kind::Style),
        "icon" => Some(Kind::Icon),
        _ => None,
    })?;
    Some((kind, attribute(attributes, "href")?))
}

/// The path of a URL, if it is at the page's own origin.
fn same_origin(url: &str, authority: &str) -> Option<String> {
    let url = url.trim().replace("&amp;", "&");
    let url = url.split('#').next()?;
    let there = url.strip_prefix("https:").unwrap_or(url);
    let path = match there.strip_prefix("//") {
        Some(rest) => rest.strip_prefix(authority).filter(|path| path.is_empty() || path.starts_with(['/', '?']))?,
        None if there.len() < url.len() || has_scheme(url) => return None,
        None => there,
    };
    let path = path.trim_start_matches("./");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic()) && !path.contains("/../");
    (path.len() > 1 && path.len() <= MAX_PATH && is_plain).then_some(path)
}

/// Whether a URL begins with a scheme: `data:`, `http:` and the like.
fn has_scheme(url: &str) -> bool {
    let end = url.find([':', '/', '?']).unwrap_or(url.len());
    url[end..].starts_with(':')
}

/// An attribute's value, quoted or not.
fn attribute(attributes: &str, name: &str) -> Option<String> {
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '=').unwrap_or(rest.len());
        let found = &rest[..end];
        let after = rest[end..].trim_start();
        let (value, left) = match after.strip_prefix('=').map(str::trim_start) {
            None => ("", after),
            Some(value) => match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
                _ => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
            },
        };
        if found.eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        if left.is_empty() {
            return None;
        }
        rest = if left.len() < rest.len() { left } else { return None };
    }
}

/// The insides of tags, without comments and the contents of scripts.
struct Tags<'a>(&'a str);

impl<'a> Iterator for Tags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            let (_, rest) = self.0.split_once('<')?;
            if let Some(comment) = rest.strip_prefix("!--") {
                self.0 = comment.split_once("-->")?.1;
                continue;
            }
            let (tag, rest) = rest.split_once('>')?;
            let is_script = tag.get(..6).is_some_and(|name| name.eq_ignore_ascii_case("script"));
            // What is inside is no HTML.
            self.0 = if is_script { &rest[rest.find("</").unwrap_or(0)..] } else { rest };
            return Some(tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_loaded_as_a_browser_would() {
        let html = r#"<!doctype html><HTML><head><!-- <script src="/no.js"> -->
            <link rel=stylesheet href=/a.css><LINK href='style/b.css?v=1&amp;w=2' rel="alternate stylesheet">
            <link rel="icon" href="/icon.svg"><link rel=preconnect href="https://other.test">
            <script defer src="https://example.test/c.js"></script><script>if (a < b) { "<img src=/no.png>" }</script>
            </head><body><img alt="x > y" src='//example.test/d.png'/><img src=e.png#frag><img src="/a.css">
            <img src="data:image/png;base64,xx"><img src="https://other.test/no.png"><img src="http://example.test/no.png">
            <img src="//example.test.evil/no.png"><img src="/../no"><img srcset=x></body>"#;
        let got: Vec<_> = parts(html.as_bytes(), "example.test").into_iter().map(|p| (p.kind, p.path)).collect();
        let want = [
            (Kind::Style, "/a.css"),
            (Kind::Style, "/style/b.css?v=1&w=2"),
            (Kind::Script, "/c.js"),
            (Kind::Image, "/e.png"),
            (Kind::Icon, "/icon.svg"),
        ];
        // A `>` inside quotes ends the tag here; its image is not loaded.
        assert_eq!(got, want.map(|(kind, path)| (kind, path.to_owned())));
    }

    #[test]
    fn a_page_that_names_thousands_of_parts_gets_a_few() {
        let html: String = (0..5000).map(|n| format!("<img src=/{n}.png>")).collect();
        let got = parts(html.as_bytes(), "example.test");
        assert_eq!(got.len(), MAX_PARTS + 1);
        assert_eq!(got.last().unwrap().path, ICON);
    }

    proptest! {
        #[test]
        fn noise_is_survived(html in "[<>=\"' a-z/!-]{0,300}|.{0,200}") {
            prop_assert!(parts(html.as_bytes(), "example.test").len() <= MAX_PARTS + 1);
        }
    }
}
