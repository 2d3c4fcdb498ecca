//! The command as a person meets it, as far as that needs no root: what it says, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PRIVATE: &str = "mIFc94GTGTBuCbFfkFCEeLMAMMQGUd1NzCOqCm++OGM=";
const PUBLIC: &str = "ugViDinrHVDhkpj9GJV9FBbxC39S5yL8NV5FvcVGwEE=";
const OTHER: &str = "L+V9o0fNYkMVKNqsX7spBzD/9oSvxM/C7ZCZX1jLO3Q=";

#[test]
fn without_a_command_it_shows_how_it_is_used() {
    let run = adit(&[]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("Usage: adit"), "{}", err(&run));
}

#[test]
fn help_is_no_mistake() {
    let run = adit(&["--help"]);
    assert_eq!(code(&run), 0);
    assert!(out(&run).contains("Exit codes:"), "{}", out(&run));
    assert!(!out(&run).contains("completions"), "generators are for packages");
}

#[test]
fn an_unknown_command_is_wrong_usage() {
    assert_eq!(code(&adit(&["fly"])), 2);
}

#[test]
fn keys_are_made_and_read_as_wg_does() {
    let private = adit(&["genkey"]);
    assert_eq!((code(&private), private.stdout.len()), (0, 45));
    assert_ne!(out(&adit(&["genpsk"])), out(&adit(&["genpsk"])));
    let public = adit_with(&["pubkey"], &format!("{PRIVATE}\n"));
    assert_eq!((code(&public), out(&public)), (0, format!("{PUBLIC}\n")));
    let wrong = adit_with(&["pubkey"], "abc\n");
    assert_eq!((code(&wrong), out(&wrong)), (1, String::new()));
    assert!(err(&wrong).contains("not a private key"), "{}", err(&wrong));
}

#[test]
fn a_key_written_where_everybody_may_read_is_warned_of() {
    let dir = Dir::new("exposed");
    for (mode, warned) in [(0o644, true), (0o600, false)] {
        let file = dir.file(&format!("{mode:o}"), "", mode);
        let into = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        let run = command(&["genkey"]).stdout(into).output().unwrap();
        assert_eq!(code(&run), 0);
        assert_eq!(err(&run).contains("warning:"), warned, "{mode:o}: {}", err(&run));
        assert_eq!(std::fs::read(&file).unwrap().len(), 45);
    }
}

#[test]
fn a_good_file_is_good() {
    let dir = Dir::new("good");
    let file = dir.file("home.conf", &good(), 0o600);
    let run = adit(&["check", text(&file)]);
    assert_eq!(code(&run), 0, "{}{}", out(&run), err(&run));
    assert!(out(&run).contains("accepted PrivateKey"), "{}", out(&run));
    assert!(out(&run).ends_with("home.conf: good\n"), "{}", out(&run));
    assert!(!out(&run).contains('\x1b'), "colours are for terminals");
    assert!(!out(&run).contains(PRIVATE), "a check shows no secret");
}

#[test]
fn a_wrong_line_is_named_with_what_to_write_and_the_code_is_2() {
    let dir = Dir::new("wrong");
    let file = dir.file("home.conf", &good().replace("10.0.0.2/24", "10.0.0.256/24"), 0o600);
    for run in [adit(&["check", text(&file)]), adit(&["up", text(&file)]), adit(&["up", "--dry-run", text(&file)])] {
        assert_eq!(code(&run), 2, "{}{}", out(&run), err(&run));
        let said = out(&run) + &err(&run);
        assert!(said.contains("10.0.0.256/24") && said.contains("hint:"), "{said}");
        assert!(said.contains("home.conf:3") || said.contains("3  wrong"), "{said}");
    }
    let json: serde_json::Value = serde_json::from_slice(&adit(&["check", "--json", text(&file)]).stdout).unwrap();
    assert_eq!(json["usable"], false);
    let wrong: Vec<_> = json["lines"].as_array().unwrap().iter().filter(|l| l["verdict"] == "wrong").collect();
    assert_eq!((wrong.len(), &wrong[0]["line"]), (1, &serde_json::json!(3)));
}

#[test]
fn a_file_that_everybody_may_read_is_warned_of() {
    let dir = Dir::new("open");
    let run = adit(&["check", text(&dir.file("home.conf", &good(), 0o644))]);
    assert_eq!(code(&run), 0);
    assert!(out(&run).contains("warning:") && out(&run).contains("chmod 600"), "{}", out(&run));
}

#[test]
fn a_missing_file_and_an_unknown_name_are_said_to_be_so() {
    let run = adit(&["up", "/nowhere/home.conf"]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("there is no file /nowhere/home.conf"), "{}", err(&run));
    let run = adit(&["up", "surely-not-here"]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("/etc/adit/surely-not-here.conf"), "{}", err(&run));
    let run = adit(&["up", "a-name-much-too-long-for-an-interface"]);
    assert_eq!(code(&run), 2);
    assert!(err(&run).contains("1 to 15"), "{}", err(&run));
}

