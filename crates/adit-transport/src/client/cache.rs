//! What the client remembers of the pages it visited, so that it loads them as seldom as a browser would.
//!
//! Only validators and what a page consists of, never contents. Kept on disk if there is a place for it. Not here: loading
//! (`visit`).

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::page::Part;
use crate::tls::profile::Kind;

/// Bytes of pages that are loaded in a day; what is unchanged costs next to nothing.
pub(super) const PER_DAY: u64 = 300_000;
/// Pages and parts that are remembered.
const MAX_ENTRIES: usize = 64;
/// The longest validator that is kept.
const MAX_VALIDATOR: usize = 256;
/// The largest file that is read.
const MAX_FILE: u64 = 256 << 10;
const DAY: u64 = 24 * 3600;

/// The memory of one site.
#[derive(Debug, Default)]
pub(super) struct Cache {
    file: Option<PathBuf>,
    kept: Kept,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// Days since 1970, of which `used` tells.
    day: u64,
    used: u64,
    #[serde(default)]
    entry: Vec<Entry>,
}

/// What is remembered of a page or part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    /// The parts of a page.
    #[serde(default)]
    pub(super) parts: Vec<(String, String)>,
}

const KINDS: [(Kind, &str); 4] =
    [(Kind::Style, "style"), (Kind::Script, "script"), (Kind::Image, "image"), (Kind::Icon, "icon")];

impl Cache {
    /// What was remembered in this directory of this site. A file that cannot be read is as good as none.
    pub(super) async fn open(directory: Option<&Path>, authority: &str) -> Self {
        let name: String =
            authority.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let Some(file) = directory.map(|directory| directory.join(format!("{}.toml", name.trim_matches('.')))) else {
            return Self::default();
        };
        let kept = match tokio::fs::metadata(&file).await {
            Ok(found) if found.len() <= MAX_FILE => tokio::fs::read_to_string(&file).await.unwrap_or_default(),
            _ => String::new(),
        };
        let mut kept: Kept = toml::from_str(&kept).unwrap_or_default();
        kept.entry.truncate(MAX_ENTRIES);
        Self { file: Some(file), kept }
    }

    /// Writes it down. That fails without harm: more will be loaded the next time.
    pub(super) async fn save(&self) {
        let (Some(file), Ok(text)) = (&self.file, toml::to_string(&self.kept)) else { return };
        let new = file.with_extension("new");
        let saved = async {
            if let Some(directory) = file.parent() {
                tokio::fs::create_dir_all(directory).await?;
            }
            tokio::fs::write(&new, text).await?;
            tokio::fs::rename(&new, file).await
        };
        if let Err(error) = saved.await {
            tracing::debug!(%error, file = %file.display(), "what was seen of the site is not kept");
        }
    }

    /// Bytes that may still be loaded today.
    pub(super) fn left(&mut self, now: SystemTime) -> u64 {
        let day = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / DAY);
        if day != self.kept.day {
            (self.kept.day, self.kept.used) = (day, 0);
        }
        PER_DAY.saturating_sub(self.kept.used)
    }

    /// So many bytes were loaded.
    pub(super) fn used(&mut self, bytes: u64) {
        self.kept.used = self.kept.used.saturating_add(bytes);
    }

    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.kept.entry.iter().find(|entry| entry.path == path)
    }

    /// Remembers what an answer said of itself; the oldest entry goes when there are too many.
    pub(super) fn remember(&mut self, mut entry: Entry) {
        let short = |text: &String| text.len() <= MAX_VALIDATOR && text.bytes().all(|b| (0x20..0x7f).contains(&b));
        entry.etag = entry.etag.filter(short);
        entry.last_modified = entry.last_modified.filter(short);
        self.kept.entry.retain(|known| known.path != entry.path);
        if entry.etag.is_some() || entry.last_modified.is_some() {
            if self.kept.entry.len() == MAX_ENTRIES {
                self.kept.entry.remove(0);
            }
            self.kept.entry.push(entry);
        }
    }
}

impl Entry {
    /// The headers that ask for it only if it has changed, in a browser's order.
    pub(super) fn validators(&self) -> Vec<(&str, &str)> {
        let etag = self.etag.as_deref().map(|value| ("if-none-match", value));
        let date = self.last_modified.as_deref().map(|value| ("if-modified-since", value));
        etag.into_iter().chain(date).collect()
    }

    pub(super) fn set_parts(&mut self, parts: &[Part]) {
        let name = |kind| KINDS.iter().find(|(known, _)| *known == kind).map(|(_, name)| (*name).to_owned());
        self.parts = parts.iter().filter_map(|part| Some((name(part.kind)?, part.path.clone()))).collect();
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        let kind = |name: &str| KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind);
        let parts = self.parts.iter().take(super::page::MAX_PARTS + 1);
        parts.filter_map(|(name, path)| Some(Part { kind: kind(name)?, path: path.clone() })).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_is_saved_is_there_the_next_time() {
        let directory = std::env::temp_dir().join(format!("adit-cache-{}", std::process::id()));
        let mut cache = Cache::open(Some(&directory), "example.test:8443").await;
        let mut page = entry("/", "\"one\"");
        page.set_parts(&[Part { kind: Kind::Style, path: "/a.css".into() }]);
        cache.remember(page.clone());
        cache.left(at_day(10));
        cache.used(1000);
        cache.save().await;

        let mut again = Cache::open(Some(&directory), "example.test:8443").await;
        assert_eq!(again.entry("/"), Some(&page));
        assert_eq!(again.entry("/").unwrap().parts(), [Part { kind: Kind::Style, path: "/a.css".into() }]);
        assert_eq!(again.left(at_day(10)), PER_DAY - 1000);
        assert_eq!(again.left(at_day(11)), PER_DAY);
        assert!(Cache::open(Some(&directory), "../other").await.entry("/").is_none());

        std::fs::write(directory.join("example.test-8443.toml"), "= broken").unwrap();
        assert!(Cache::open(Some(&directory), "example.test:8443").await.entry("/").is_none());
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn entries_and_validators_are_bounded() {
        let mut cache = Cache::default();
        for n in 0..1000 {
            cache.remember(entry(&format!("/{n}"), "\"x\""));
        }
        assert_eq!(cache.kept.entry.len(), MAX_ENTRIES);
        assert!(cache.entry("/0").is_none() && cache.entry("/999").is_some());
        for bad in ["x".repeat(MAX_VALIDATOR + 1), "new\r\nline".to_owned()] {
            cache.remember(entry("/999", &bad));
            assert!(cache.entry("/999").is_none());
        }
    }

    fn entry(path: &str, etag: &str) -> Entry {
        Entry { path: path.into(), etag: Some(etag.into()), ..Entry::default() }
    }

    fn at_day(day: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(day * DAY + 5)
    }
}
