//! The directory of a server's state: its key, its settings on this machine, its database and its web site.
//!
//! Not here: networks, peers and invites, which are in the database (`adit-control`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adit::profile::wg_quick::{Listen, Shape, SiteSource, WebFront, WebSite};
use adit_wireguard::PrivateKey;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::found::is_public_name;
use crate::exit::{Failure, Result};
use crate::secret::SecretText;

/// The file of the private key.
const KEY: &str = "network.key";
/// The file of the settings.
const SETTINGS: &str = "settings.json";

/// A process that was just killed still has its files for a moment: so often, and after so long, the lock is tried again.
const LAST_BREATH: u32 = 20;
const BREATH: Duration = Duration::from_millis(25);

/// A server's directory, held by this process alone.
#[derive(Debug)]
pub(crate) struct State {
    directory: PathBuf,
    _lock: File,
}

/// What concerns this machine alone; another gateway of the same network may have it otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// [`Settings::VERSION`].
    pub(crate) version: u32,
    /// The interface.
    pub(crate) interface: String,
    /// Where devices reach this machine, as was said last.
    pub(crate) hosts: Vec<String>,
    /// The web site, unless none is served.
    pub(crate) web: Option<WebSettings>,
    /// A database that several gateways share, in place of the file here.
    pub(crate) database: Option<SecretText>,
    /// Where metrics are served, if they are.
    #[serde(default)]
    pub(crate) metrics: Option<SocketAddr>,
    /// The UDP port for OpenVPN clients, if there may be any.
    #[serde(default)]
    pub(crate) openvpn: Option<u16>,
}

/// The web site on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebSettings {
    /// The TCP port.
    pub(crate) port: u16,
    /// A directory, or the URL of another web server; the directory of the state if it is not given.
    pub(crate) site: Option<String>,
    /// Who vouches for it.
    pub(crate) certificate: Certificate,
}

/// Who vouches for the web site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certificate {
    /// Let's Encrypt.
    Acme,
    /// Nobody; devices know its key.
    SelfSigned,
    /// These PEM files.
    Files {
        /// The certificate and those that vouch for it.
        chain: PathBuf,
        /// Its key.
        key: PathBuf,
    },
}

impl Settings {
    /// The version of the file.
    pub(crate) const VERSION: u32 = 1;

    /// The settings in a server's directory; `None` before the first run.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>> {
        settings(directory)
    }
}

impl State {
    /// Opens the directory, made if it is not there; refuses while another process has it.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        let shown = directory.display().to_string();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|e| Failure::io(format!("cannot create {shown}"), &e))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(|e| Failure::io(format!("cannot write in {shown}"), &e))?;
        let mut locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        for _ in 0..LAST_BREATH {
            if locked != Err(rustix::io::Errno::WOULDBLOCK) {
                break;
            }
            std::thread::sleep(BREATH);
            locked = flock(&lock, FlockOperation::NonBlockingLockExclusive);
        }
        match locked {
            Ok(()) => Ok(Self { directory, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Failure::failed(format!(
                "another process already serves the network in {shown}"
            ))
            .hint("`adit server status` shows it; `systemctl stop adit-server`, or Ctrl-C where it runs, ends it")),
            Err(e) => Err(Failure::io(format!("cannot lock {shown}"), &e.into())),
        }
    }