#[test]
fn without_a_daemon_nothing_is_up() {
    for arguments in [&["status"][..], &["status", "home"], &["down", "home"], &["reload", "home"]] {
        let run = adit(arguments);
        assert_eq!(code(&run), 3, "{arguments:?}: {}", err(&run));
        assert!(err(&run).contains("up"), "{}", err(&run));
    }
    assert!(err(&adit(&["status"])).contains("hint: bring one up"));
}

#[test]
fn what_needs_privilege_says_so_with_code_5() {
    let dir = Dir::new("nobody");
    let file = dir.file("home.conf", &good(), 0o644);
    for arguments in [&["up", text(&file)][..], &["up", "--foreground", text(&file)], &["daemon"], &["demo"]] {
        let run = unprivileged(arguments, &dir.0);
        assert_eq!(code(&run), 5, "{arguments:?}: {}", err(&run));
        assert!(err(&run).contains("hint: run"), "{}", err(&run));
    }
    assert!(!dir.0.join("run").exists(), "and nothing was made");
}

#[test]
fn versions_are_shown() {
    let run = adit(&["version"]);
    assert_eq!(out(&run), format!("adit {}\n", env!("CARGO_PKG_VERSION")));
    let json: serde_json::Value = serde_json::from_slice(&adit(&["version", "--json"]).stdout).unwrap();
    assert_eq!((&json["protocol"], &json["status_schema"]), (&serde_json::json!(1), &serde_json::json!(1)));
}

#[test]
fn completions_and_pages_come_from_the_same_definition() {
    for shell in ["bash", "zsh", "fish"] {
        let run = adit(&["completions", shell]);
        assert_eq!(code(&run), 0);
        assert!(out(&run).contains("genkey") && out(&run).contains("dry-run"), "{shell}");
    }
    let dir = Dir::new("man");
    assert_eq!(code(&adit(&["man", text(&dir.0)])), 0);
    assert!(dir.0.join("adit-up.1").is_file() && dir.0.join("adit.1").is_file());
}

#[test]
fn a_reader_that_goes_away_is_no_crash() {
    let mut run = command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(run.stdout.take());
    let ended = run.wait_with_output().unwrap();
    assert_eq!(err(&ended), "");
}

fn good() -> String {
    format!(
        "[Interface]\nPrivateKey = {PRIVATE}\nAddress = 10.0.0.2/24\n\n[Peer]\nPublicKey = {OTHER}\nAllowedIPs = 10.0.0.0/24\n"
    )
}

/// The command with a runtime directory where no daemon is.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
    command.args(arguments).env("ADIT_RUNTIME_DIR", "/nonexistent/adit").stdin(Stdio::null());
    command
}

