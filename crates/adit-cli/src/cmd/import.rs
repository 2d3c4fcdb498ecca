//! `adit import FILE.ovpn`: an OpenVPN configuration and the files that it names, kept as one profile.
//!
//! Not here: what its lines mean (`adit_openvpn::options`), where profiles are (`profiles`).

use std::io::Read as _;
use std::path::{Path, PathBuf};

use adit::profile::file;
use adit_openvpn::options::{self, Config, Crl, Finding, Material, Needed, SecretText};
use base64ct::{Base64, Encoding as _};
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
    stays_readable(&config)?;
    let home = directory(&args.file, &config)?;
    let (whole, taken_in) = whole(&text, &home)?;
    // What is kept is read as it will be read: nothing that was taken in has changed what the lines say.
    usable(&args.file, whole.expose())?;
    let profiles = Profiles::of_this_machine(&Places::of_this_process().state());
    let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = profiles.choose(args.name.as_deref(), &stem)?;
    let kept = profiles.keep_openvpn(&name, whole.expose())?;
    let warnings: Vec<_> =
        options::explain(&text).iter().filter(|f| f.is_trouble()).map(|f| in_file(f, &args.file)).collect();
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
    render::line("this build of adit does not connect by OpenVPN yet; the profile waits for one that does");
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

/// A directory of withdrawn certificates stays where it is, so its name must hold from anywhere.
fn stays_readable(config: &Config) -> Result<()> {
    match &config.common().peer.crl {
        Some(Crl::Directory(name)) if !Path::new(name).is_absolute() => Err(Failure::usage(format!(
            "`crl-verify {name} dir` names a directory beside the file, which is not taken in"
        ))
        .hint("write its whole path, or a list in one file")),
        Some(Crl::Directory(_) | Crl::List(Material::File(_) | Material::Inline(_))) | None => Ok(()),
    }
}

/// Where relative names of files count from.
fn directory(file: &Path, config: &Config) -> Result<PathBuf> {
    let absolute =
        |path: &Path| path.canonicalize().map_err(|e| Failure::io(format!("cannot look at {}", path.display()), &e));
    let file = absolute(file)?;
    let home = file.parent().unwrap_or(Path::new("/")).to_owned();
    match &config.common().base {
        // `cd` must not lead out of it either: that is looked at file by file.
        Some(base) => absolute(&home.join(base)).map(|base| if base.starts_with(&home) { base } else { home }),
        None => Ok(home),
    }
}

/// The text with every file that it names, and their names.
fn whole(text: &str, home: &Path) -> Result<(SecretText, Vec<String>)> {
    let needs = options::needs(text);
    let mut contents = Vec::new();
    for needed in &needs {
        contents.push((needed.line, content(needed, home)?));
    }
    let take = |needed: &Needed| contents.iter().find(|(line, _)| *line == needed.line).map(|(_, text)| text.clone());
    let whole = options::embed(text, take).map_err(|finding| Failure::usage(finding.to_string()))?;
    let mut names: Vec<_> = needs.into_iter().map(|needed| needed.name).collect();
    names.dedup();
    Ok((whole, names))
}

/// What a file holds that the configuration names. Only below its own directory: whoever wrote the configuration could
/// otherwise have any file of this machine sent to their server, as a password.
fn content(needed: &Needed, home: &Path) -> Result<SecretText> {
    let Needed { line, option, name, binary } = needed;
    let asked = home.join(name);
    let what = format!("line {line}: `{option} {name}`");
    let path = asked.canonicalize().map_err(|e| {
        Failure::usage(format!("{what}: cannot look at {}: {e}", asked.display()))
            .hint("put the file beside the configuration, as it was handed out")
    })?;
    if !path.starts_with(home) {
        let why = format!("{what}: the file is outside of {}, and is not taken in", home.display());
        return Err(
            Failure::usage(why).hint("if it is meant, copy it beside the configuration and write its name alone")
        );
    }
    let failed = |e: std::io::Error| Failure::io(format!("{what}: cannot read {}", path.display()), &e);
    let open = std::fs::File::open(&path).map_err(failed)?;
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