    /// What the process that decides may write: apart from the private key, which it has no need to read.
    pub(crate) fn database_directory(&self) -> Result<PathBuf> {
        let directory = self.directory.join("db");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|e| Failure::io(format!("cannot create {}", directory.display()), &e))?;
        Ok(directory)
    }

    /// Where the network's private key is.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.directory.join(KEY)
    }

    /// The network's private key; `None` before the first run.
    pub(crate) fn key(&self) -> Result<Option<PrivateKey>> {
        key(&self.directory)
    }

    /// Keeps the network's private key.
    pub(crate) fn set_key(&self, key: &PrivateKey) -> Result<()> {
        self.write(KEY, format!("{}\n", &*Zeroizing::new(key.to_base64())).as_bytes())
    }

    /// The settings; `None` before the first run.
    pub(crate) fn settings(&self) -> Result<Option<Settings>> {
        settings(&self.directory)
    }

    /// Keeps the settings.
    pub(crate) fn set_settings(&self, settings: &Settings) -> Result<()> {
        let text = serde_json::to_vec_pretty(settings).map_err(Failure::failed)?;
        self.write(SETTINGS, &text)
    }

    /// There are no settings any more.
    pub(crate) fn forget_settings(&self) {
        let _absent = fs::remove_file(self.directory.join(SETTINGS));
    }

    /// The pages that are served if the owner names none, made when they are first needed.
    pub(crate) fn own_site(&self, host: &str) -> Result<()> {
        let site = self.directory.join("site");
        let page = site.join("index.html");
        let failed = |e: &io::Error| Failure::io(format!("cannot write {}", page.display()), e);
        DirBuilder::new().recursive(true).mode(0o755).create(&site).map_err(|e| failed(&e))?;
        if !page.exists() {
            fs::write(&page, first_page(host)).map_err(|e| failed(&e))?;
        }
        Ok(())
    }

    /// Replaces a file in one step, readable by nobody but its owner.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (file, new) = (self.directory.join(name), self.directory.join(format!("{name}.new")));
        let write = || {
            let _leftover = fs::remove_file(&new);
            let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            out.write_all(bytes)?;
            out.sync_all()?;
            fs::rename(&new, &file)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|e| Failure::io(format!("cannot write {}", file.display()), &e))
    }
}

/// What the daemon needs of a server's directory, which it reads with rights that the deciding process has given up: the
/// private key, and the web site under these names.
pub(crate) fn for_the_daemon(directory: &Path, names: &[String]) -> Result<(PrivateKey, Option<WebSite>)> {
    let key = key_for_the_daemon(directory)?;
    let settings = settings(directory)?.ok_or_else(|| gone(directory, SETTINGS))?;
    Ok((key, settings.web.map(|web| web.site(directory, names))))
}

/// The private key alone.
pub(crate) fn key_for_the_daemon(directory: &Path) -> Result<PrivateKey> {
    key(directory)?.ok_or_else(|| gone(directory, KEY))
}

fn gone(directory: &Path, what: &str) -> Failure {
    Failure::failed(format!("{} is gone", directory.join(what).display()))
}

/// The private key in a server's directory; `None` before the first run.
fn key(directory: &Path) -> Result<Option<PrivateKey>> {
    let file = directory.join(KEY);
    let text = match fs::read_to_string(&file) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::io(format!("cannot read {}", file.display()), &e)),
    };
    let key = PrivateKey::from_base64(text.trim()).map_err(|e| {
        Failure::failed(format!("{} holds no private key: {e}", file.display()))
            .hint("put it back from a copy; without it, devices that have joined do not know this server")
    })?;
    Ok(Some(key))
}

/// The settings in a server's directory; `None` before the first run.
fn settings(directory: &Path) -> Result<Option<Settings>> {
    let file = directory.join(SETTINGS);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Failure::io(format!("cannot read {}", file.display()), &e)),
    };
    let settings: Settings = serde_json::from_slice(&text).map_err(|e| {
        Failure::failed(format!("{} cannot be understood: {e}", file.display()))
            .hint("correct it, or remove it and give `adit server up` its options again")
    })?;
    if settings.version != Settings::VERSION {
        return Err(Failure::failed(format!("{} was written by another version of adit", file.display()))
            .hint("run the version that wrote it, or a newer one"));
    }
    Ok(Some(settings))
}

impl WebSettings {
    /// Where the pages come from.
    fn source(&self, directory: &Path) -> SiteSource {
        match &self.site {
            None => SiteSource::Directory(directory.join("site")),
            Some(url) if url.contains("://") => SiteSource::Proxy { url: url.clone(), root: None },
            Some(directory) => SiteSource::Directory(directory.into()),
        }
    }

    /// As the tunnel has it.
    pub(crate) fn site(&self, directory: &Path, names: &[String]) -> WebSite {
        WebSite {
            listen: vec![Listen::Port(self.port)],
            site: self.source(directory),
            front: self.front(names),
            shape: Shape::default(),
        }
    }

