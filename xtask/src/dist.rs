//! The Debian package: builds the binaries, lays out what belongs to them, and has dpkg-deb pack it.
//!
//! Not here: which programs the package holds decide (`crates/adit-cli`), how they are run by systemd (`packaging`).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::{Outcome, cargo_line, read, root, show};

/// Builds `target/dist/adit_VERSION_ARCHITECTURE.deb` and says what is in it.
pub(crate) fn run() -> Outcome {
    show(&mut cargo_line("build --release -p adit-cli --bins"))?;
    let architecture = read(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned();
    let dist = root().join("target/dist");
    let name = format!("adit_{VERSION}_{architecture}");
    let tree = Tree { top: dist.join(&name) };
    if tree.top.exists() {
        fs::remove_dir_all(&tree.top).map_err(|e| format!("cannot remove {}: {e}", tree.top.display()))?;
    }
    fill(&tree)?;
    control(&tree, &architecture)?;
    let package = dist.join(format!("{name}.deb"));
    let build = ["--root-owner-group", "-Zxz", "--build"];
    // The date of the last change, so that the same tree gives the same package.
    let epoch = read(Command::new("git").current_dir(root()).args(["log", "-1", "--format=%ct"]))?;
    show(Command::new("dpkg-deb").env("SOURCE_DATE_EPOCH", epoch.trim()).args(build).arg(&tree.top).arg(&package))?;
    show(Command::new("dpkg-deb").arg("--info").arg(&package))?;
    show(Command::new("dpkg-deb").arg("--contents").arg(&package))
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Programs of the package.
const PROGRAMS: [&str; 2] = ["adit", "adit-wireguard"];

/// The package as a directory.
struct Tree {
    top: PathBuf,
}

impl Tree {
    fn path(&self, inside: &str) -> Result<PathBuf, String> {
        let path = self.top.join(inside);
        let parent = path.parent().unwrap_or(&self.top);
        fs::create_dir_all(parent).map_err(|e| format!("cannot create {}: {e}", parent.display()))?;
        Ok(path)
    }

    fn write(&self, inside: &str, mode: u32, content: &[u8]) -> Outcome {
        let path = self.path(inside)?;
        let failed = |e| format!("cannot write {}: {e}", path.display());
        fs::write(&path, content).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)
    }

    fn copy(&self, from: &Path, inside: &str, mode: u32) -> Outcome {
        let content = fs::read(from).map_err(|e| format!("cannot read {}: {e}", from.display()))?;
        self.write(inside, mode, &content)
    }
}

fn fill(tree: &Tree) -> Outcome {
    let root = root();
    let built = root.join("target/release");
    for program in PROGRAMS {
        let target = format!("usr/bin/{program}");
        tree.copy(&built.join(program), &target, 0o755)?;
        show(Command::new("strip").arg("--strip-unneeded").arg(tree.path(&target)?))?;
    }
    for unit in ["adit.service", "adit@.service", "adit-server.service"] {
        tree.copy(&root.join("packaging").join(unit), &format!("lib/systemd/system/{unit}"), 0o644)?;
    }
    for (shell, file) in [
        ("bash", "usr/share/bash-completion/completions/adit"),
        ("zsh", "usr/share/zsh/vendor-completions/_adit"),
        ("fish", "usr/share/fish/vendor_completions.d/adit.fish"),
    ] {
        let text = read(Command::new(built.join("adit")).args(["completions", shell]))?;
        tree.write(file, 0o644, text.as_bytes())?;
    }
    let pages = tree.path("usr/share/man/man1/x")?;
    let pages = pages.parent().unwrap_or(&pages);
    show(Command::new(built.join("adit")).arg("man").arg(pages))?;
    show(Command::new("gzip").args(["-9", "-n", "-r"]).arg(pages))?;
    documents(tree)?;
    let profiles = tree.path("etc/adit/x")?;
    let profiles = profiles.parent().unwrap_or(&profiles);
    fs::set_permissions(profiles, fs::Permissions::from_mode(0o700)).map_err(|e| format!("cannot protect it: {e}"))
}

fn documents(tree: &Tree) -> Outcome {
    let root = root();
    for (from, name) in [
        ("docs/spec/daemon-protocol.md", "daemon-protocol.md"),
        ("docs/spec/network-api.md", "network-api.md"),
        ("docs/spec/status.md", "status.md"),
        ("docs/guide/README.md", "guide.md"),
        ("README.md", "README.md"),
        ("CHANGELOG.md", "changelog"),
    ] {
        tree.copy(&root.join(from), &format!("usr/share/doc/adit/{name}"), 0o644)?;
    }
    show(Command::new("gzip").args(["-9", "-n"]).arg(tree.path("usr/share/doc/adit/changelog")?))?;
    tree.write("usr/share/doc/adit/copyright", 0o644, COPYRIGHT.as_bytes())
}

fn control(tree: &Tree, architecture: &str) -> Outcome {
    let size = read(Command::new("du").args(["-sk", "--apparent-size"]).arg(&tree.top))?;
    let size = size.split_whitespace().next().unwrap_or("0");
    let glibc = PROGRAMS
        .iter()
        .map(|program| fs::read(tree.top.join("usr/bin").join(program)).map(|binary| newest_glibc(&binary)))
        .try_fold(0, |newest, of_one| of_one.map(|n| newest.max(n)))
        .map_err(|e| format!("cannot read a program of the package: {e}"))?;
    let control = format!(
        "Package: adit\nVersion: {VERSION}\nArchitecture: {architecture}\nMaintainer: The adit authors <adit@localhost>\n\
         Installed-Size: {size}\nDepends: libc6 (>= 2.{glibc}), libgcc-s1\nRecommends: nftables\n\
         Suggests: wireguard-tools, resolvconf | systemd-resolved\nSection: net\nPriority: optional\n\
         Description: VPN that speaks WireGuard with any existing peer\n \
         Userspace tunnels from wg-quick files, owned by a daemon that undoes\n \
         everything it changed on the machine, even after it was killed.\n .\n \
         adit-wireguard is a drop-in for wireguard-go.\n"
    );
    tree.write("DEBIAN/control", 0o644, control.as_bytes())?;
    for (script, text) in [("postinst", POSTINST), ("prerm", PRERM), ("postrm", POSTRM)] {
        tree.write(&format!("DEBIAN/{script}"), 0o755, text.as_bytes())?;
    }
    Ok(())
}

/// The newest minor version of glibc that a program asks for: the largest N of its `GLIBC_2.N`.
fn newest_glibc(binary: &[u8]) -> u32 {
    const NAME: &[u8] = b"GLIBC_2.";
    let after = binary.windows(NAME.len()).enumerate().filter(|(_, w)| *w == NAME).map(|(at, _)| at + NAME.len());
    let number = |at: usize| {
        let digits = binary.get(at..)?.iter().take_while(|b| b.is_ascii_digit()).take(4);
        String::from_utf8(digits.copied().collect()).ok()?.parse().ok()
    };
    after.filter_map(number).max().unwrap_or(0)
}

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: adit

Files: *
Copyright: The adit authors
License: MIT or Apache-2.0
 The texts are LICENSE-MIT and LICENSE-APACHE of the sources;
 on Debian, Apache-2.0 is /usr/share/common-licenses/Apache-2.0.
";

const POSTINST: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = configure ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper unmask adit.service >/dev/null || true
    deb-systemd-helper enable adit.service >/dev/null || true
fi
if [ \"$1\" = configure ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # An upgrade does not take tunnels down: the new daemon begins with the next start.
    if [ -z \"$2\" ]; then deb-systemd-invoke start adit.service || true; fi
fi
";

const PRERM: &str = "\
#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    deb-systemd-invoke stop adit.service || true
fi
";

const POSTRM: &str = "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
if [ \"$1\" = purge ] && command -v deb-systemd-helper >/dev/null; then
    deb-systemd-helper purge adit.service >/dev/null || true
    deb-systemd-helper unmask adit.service >/dev/null || true
fi
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_the_largest_number() {
        assert_eq!(newest_glibc(b"xxGLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9"), 34);
        assert_eq!(newest_glibc(b"GLIBC_2."), 0);
    }
}