#[test]
fn an_examination_ends_with_what_it_found() {
    let capture = |name: &str| format!("{}/../adit-examine/tests/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let harmless = adit(&["examine", &capture("chromium")]);
    assert_eq!(code(&harmless), 0, "{}", err(&harmless));
    assert!(out(&harmless).contains("\nnothing detected: "), "{}", out(&harmless));
    let dir = Dir::new("examine");
    let page = dir.0.join("report.html").display().to_string();
    let tunnel = adit(&["examine", &capture("wireguard"), "--json", "--html", &page]);
    assert_eq!(code(&tunnel), 1, "{}", err(&tunnel));
    let json: serde_json::Value = serde_json::from_str(&out(&tunnel)).unwrap();
    assert_eq!((&json["schema"], &json["detected"]), (&1.into(), &true.into()));
    assert!(std::fs::read_to_string(page).unwrap().contains("Detected by R5"));
    for nothing in ["Cargo.toml", "no-such-file"] {
        assert_eq!(code(&adit(&["examine", nothing])), 2, "{nothing}");
    }
}

fn adit(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn adit_with(arguments: &[&str], input: &str) -> Output {
    let pipes = |c: &mut Command| c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut run = pipes(&mut command(arguments)).unwrap();
    run.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    run.wait_with_output().unwrap()
}

#[test]
fn each_line_of_an_openvpn_file_is_explained() {
    let dir = Dir::new("openvpn");
    let file = dir.file("office.ovpn", &openvpn(&format!("comp-lzo\nmute 20\n{KEYS}")), 0o600);
    let run = adit(&["check", text(&file)]);
    assert_eq!(code(&run), 0, "{}{}", out(&run), err(&run));
    assert!(out(&run).contains("accepted remote") && out(&run).contains("ignored  mute ignored: "), "{}", out(&run));
    assert!(out(&run).contains("doubtful comp-lzo: ") && out(&run).contains("VORACLE"), "{}", out(&run));
    assert!(out(&run).ends_with("office.ovpn: usable, 1 to look at\n"), "{}", out(&run));
    assert!(!out(&run).contains("very-secret"), "a check shows no secret");
    let bad = dir.file("bad.conf", &openvpn(&format!("cipher BF-CBC\nsecret x\n{KEYS}")), 0o644);
    let run = adit(&["check", text(&bad)]);
    assert_eq!(code(&run), 2);
    assert!(out(&run).contains("refused  `cipher BF-CBC`: ") && out(&run).contains("SWEET32"), "{}", out(&run));
    assert!(out(&run).contains("hint:") && out(&run).contains("chmod 600"), "{}", out(&run));
    assert!(out(&run).ends_with("2 refused\n"), "{}", out(&run));
    let piped = adit_with(&["check", "-", "--json"], &openvpn(""));
    let json: serde_json::Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!((&json["format"], &json["usable"]), (&"openvpn".into(), &true.into()), "{json}");
}

#[test]
fn an_openvpn_file_is_kept_with_its_files_and_what_this_build_cannot_do_is_said() {
    let dir = Dir::new("import");
    let file = dir.file("Head Office.ovpn", &openvpn("tls-auth ta.key 1\npkcs12 me.p12\nlocal 192.0.2.1\n"), 0o644);
    dir.file("ta.key", "shared-key\n", 0o644);
    std::fs::write(dir.0.join("me.p12"), [0x30, 0xff, 0x00]).unwrap();
    let run = kept(&dir, &["import", text(&file), "--json"]);
    assert_eq!(code(&run), 0, "{}{}", out(&run), err(&run));
    let json: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&json["name"], &json["taken_in"]), (&"head-office".into(), &serde_json::json!(["ta.key", "me.p12"])));
    let profile = dir.0.join("profiles/head-office.ovpn");
    let content = std::fs::read_to_string(&profile).unwrap();
    assert!(
        content.contains("tls-auth [inline] 1\n<tls-auth>\nshared-key\n</tls-auth>\n<pkcs12>\nMP8A\n</pkcs12>\n"),
        "{content}"
    );
    assert_eq!(std::fs::metadata(&profile).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(json["warnings"][0].as_str().unwrap().contains("`local`"), "{json}");
    let check = kept(&dir, &["check", "head-office"]);
    assert_eq!(code(&check), 2);
    assert!(out(&check).contains("refused") && out(&check).contains("remove the line"), "{}", out(&check));
    for (source, said) in [("head-office", "`local`"), (text(&file), "adit import")] {
        let up = kept(&dir, &["up", source]);
        assert_eq!(code(&up), 2);
        assert!(err(&up).contains(said), "{}", err(&up));
    }
    let again = kept(&dir, &["import", text(&file), "--name", "head-office"]);
    assert_eq!(code(&again), 2, "{}", err(&again));
    assert!(out(&kept(&dir, &["import", text(&file)])).contains("head-office-2 is kept in"));
}

/// Who hands out a configuration could otherwise have any file sent to their server as a password, and any program run.
#[test]
fn an_import_takes_no_file_from_elsewhere_and_no_program_unseen() {
    let dir = Dir::new("import-hostile");
    std::fs::create_dir(dir.0.join("sub")).unwrap();
    dir.file("outside", "user\nvery-secret-password\n", 0o600);
    std::os::unix::fs::symlink(dir.0.join("outside"), dir.0.join("sub/link")).unwrap();
    std::fs::create_dir(dir.0.join("sub/.ssh")).unwrap();
    dir.file("sub/.ssh/id", "user\nvery-secret-password\n", 0o600);
    std::os::unix::fs::symlink(".ssh/id", dir.0.join("sub/shown")).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, dir.0.join("sub/pipe"), fifo, mode, 0).unwrap();
    for (line, reason) in [
        ("auth-user-pass ../outside", "outside of"),
        ("auth-user-pass link", "outside of"),
        ("cd ..\nauth-user-pass outside", "cannot look at"),
        ("auth-user-pass missing", "cannot look at"),
        ("auth-user-pass .", "not a file"),
        ("auth-user-pass pipe", "not a file"),
        ("auth-user-pass .ssh/id", "is hidden"),
        ("auth-user-pass shown", "is hidden"),
        ("cd .ssh\nauth-user-pass id", "is hidden"),
        ("setenv opt auth-user-pass ../outside", "outside of"),
        ("askpass ../outside", "outside of"),
        ("<connection>\nremote a 1 tcp\nhttp-proxy p 8080 /etc/hosts basic\n</connection>", "outside of"),
        ("socks-proxy p 1080 login", "cannot look at"),
        ("crl-verify gone dir", "beside the file"),
        ("script-security 2\nup /bin/x", "/bin/x"),
        ("up /bin/x", "script-security 2"),
        ("frobnicate", "no such option"),
    ] {
        let file = dir.file("sub/x.ovpn", &openvpn(&format!("{line}\n")), 0o600);
        let run = kept(&dir, &["import", text(&file)]);
        assert_eq!(code(&run), 2, "{line}: {}{}", out(&run), err(&run));
        assert!(
            err(&run).contains(reason) && err(&run).contains("hint:") | (reason == "not a file"),
            "{line}: {}",
            err(&run)
        );
        assert!(!dir.0.join("profiles/x.ovpn").exists());
    }
    let file = dir.file("sub/x.ovpn", &openvpn("script-security 2\nup /bin/x\n"), 0o600);
    assert_eq!(code(&kept(&dir, &["import", text(&file), "--allow-programs"])), 0);
    let file = dir.file("sub/y.ovpn", &openvpn("script-security 2\nup ./up.sh\n"), 0o600);
    let run = kept(&dir, &["import", text(&file), "--allow-programs"]);
    assert!(code(&run) == 2 && err(&run).contains("`./up.sh` is beside the file"), "{}", err(&run));
}

