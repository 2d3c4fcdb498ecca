//! `adit import FILE.ovpn`: an OpenVPN configuration and the files that it names, kept as one profile.
//!
//! Not here: what its lines mean (`adit_openvpn::options`), where profiles are (`profiles`).

use std::collections::hash_map::{Entry, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use adit::profile::file;
use adit_openvpn::Unusable;
use adit_openvpn::options::{self, Config, Finding, Needed, SecretText};
use base64ct::{Base64, Encoding as _};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::args::ImportArgs;
use crate::exit::{Exit, Failure, Result};
use crate::places::Places;
use crate::profiles::Profiles;
use crate::render;

/// The longest file that is taken in: authorities' certificates and lists of withdrawn ones are the long ones.
const MAX_TAKEN_IN: u64 = 1 << 20;

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Imported {
    name: String,
    file: PathBuf,
    taken_in: Vec<String>,
    warnings: Vec<String>,
}

/// Keeps it, or says what keeps it from being kept.
pub(super) fn run(args: &ImportArgs) -> Result<Exit> {
    let (text, _) = file::read(&args.file).map_err(|e| super::load_failure(&e))?;
    let config = usable(&args.file, &text)?;
    programs(&config, args.allow_programs)?;
    nothing_stays_behind(&text, &config)?;
    let (whole, taken_in) = whole(&text, &Home::of(&args.file, &config)?)?;
    // What is kept is read as it will be read: nothing that was taken in has changed what the lines say.
    usable(&args.file, whole.expose())?;
    let profiles = Profiles::of_this_machine(&Places::of_this_process().state());
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = profiles.choose(args.name.as_deref(), &stem)?;
    let kept = profiles.keep_openvpn(&name, whole.expose())?;
    let mut warnings: Vec<_> =
        options::explain(&text).iter().filter(|f| f.is_trouble()).map(|f| in_file(f, &args.file)).collect();
    // It is kept all the same: for another build, or for the line to be changed there.
    warnings.extend(not_spoken(&config).map(|unusable| unusable.to_string()));
    say(args.json, Imported { name, file: kept, taken_in, warnings });
    Ok(Exit::Done)
}

fn say(json: bool, imported: Imported) {
    if json {
        render::json(&imported);
        return;
    }
    imported.warnings.iter().for_each(|warning| render::warning(warning));
    let files = match imported.taken_in.as_slice() {
        [] => String::new(),
        names => format!(", with {}", names.join(", ")),
    };
    render::line(&format!("{} is kept in {}{files}", imported.name, imported.file.display()));
}

/// What of a configuration this build does not do, if it is that which keeps it from being brought up.
pub(super) fn not_spoken(config: &Config) -> Option<Unusable> {
    match config {
        Config::Client(client) => adit_openvpn::spoken(client).err(),
        Config::Server(server) => adit_openvpn::server_spoken(server).err(),
    }
}

/// The finding with its place in front.
fn in_file(finding: &Finding, file: &Path) -> String {
    match (finding.line, finding.column) {
        (0, _) => format!("{}: {finding}", file.display()),
        (line, None) => format!("{}:{line}: {finding}", file.display()),
        (line, Some(column)) => format!("{}:{line}:{column}: {finding}", file.display()),
    }
}

/// The configuration, if every line of it can be taken.
fn usable(file: &Path, text: &str) -> Result<Config> {
    let parsed = options::parse(text);
    match parsed.config {
        Some(config) => Ok(config),
        None => {
            let refused: Vec<_> = parsed.findings.iter().filter(|f| f.is_refused()).map(|f| in_file(f, file)).collect();
            Err(Failure::usage(refused.join("\n")))
        }
    }
}

/// Who hands out a file decides what it runs: that is not taken over unseen.
fn programs(config: &Config, allowed: bool) -> Result<()> {
    let run = &config.common().hooks.run;
    if run.is_empty() || allowed {
        return Ok(());
    }
    let list: Vec<_> = run.iter().map(|hook| format!("line {}: {}", hook.line, hook.command.join(" "))).collect();
    Err(Failure::usage(format!("the file has programs run, with the rights of the daemon: {}", list.join("; ")))
        .hint("read what they do; then add `--allow-programs`, or remove the lines"))
}

/// What no block can stand for stays where it is, so its name must hold from anywhere.
fn nothing_stays_behind(text: &str, config: &Config) -> Result<()> {
    for Needed { line, option, name, .. } in options::left_beside(text) {
        if Path::new(&name).is_relative() {
            let why = format!("line {line}: `{option}` names `{name}`, which is beside the file and is not taken in");
            return Err(Failure::usage(why).hint("write its whole path"));
        }
    }
    for hook in &config.common().hooks.run {
        if let Some(program) = hook.command.first().filter(|program| Path::new(program).is_relative()) {
            let why = format!("line {}: the program `{program}` is beside the file and is not taken in", hook.line);
            return Err(Failure::usage(why).hint("write its whole path"));
        }
    }
    Ok(())
}

/// Where files may come from.
struct Home {
    /// Where the configuration is.
    top: PathBuf,
    /// Where relative names count from: there, or below.
    base: PathBuf,
}

impl Home {
    fn of(file: &Path, config: &Config) -> Result<Self> {
        let absolute = |path: &Path| {
            path.canonicalize().map_err(|e| Failure::io(format!("cannot look at {}", path.display()), &e))
        };
        let top = absolute(file)?.parent().unwrap_or(Path::new("/")).to_owned();
        let base = match &config.common().base {
            // `cd` must not lead out of it either: that is looked at file by file.
            Some(base) => Some(absolute(&top.join(base))?).filter(|base| base.starts_with(&top)),
            None => None,
        };
        Ok(Self { base: base.unwrap_or_else(|| top.clone()), top })
    }

    /// Whether it is something like `.ssh/id_ed25519`: what a person hides is not handed out with a configuration.
    fn hides(&self, path: &Path) -> bool {
        let is_hidden = |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
        path.strip_prefix(&self.top).is_ok_and(|below| below.components().any(is_hidden))
    }
}

/// The text with every file that it names, if every line of it can be taken.
pub(crate) fn with_its_files(file: &Path, text: &str) -> Result<SecretText> {
    let config = usable(file, text)?;
    nothing_stays_behind(text, &config)?;
    let home = Home::of(file, &config)?;
    whole(text, &home).map(|(whole, _)| whole)
}

/// The same for a server, whose file stays where it is: with the directory that the names of what it keeps there count from.
pub(crate) fn with_its_files_at_home(file: &Path, text: &str) -> Result<(SecretText, PathBuf)> {
    let home = Home::of(file, &usable(file, text)?)?;
    let (whole, _) = whole(text, &home)?;
    Ok((whole, home.base))
}

/// The text with every file that it names, and their names. Never longer than a configuration may be, however often it names
/// them.
fn whole(text: &str, home: &Home) -> Result<(SecretText, Vec<String>)> {
    let needs = options::needs(text);
    let (mut contents, mut names) = (HashMap::new(), Vec::new());
    let mut room = options::MAX_TEXT.saturating_sub(text.len());
    for needed in &needs {
        let Needed { line, option, name, binary } = needed;
        let text = match contents.entry((name, binary)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                names.push(name.clone());
                new.insert(content(needed, home)?)
            }
        };
        room = room.checked_sub(text.expose().len()).ok_or_else(|| {
            let most = options::MAX_TEXT;
            Failure::usage(format!("line {line}: with `{option} {name}` the profile would have more than {most} bytes"))
                .hint("a usual one has some kilobytes: look at what the files are, and how often they are named")
        })?;
    }
    let whole = options::embed(text, |needed| contents.get(&(&needed.name, &needed.binary)).cloned());
    Ok((whole.map_err(|finding| Failure::usage(finding.to_string()))?, names))
}