    /// Who ends TLS, for these names.
    fn front(&self, names: &[String]) -> WebFront {
        match &self.certificate {
            Certificate::Acme => {
                // An authority refuses a whole order for one address in it.
                let domains = names.iter().filter(|name| is_public_name(name)).cloned().collect();
                WebFront::Acme { domains, directory: None, contact: None, root: None }
            }
            Certificate::SelfSigned => WebFront::SelfSigned(names.to_vec()),
            Certificate::Files { chain, key } => WebFront::Files { chain: chain.clone(), key: key.clone() },
        }
    }
}

/// A page that says nothing, for a server whose owner has no site (yet).
fn first_page(host: &str) -> String {
    let host = host.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{host}</title>\n</head>\n<body>\n\
         <h1>{host}</h1>\n<p>This site is being set up.</p>\n</body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("adit-server-state-{name}-{}", std::process::id()))
    }

    fn settings_of(web: WebSettings) -> Settings {
        let metrics = Some(([127, 0, 0, 1], 9586).into());
        let (version, interface) = (Settings::VERSION, "home".to_owned());
        Settings { version, interface, hosts: Vec::new(), web: Some(web), database: None, metrics, openvpn: Some(1194) }
    }

    #[test]
    fn key_and_settings_come_back_and_nobody_else_reads_them() {
        let directory = directory("round");
        let state = State::open(directory.clone()).unwrap();
        assert!(state.key().unwrap().is_none() && state.settings().unwrap().is_none());
        let key = PrivateKey::new([7; 32]);
        state.set_key(&key).unwrap();
        let web = WebSettings { port: 443, site: None, certificate: Certificate::SelfSigned };
        let settings = settings_of(web);
        state.set_settings(&settings).unwrap();
        assert_eq!(state.key().unwrap().unwrap().public_key(), key.public_key());
        assert_eq!(state.settings().unwrap(), Some(settings));
        for file in ["network.key", "settings.json"] {
            let mode = directory.join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(directory.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_daemon_reads_key_and_site_itself() {
        let directory = directory("daemon");
        let state = State::open(directory.clone()).unwrap();
        assert!(for_the_daemon(&directory, &[]).unwrap_err().message.contains("network.key is gone"));
        state.set_key(&PrivateKey::new([7; 32])).unwrap();
        assert!(for_the_daemon(&directory, &[]).unwrap_err().message.contains("settings.json is gone"));
        let web = WebSettings { port: 8443, site: Some("/srv/www".to_owned()), certificate: Certificate::SelfSigned };
        let settings = settings_of(web);
        state.set_settings(&settings).unwrap();
        let (key, site) = for_the_daemon(&directory, &["a.example".to_owned()]).unwrap();
        assert_eq!(key, PrivateKey::new([7; 32]));
        let site = site.unwrap();
        assert_eq!(site.site, SiteSource::Directory("/srv/www".into()));
        assert_eq!(site.front, WebFront::SelfSigned(vec!["a.example".to_owned()]));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn two_processes_do_not_serve_the_same_state() {
        let directory = directory("lock");
        let held = State::open(directory.clone()).unwrap();
        let refused = State::open(directory.clone()).unwrap_err();
        assert!(refused.message.contains("already serves"), "{refused}");
        drop(held);
        assert!(State::open(directory.clone()).is_ok());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_damaged_file_is_said_and_left_as_it_is() {
        let directory = directory("damaged");
        let state = State::open(directory.clone()).unwrap();
        fs::write(directory.join("network.key"), "nonsense").unwrap();
        fs::write(directory.join(SETTINGS), "{").unwrap();
        assert!(state.key().unwrap_err().message.contains("network.key"));
        assert!(state.settings().unwrap_err().message.contains("settings.json"));
        assert_eq!(fs::read(directory.join("network.key")).unwrap(), b"nonsense");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_host_cannot_put_anything_into_the_page() {
        assert!(!first_page("<script>").contains("<script>"));
    }
}