/// A few lines could otherwise ask for more memory than there is.
#[test]
fn an_import_is_never_longer_than_a_configuration_may_be() {
    let dir = Dir::new("import-long");
    dir.file("big", &"x".repeat(1 << 20), 0o600);
    let file = dir.file("x.ovpn", &openvpn(&"extra-certs big\n".repeat(64)), 0o600);
    let run = kept(&dir, &["import", text(&file)]);
    assert!(code(&run) == 2 && err(&run).contains("line 12: with `extra-certs big`"), "{}", err(&run));
}

#[test]
fn what_was_looked_up_in_another_directory_is_kept_without_it() {
    let dir = Dir::new("import-cd");
    std::fs::create_dir(dir.0.join("keys")).unwrap();
    dir.file("keys/ta.key", "shared-key\n", 0o600);
    let file = dir.file("x.ovpn", &openvpn("cd keys\nsetenv opt tls-auth ta.key 1\n"), 0o600);
    let run = kept(&dir, &["import", text(&file)]);
    assert_eq!(code(&run), 0, "{}", err(&run));
    let content = std::fs::read_to_string(dir.0.join("profiles/x.ovpn")).unwrap();
    assert!(content.ends_with("tls-auth [inline] 1\n<tls-auth>\nshared-key\n</tls-auth>\n"), "{content}");
    assert!(!content.contains("cd keys"));
}

/// A file as networks hand it out.
fn openvpn(more: &str) -> String {
    let start = "client\ndev tun\nremote vpn.example.com 1194 udp\nremote-cert-tls server\nauth-user-pass\n";
    format!("{start}<ca>\nx\n</ca>\n{more}")
}

const KEYS: &str = "<key>\nvery-secret\n</key>\n<cert>\nx\n</cert>\n";

/// The command with a directory of profiles of its own.
fn kept(dir: &Dir, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("ADIT_CONFIG_DIR", dir.0.join("profiles")).env("ADIT_RUNTIME_DIR", dir.0.join("run"));
    command.output().unwrap()
}

/// The command as somebody who may do nothing, whoever runs the test. A copy, for the original may be out of reach.
fn unprivileged(arguments: &[&str], directory: &Path) -> Output {
    let copy = directory.join("adit");
    if !copy.exists() {
        std::fs::copy(env!("CARGO_BIN_EXE_adit"), &copy).unwrap();
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(copy);
    command.args(arguments).env("ADIT_RUNTIME_DIR", directory.join("run")).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    loop {
        match command.output() {
            // Another test's child was just being started, and still holds the copy open for writing.
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            run => return run.unwrap(),
        }
    }
}

fn code(run: &Output) -> i32 {
    run.status.code().unwrap()
}

fn out(run: &Output) -> String {
    String::from_utf8(run.stdout.clone()).unwrap()
}

fn err(run: &Output) -> String {
    String::from_utf8(run.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory that goes away with its test.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("adit-commands-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn the_doctor_says_what_it_can_without_a_daemon_and_without_rights() {
    let dir = Dir::new("doctor");
    let run = unprivileged(&["doctor", "--json"], &dir.0);
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let wrong = report["wrong"].as_u64().unwrap();
    assert_eq!(code(&run), i32::from(wrong > 0), "{report:#}");
    let tunnel = report["checks"].as_array().unwrap().iter().find(|one| one["check"] == "tunnel").unwrap();
    assert_eq!(tunnel["verdict"], "note", "{report:#}");
    let run = unprivileged(&["doctor", "surely-not-here"], &dir.0);
    assert_eq!(code(&run), 3, "{}", err(&run));
    assert_eq!(code(&adit(&["doctor", "--dry-run"])), 2, "it is about --fix");
}