/// Opens what a whole path names that has been looked at: if a part of it became a link since then, it is not followed.
fn open_without_links(path: &Path) -> std::io::Result<File> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | always, Mode::empty())?;
    let mut parts = path.components().filter(|part| matches!(part, Component::Normal(_))).peekable();
    while let Some(part) = parts.next() {
        // A pipe would keep whoever opens it waiting.
        let file = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let kind = if parts.peek().is_some() { OFlags::PATH | OFlags::DIRECTORY } else { file };
        at = rustix::fs::openat(&at, part.as_os_str(), kind | always, Mode::empty())?;
    }
    Ok(File::from(at))
}

/// What a file holds that the configuration names. Only below its own directory: whoever wrote the configuration could
/// otherwise have any file of this machine sent to their server, as a password.
fn content(needed: &Needed, home: &Home) -> Result<SecretText> {
    let Needed { line, option, name, binary } = needed;
    let asked = home.base.join(name);
    let what = format!("line {line}: `{option} {name}`");
    let path = asked.canonicalize().map_err(|e| {
        Failure::usage(format!("{what}: cannot look at {}: {e}", asked.display()))
            .hint("put the file beside the configuration, as it was handed out")
    })?;
    if !path.starts_with(&home.base) {
        let why = format!("{what}: the file is outside of {}, and is not taken in", home.base.display());
        return Err(
            Failure::usage(why).hint("if it is meant, copy it beside the configuration and write its name alone")
        );
    }
    if home.hides(&path) {
        let why = format!("{what}: {} is hidden, and is not taken in", path.display());
        return Err(
            Failure::usage(why).hint("if it is meant, copy it to a name without a dot in front, and write that")
        );
    }
    let failed = |e: std::io::Error| Failure::io(format!("{what}: cannot read {}", path.display()), &e);
    let open = open_without_links(&path).map_err(failed)?;
    if !open.metadata().map_err(failed)?.is_file() {
        return Err(Failure::usage(format!("{what}: {} is not a file", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TAKEN_IN as usize + 1));
    open.take(MAX_TAKEN_IN + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_TAKEN_IN {
        return Err(Failure::usage(format!("{what}: {} is longer than 1 MiB", path.display())));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) if !binary => Ok(SecretText::new(text.to_owned())),
        Ok(_) | Err(_) if *binary => Ok(SecretText::new(Base64::encode_string(&bytes))),
        Ok(_) | Err(_) => Err(Failure::usage(format!("{what}: {} is not text", path.display()))
            .hint("a certificate in binary form becomes text by `openssl x509 -inform der`")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// Whoever may write to the directory could put a link there after it was looked at.
    #[test]
    fn what_became_a_link_is_not_followed() {
        let top = std::env::temp_dir().join(format!("adit-import-{}", std::process::id()));
        std::fs::create_dir_all(top.join("keys")).unwrap();
        std::fs::write(top.join("keys/ca.crt"), "certificate").unwrap();
        let top = top.canonicalize().unwrap();
        let mut text = String::new();
        open_without_links(&top.join("keys/ca.crt")).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "certificate");
        std::os::unix::fs::symlink(top.join("keys"), top.join("link")).unwrap();
        std::os::unix::fs::symlink("ca.crt", top.join("keys/link.crt")).unwrap();
        for path in ["link/ca.crt", "keys/link.crt", "keys/none"] {
            assert!(open_without_links(&top.join(path)).is_err(), "{path}");
        }
        std::fs::remove_dir_all(&top).unwrap();
    }
}
